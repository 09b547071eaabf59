//! The people of a bench, one by one: they join, ask as told, claim, leave. What they buy is `seats.rs`.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;

use super::http::Door;
use super::server::Shop;

/// Somebody in a line.
pub struct Person {
    pub user_id: u64,
    pub token: String,
    pub door: Door,
    pub place: Place,
}

/// What a poll tells, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub struct Place {
    pub status: Status,
    pub position: Option<u64>,
    pub reason: Option<String>,
    poll_after_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Waiting,
    Active,
    /// The turn is over: 410 `turn_ended`.
    #[serde(skip)]
    Over,
}

#[derive(Deserialize)]
struct Joined {
    token_id: String,
    #[serde(flatten)]
    place: Place,
}

impl Place {
    pub fn poll_after(&self) -> Duration {
        Duration::from_millis(self.poll_after_ms)
    }
}

impl Person {
    pub async fn join(shop: &Shop, queue: &str, user_id: u64) -> anyhow::Result<Self> {
        let door = shop.people.clone();
        let asked = format!("GET /token/{user_id}?queue={queue}");
        let Joined { token_id: token, place } = door.ask(&asked, None, None).await?.json()?;
        Ok(Self { user_id, token, door, place })
    }

    pub async fn poll(&mut self) -> anyhow::Result<&Place> {
        let answer = self.door.ask("GET /queue", Some(&self.token), None).await?;
        if answer.status == 410 {
            self.place.status = Status::Over;
        } else {
            self.place = answer.json()?;
        }
        Ok(&self.place)
    }

    /// Asks as told for as long as there is something to wait for.
    pub async fn wait(&mut self) -> anyhow::Result<Status> {
        while self.place.status == Status::Waiting && !self.is_told_to_go() {
            sleep(self.place.poll_after()).await;
            self.poll().await?;
        }
        Ok(self.place.status)
    }

    fn is_told_to_go(&self) -> bool {
        self.place.reason.as_deref() == Some("sold_out")
    }

    /// Gives the place or the turn back.
    pub async fn leave(&self) -> anyhow::Result<()> {
        let answer = self.door.ask("DELETE /queue", Some(&self.token), None).await?;
        if ![204, 410].contains(&answer.status) {
            return Err(answer.unexpected());
        }
        Ok(())
    }
}

/// Dice of one's own: the same person behaves alike in every run.
pub struct Dice(u64);

impl Dice {
    pub fn of(user_id: u64) -> Self {
        Self(user_id)
    }

    /// From 0 to just below 1 (SplitMix64).
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.roll() * (high - low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_are_fair_and_fall_alike_in_every_run() {
        let rolls = |user| {
            let mut dice = Dice::of(user);
            [(); 1_000].map(|()| dice.roll())
        };
        let mean = rolls(1).iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        assert_eq!(rolls(1), rolls(1));
        assert_ne!(rolls(1)[0].to_bits(), rolls(2)[0].to_bits());
    }
}
