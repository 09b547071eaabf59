//! Buyers: most want seats and pay for them; some give up, some dawdle, some hang up and ask again, and some have clients
//! that use a key twice.

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
/// How often somebody hangs up before he asks in earnest; of polls there are many.
const HANGS_UP: f64 = 0.05;
const HANGS_UP_POLL: f64 = 0.02;

/// One place in the crowd: as soon as one person is done the next one comes.
pub async fn one_after_the_other(world: Arc<World>, slot: u64) {
    let mut dice = world.dice(slot);
    sleep(Duration::from_millis(dice.random_range(0..2_000))).await;
    while !world.is_closing() {
        let mut buyer = Buyer::new(&world, &mut dice);
        buyer.visit(&mut dice).await;
        if dice.random_bool(0.3) && !world.is_closing() {
            buyer.before = buyer.who.token.take();
            buyer.visit(&mut dice).await;
            world.archive.is_gone(buyer.who.user);
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
    /// A key that has paid for a booking.
    spent_key: Option<String>,
    /// Of his last visit.
    before: Option<Token>,
}

enum Waited {
    Active,
    Over,
    /// He asks no more, and his place is where it was.
    Faded,
    /// He was refused his place, and still waits for it.
    Lost,
}

impl<'a> Buyer<'a> {
    fn new(world: &'a World, dice: &mut StdRng) -> Self {
        let who = Who::honest(world.new_user());
        let (keeps_first, fades) = (dice.random_bool(0.5), dice.random_bool(0.08));
        Self { world, who, keeps_first, fades, keys: 0, spent_key: None, before: None }
    }

    /// From the door to the end of the turn.
    async fn visit(&mut self, dice: &mut StdRng) {
        let (user, archive) = (self.who.user, &self.world.archive);
        let Some(first) = self.join(dice).await else { return };
        let waited = self.wait(first, dice).await;
        if !matches!(waited, Waited::Lost) {
            archive.waits_no_more(user);
        }
        let Some(token) = self.who.token.clone() else { return };
        match waited {
            Waited::Active => {
                self.world.progress.served.fetch_add(1, Ordering::Relaxed);
                if self.shop(&token, dice).await {
                    archive.is_over(user, &token);
                } else {
                    archive.will_be_over(user, &token);
                }
            }
            Waited::Over => archive.is_over(user, &token),
            // A place that may still be his is no finished one.
            Waited::Faded | Waited::Lost => {}
        }
    }

    async fn join(&mut self, dice: &mut StdRng) -> Option<Answer> {
        self.may_hang_up(HANGS_UP, &Call::Join, dice).await;
        for _ in 0..RETRIES {
            let told = self.ask(Call::Join, dice).await;
            if let Outcome::Ok { answer, .. } = told.outcome {
                note(&self.world.progress.joined_us, self.world.shop.now_us());
                self.who.token = told.token;
                let number = self.who.token.as_ref().map(|token| token.number);
                if let Some(before) = self.before.take_if(|it| Some(it.number) != number) {
                    self.world.archive.is_superseded(self.who.user, before);
                }
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
                return Waited::Faded;
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
            self.may_hang_up(HANGS_UP_POLL, &Call::Poll { number: token.number }, dice).await;
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

    /// What somebody does with his turn; whether he gives it back in the end.
    async fn shop(&mut self, token: &Token, dice: &mut StdRng) -> bool {
        if dice.random_bool(0.1) {
            return false;
        }
        for _ in 0..6 {
            let Some((booking, amount)) = self.hold(token, dice).await else { continue };
            self.world.archive.booked(self.who.user, booking);
            match dice.random_range(0..20) {
                0 | 1 => {
                    self.until_known(Call::Cancel { booking }, dice).await;
                }
                2 | 3 => return false,
                4 | 5 => break,
                6 => {
                    let late_ms = dice.random_range(100..2_000);
                    sleep(self.world.hold + Duration::from_millis(late_ms)).await;
                    self.pay(booking, amount, dice).await;
                }
                _ => self.pay(booking, amount, dice).await,
            }
            if dice.random_bool(0.8) {
                break;
            }
        }
        let leaves = dice.random_bool(0.5);
        if leaves {
            self.leave(token, dice).await;
        }
        leaves
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
        let (number, concert) = (token.number, sale.concert);
        let hold = Call::Hold { number, concert, seats: seats.clone(), key: key.clone() };
        self.may_hang_up(HANGS_UP, &hold, dice).await;
        let Answer::Held { booking, amount, .. } = self.until_known(hold, dice).await? else {
            return None;
        };
        note(&self.world.progress.held_us, self.world.shop.now_us());
        let others = vec![sale.seats[dice.random_range(0..all)].clone()];
        if key.is_some() && others != seats && dice.random_bool(0.2) {
            self.until_known(Call::Hold { number, concert, seats: others, key }, dice).await;
        }
        Some((booking, amount))
    }

    async fn pay(&mut self, booking: i64, amount: i64, dice: &mut StdRng) {
        if !dice.random_bool(0.05) {
            self.top_up(amount, dice).await;
        }
        if let Some(key) = self.spent_key.take() {
            self.until_known(Call::Pay { booking, key: Some(key) }, dice).await;
        }
        let key = self.key(0.3, dice);
        let pay = Call::Pay { booking, key: key.clone() };
        self.may_hang_up(HANGS_UP, &pay, dice).await;
        let paid = self.until_known(pay.clone(), dice).await;
        if matches!(paid, Some(Answer::Paid { .. })) {
            note(&self.world.progress.paid_us, self.world.shop.now_us());
            self.spent_key = key;
        }
        if dice.random_bool(0.2) {
            self.until_known(pay, dice).await;
        }
        self.until_known(Call::Booking { booking }, dice).await;
    }

    async fn top_up(&mut self, amount: i64, dice: &mut StdRng) {
        let key = Some(self.new_key());
        let top_up = Call::TopUp { amount, key: key.clone() };
        self.may_hang_up(HANGS_UP, &top_up, dice).await;
        let told = self.until_known(top_up, dice).await;
        if told.is_some() && dice.random_bool(0.1) {
            self.until_known(Call::TopUp { amount: amount + 1, key }, dice).await;
        }
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

    /// Now and then somebody asks and hangs up before the answer; it may happen all the same.
    async fn may_hang_up(&self, share: f64, call: &Call, dice: &mut StdRng) {
        if dice.random_bool(share) {
            let patience = Duration::from_millis(dice.random_range(1..20));
            self.world.shop.ask_for(&self.who, call.clone(), dice, patience).await;
        }
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
