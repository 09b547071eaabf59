//! Buyers: most want seats and pay for them; some give up, some dawdle, some hang up and ask again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::World;
use super::shop::{Token, Told, Who};
use crate::history::{Answer, Call, Outcome};

/// Until the same request is known to have happened or not; far longer than any fault lasts.
const RETRIES: u32 = 200;
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// One place in the crowd: as soon as one person is done the next one comes.
pub async fn one_after_the_other(world: Arc<World>, slot: u64) {
    let mut dice = world.dice(slot);
    sleep(Duration::from_millis(dice.random_range(0..2_000))).await;
    while !world.is_closing() {
        let mut buyer = Buyer::new(&world, &mut dice);
        buyer.visit(&mut dice).await;
        if dice.random_bool(0.3) && !world.is_closing() {
            buyer.who.token = None;
            buyer.visit(&mut dice).await;
        }
        sleep(Duration::from_millis(dice.random_range(0..300))).await;
    }
}

struct Buyer<'a> {
    world: &'a World,
    who: Who,
    /// Some people never look at what they are sent, and keep their first token for ever.
    keeps_first: bool,
    /// They stop asking some time, and tell nobody.
    fades: bool,
    keys: u32,
}

enum Waited {
    Active,
    Over,
    /// He was refused his place, and still waits for it.
    Lost,
}

impl<'a> Buyer<'a> {
    fn new(world: &'a World, dice: &mut StdRng) -> Self {
        let who = Who { user: world.new_user(), token: None, adversary: false };
        let (keeps_first, fades) = (dice.random_bool(0.5), dice.random_bool(0.08));
        Self { world, who, keeps_first, fades, keys: 0 }
    }

    /// From the door to the end of the turn.
    async fn visit(&mut self, dice: &mut StdRng) {
        let user = self.who.user;
        let Some(first) = self.join(dice).await else { return };
        match self.wait(first, dice).await {
            Waited::Active => {
                self.world.archive.waits_no_more(user);
                self.world.progress.served.fetch_add(1, Ordering::Relaxed);
                self.shop(dice).await;
            }
            Waited::Over => {}
            Waited::Lost => return,
        }
        self.world.archive.waits_no_more(user);
        if let Some(token) = &self.who.token {
            self.world.archive.is_over(user, token);
        }
    }

    async fn join(&mut self, dice: &mut StdRng) -> Option<Answer> {
        for _ in 0..RETRIES {
            let told = self.ask(Call::Join, dice).await;
            if let Outcome::Ok { answer, .. } = told.outcome {
                note(&self.world.progress.joined_us, self.world.shop.now_us());
                self.who.token = told.token;
                return Some(answer);
            }
            if self.world.is_closing() {
                return None;
            }
            sleep(RETRY_AFTER).await;
        }
        None
    }

    /// Asks when told to, until it is his turn or he has had enough.
    async fn wait(&mut self, mut last: Answer, dice: &mut StdRng) -> Waited {
        let mut patience = if self.fades { dice.random_range(0..6) } else { u32::MAX };
        loop {
            let Answer::Waiting { poll_after_ms, .. } = last else {
                note(&self.world.progress.admitted_us, self.world.shop.now_us());
                return Waited::Active;
            };
            let Some(token) = self.who.token.clone() else { return Waited::Over };
            if patience == 0 {
                self.world.archive.waits_no_more(self.who.user);
                return Waited::Over;
            }
            patience -= 1;
            if !self.fades {
                self.world.archive.waits(self.who.user, &token);
            }
            if dice.random_bool(0.01) {
                self.leave(&token, dice).await;
                return Waited::Over;
            }
            let told_ms = u64::try_from(poll_after_ms).unwrap_or(0);
            sleep(Duration::from_millis(told_ms / 10 * dice.random_range(7..=10))).await;
            loop {
                let told = self.poll(&token, dice).await;
                match told.outcome {
                    Outcome::Ok { answer, .. } => {
                        if let Some(newer) = told.token.filter(|_| !self.keeps_first) {
                            self.who.token = Some(newer);
                        }
                        last = answer;
                        break;
                    }
                    // Over, the checker will say whether rightly; anything else is no answer to a place.
                    Outcome::Refused { status: 410, .. } => return Waited::Over,
                    Outcome::Refused { .. } => return Waited::Lost,
                    Outcome::Unknown { .. } => sleep(RETRY_AFTER).await,
                }
            }
        }
    }

