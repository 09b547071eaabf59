//! `usher bench seats`: a rush on a small hall. Whoever is let in wants to find something to buy; the queue couples
//! admission to the seats that are left, and this counts the people for whom that failed.

use std::time::Duration;

use clap::{Args, value_parser};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::http::Answer;
use super::people::{Dice, Person, Status};
use super::progress;
use super::report::{Report, rounded, table};
use super::server::{Shop, Site};

/// One price for all.
const PRICE: u64 = 5_000;
/// Which part of those who hold seats lets them go again.
const LET_GO: f64 = 0.1;
/// People look at the hall for so long, and think so long before they pay.
const THINK_SECONDS: (f64, f64) = (0.2, 2.0);
/// What the server knows of its halls is a second old at most.
const SEEN: Duration = Duration::from_secs(2);
/// The hall as it is shown may be a second old: whoever was refused everywhere looks again, so many times in all.
const LOOKS_MAX: usize = 4;

#[derive(Debug, Args)]
pub struct Seats {
    /// Seats in the hall.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    #[arg(value_parser = value_parser!(u64).range(1..=10_000))]
    seats: u64,
    /// People who come, all at once.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    #[arg(value_parser = value_parser!(u64).range(1..=100_000))]
    people: u64,
    /// Everybody wants from one to so many seats; then the rush is repeated with one seat for everybody.
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    #[arg(value_parser = value_parser!(u64).range(1..=8))]
    seats_max: u64,
}

/// One hall in a queue of its own.
struct Hall {
    shop: Shop,
    queue: String,
    concert_id: u64,
    seats_max: u64,
}

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    /// Told that everything is sold, without having been let in.
    SentHome,
    Bought,
    LetGo,
    FoundNothing,
    /// The turn ended before there was a decision.
    RanOut,
}

#[derive(Debug, Serialize)]
struct Rush {
    seats_max: u64,
    people: usize,
    admitted: usize,
    bought: usize,
    let_go: usize,
    found_nothing: usize,
    found_nothing_of_admitted: f64,
    ran_out: usize,
    sent_home: usize,
    seats: u64,
    seats_sold: u64,
    /// From the opening of the doors to the last payment.
    seconds: f64,
}

#[derive(Deserialize)]
struct SeatMap {
    seats: String,
}

#[derive(Deserialize)]
struct Held {
    booking_id: u64,
    amount: u64,
}

impl Seats {
    pub async fn measure(&self, site: &mut Site) -> anyhow::Result<Report> {
        let shop = site.open(&[]).await?;
        let mut halls = vec![self.build(&shop, self.seats_max).await?];
        if self.seats_max > 1 {
            halls.push(self.build(&shop, 1).await?);
        }
        sleep(SEEN).await;
        let mut rushes = Vec::new();
        for hall in &halls {
            rushes.push(self.rush(hall).await?);
        }
        let mut broken = shop.operator.check().await?.broken();
        for Rush { seats, seats_sold, .. } in &rushes {
            if seats_sold != seats {
                broken.push(format!(
                    "{seats_sold} of {seats} seats were sold to a crowd that wanted all"
                ));
            }
        }
        let how = format!("{} seats, {} people", self.seats, self.people);
        let rows = rushes.iter().map(|rush| {
            [
                if rush.seats_max == 1 {
                    "1".to_owned()
                } else {
                    format!("1 to {}", rush.seats_max)
                },
                rush.admitted.to_string(),
                rush.found_nothing.to_string(),
                format!("{:.1} %", rush.found_nothing_of_admitted * 100.0),
                rush.bought.to_string(),
                rush.let_go.to_string(),
                rush.ran_out.to_string(),
                rush.sent_home.to_string(),
                rush.seats_sold.to_string(),
                format!("{:.1}", rush.seconds),
            ]
        });
        let head = [
            "Seats each",
            "admitted",
            "found nothing",
            "of admitted",
            "bought",
            "let go",
            "ran out of time",
            "sent home",
            "seats sold",
            "seconds",
        ];
        Report::of(site, &how, &json!({ "rushes": rushes }), &[table(head, rows)], broken)
    }

    async fn build(&self, shop: &Shop, seats_max: u64) -> anyhow::Result<Hall> {
        let queue = format!("up-to-{seats_max}");
        shop.operator.make_queue(&queue, &json!({ "mode": "paused" })).await?;
        let concert_id = shop.operator.make_concert(&queue, self.seats, PRICE).await?;
        Ok(Hall { shop: shop.clone(), queue, concert_id, seats_max })
    }