    /// What somebody does with his turn.
    async fn shop(&mut self, dice: &mut StdRng) {
        let Some(token) = self.who.token.clone() else { return };
        if dice.random_bool(0.1) {
            return;
        }
        for _ in 0..6 {
            let Some((booking, amount)) = self.hold(&token, dice).await else { continue };
            self.world.archive.booked(self.who.user, booking);
            match dice.random_range(0..10) {
                0 => {
                    self.until_known(Call::Cancel { booking }, dice).await;
                }
                1 => return,
                2 => break,
                _ => self.pay(booking, amount, dice).await,
            }
            if dice.random_bool(0.8) {
                break;
            }
        }
        if dice.random_bool(0.5) {
            self.leave(&token, dice).await;
        }
    }

    /// Seats that somebody likes: most look at the same few.
    async fn hold(&mut self, token: &Token, dice: &mut StdRng) -> Option<(i64, i64)> {
        let sale = &self.world.sales[dice.random_range(0..self.world.sales.len())];
        let all = sale.seats.len();
        // What is hot moves on as seats are sold.
        let sold = usize::try_from(self.world.progress.served.load(Ordering::Relaxed)).unwrap_or(0);
        let hot = dice.random_bool(0.3);
        let (from, among) = if hot { (sold % all, all.min(6)) } else { (0, all) };
        let mut seats: Vec<String> = (0..dice.random_range(1..=3))
            .map(|_| sale.seats[(from + dice.random_range(0..among)) % all].clone())
            .collect();
        seats.sort();
        seats.dedup();
        let key = self.key(0.3, dice);
        let hold = Call::Hold { number: token.number, concert: sale.concert, seats, key };
        if dice.random_bool(0.05) {
            self.hang_up(hold.clone(), dice).await;
        }
        match self.until_known(hold, dice).await? {
            Answer::Held { booking, amount, .. } => {
                note(&self.world.progress.held_us, self.world.shop.now_us());
                Some((booking, amount))
            }
            _ => None,
        }
    }

    async fn pay(&mut self, booking: i64, amount: i64, dice: &mut StdRng) {
        if !dice.random_bool(0.05) {
            let key = Some(self.new_key());
            self.until_known(Call::TopUp { amount, key }, dice).await;
        }
        let pay = Call::Pay { booking, key: self.key(0.3, dice) };
        if dice.random_bool(0.05) {
            self.hang_up(pay.clone(), dice).await;
        }
        let paid = self.until_known(pay.clone(), dice).await;
        if matches!(paid, Some(Answer::Paid { .. })) {
            note(&self.world.progress.paid_us, self.world.shop.now_us());
        }
        if dice.random_bool(0.2) {
            self.until_known(pay, dice).await;
        }
        self.until_known(Call::Booking { booking }, dice).await;
    }

    async fn leave(&mut self, token: &Token, dice: &mut StdRng) {
        self.world.archive.waits_no_more(self.who.user);
        self.until_known(Call::Leave { number: token.number }, dice).await;
    }

    async fn poll(&self, token: &Token, dice: &mut StdRng) -> Told {
        self.ask(Call::Poll { number: token.number }, dice).await
    }

    /// The same request again until it is known what became of it.
    async fn until_known(&self, call: Call, dice: &mut StdRng) -> Option<Answer> {
        for _ in 0..RETRIES {
            match self.ask(call.clone(), dice).await.outcome {
                Outcome::Ok { answer, .. } => return Some(answer),
                Outcome::Refused { .. } => return None,
                Outcome::Unknown { .. } => sleep(RETRY_AFTER).await,
            }
        }
        None
    }

    async fn hang_up(&self, call: Call, dice: &mut StdRng) {
        let patience = Duration::from_millis(dice.random_range(1..20));
        self.world.shop.ask_for(&self.who, call, dice, patience).await;
    }

    async fn ask(&self, call: Call, dice: &mut StdRng) -> Told {
        self.world.shop.ask(&self.who, call, dice).await
    }

    fn key(&mut self, share: f64, dice: &mut StdRng) -> Option<String> {
        dice.random_bool(share).then(|| self.new_key())
    }

    fn new_key(&mut self) -> String {
        self.keys += 1;
        format!("{}-{}", self.who.user, self.keys)
    }
}

fn note(at: &std::sync::atomic::AtomicI64, now_us: i64) {
    at.fetch_max(now_us, Ordering::Relaxed);
}