    async fn rush(&self, hall: &Hall) -> anyhow::Result<Rush> {
        let bar = &progress::steps("people come, buy and go", self.people)?;
        let joining = (1..=self.people).map(|user| Person::join(&hall.shop, &hall.queue, user));
        let people = try_join_all(joining).await?;
        let began = Instant::now();
        hall.shop.operator.tune(&hall.queue, &json!({ "mode": "open" })).await?;
        let visits = people.into_iter().map(async |person| {
            let visit = hall.visit(person).await?;
            bar.inc(1);
            anyhow::Ok((visit, began.elapsed()))
        });
        let visits = try_join_all(visits).await?;
        bar.finish_and_clear();
        let count = |end| visits.iter().filter(|(visit, _)| *visit == end).count();
        let bought = visits.iter().filter(|(visit, _)| *visit == Visit::Bought);
        let last = bought.map(|(_, after)| *after).max().unwrap_or_default();
        let (found_nothing, sent_home) = (count(Visit::FoundNothing), count(Visit::SentHome));
        let admitted = visits.len() - sent_home;
        Ok(Rush {
            seats_max: hall.seats_max,
            people: visits.len(),
            admitted,
            bought: count(Visit::Bought),
            let_go: count(Visit::LetGo),
            found_nothing,
            found_nothing_of_admitted: rounded(found_nothing as f64 / admitted.max(1) as f64),
            ran_out: count(Visit::RanOut),
            sent_home,
            seats: self.seats,
            seats_sold: hall.shop.operator.seats_sold(hall.concert_id).await?,
            seconds: rounded(last.as_secs_f64()),
        })
    }
}

impl Hall {
    async fn visit(&self, mut me: Person) -> anyhow::Result<Visit> {
        match me.wait().await? {
            Status::Waiting => return Ok(Visit::SentHome),
            Status::Over => return Ok(Visit::RanOut),
            Status::Active => {}
        }
        let mut dice = Dice::of(me.user_id);
        let wanted = 1 + (dice.roll() * self.seats_max as f64) as usize;
        let held = match self.hold(&me, wanted, &mut dice).await? {
            Ok(held) => held,
            Err(visit) => {
                me.leave().await?;
                return Ok(visit);
            }
        };
        think(&mut dice).await;
        if dice.roll() < LET_GO {
            me.leave().await?;
            return Ok(Visit::LetGo);
        }
        self.pay(&me, &held).await
    }

    /// Looks at the hall, takes a moment, and asks for free seats until there are none: as many as wanted, or as are
    /// left.
    async fn hold(
        &self,
        me: &Person,
        wanted: usize,
        dice: &mut Dice,
    ) -> anyhow::Result<Result<Held, Visit>> {
        for look in 0..LOOKS_MAX {
            let path = format!("GET /concerts/{}/seats", self.concert_id);
            let mut free = free(&me.door.ask(&path, None, None).await?.json()?);
            match (look, free.is_empty()) {
                (_, true) => return Ok(Err(Visit::FoundNothing)),
                (0, false) => think(dice).await,
                (_, false) => {}
            }
            while !free.is_empty() {
                let from = (dice.roll() * (free.len().saturating_sub(wanted) + 1) as f64) as usize;
                let seats = &free[from..(from + wanted).min(free.len())];
                let answer = self.ask_for(me, seats).await?;
                match answer.status {
                    201 => return Ok(Ok(answer.json()?)),
                    409 => {
                        let taken: Vec<String> = answer.member("taken")?;
                        free.retain(|seat| !taken.contains(seat));
                    }
                    410 => return Ok(Err(Visit::RanOut)),
                    _ => return Err(answer.unexpected()),
                }
            }
        }
        Ok(Err(Visit::FoundNothing))
    }

    async fn ask_for(&self, me: &Person, seats: &[String]) -> anyhow::Result<Answer> {
        let seats = seats.join(",");
        let body =
            json!({ "user_id": me.user_id, "concert_id": self.concert_id, "seat_no": seats });
        me.door.ask("POST /booking", Some(&me.token), Some(&body)).await
    }

    async fn pay(&self, me: &Person, held: &Held) -> anyhow::Result<Visit> {
        let Held { booking_id, amount } = held;
        let charge = json!({ "user_id": me.user_id, "balance": amount });
        me.door.ask("POST /balance", None, Some(&charge)).await?.json::<serde_json::Value>()?;
        let body = json!({ "user_id": me.user_id, "booking_id": booking_id });
        let answer = me.door.ask("POST /payment", Some(&me.token), Some(&body)).await?;
        match answer.status {
            200 => Ok(Visit::Bought),
            410 => Ok(Visit::RanOut),
            _ => Err(answer.unexpected()),
        }
    }
}

async fn think(dice: &mut Dice) {
    sleep(Duration::from_secs_f64(dice.between(THINK_SECONDS.0, THINK_SECONDS.1))).await;
}

/// Ids of the seats that are free: they are numbered from 1, in order.
fn free(map: &SeatMap) -> Vec<String> {
    let letters = map.seats.chars().zip(1_u64..);
    letters.filter(|(letter, _)| *letter == 'A').map(|(_, seat)| seat.to_string()).collect()
}
