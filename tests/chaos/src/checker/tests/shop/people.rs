//! The shop's people: each walks from the line to the counter in a way of his own.

use rand::RngExt;
use rand::rngs::StdRng;

use super::{CONCERT, PRICE, Shop};
use crate::history::{Answer, Call, Outcome};

/// How somebody behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Buys,
    /// Asks until it is his turn, and does not claim it.
    StaysAway,
    /// Leaves the line, and later joins again.
    Leaves,
    /// Is silent for a long while, and comes back.
    Returns,
    /// Holds, and neither pays nor says so.
    Forgets,
    Cancels,
    /// Shows numbers that are over, or that were never given, and what is another's.
    Forges,
}

enum Step {
    Join,
    Wait(i64),
    Shop(i64),
    Pay(i64),
    Look(i64),
    Done,
}

pub struct Person {
    id: i64,
    manner: Manner,
    step: Step,
    next_ms: i64,
    polls: u32,
    /// Grows with each request that is a new one, and not one sent again.
    wish: u32,
    seats: Vec<String>,
    last: i64,
    /// The booking that he paid for last.
    paid: Option<i64>,
    days: u32,
}

impl Person {
    pub fn new(id: i64, rng: &mut StdRng) -> Self {
        let manner = match id % 12 {
            0 | 5 => Manner::StaysAway,
            1 => Manner::Leaves,
            2 => Manner::Returns,
            3 => Manner::Forgets,
            4 => Manner::Cancels,
            6 => Manner::Forges,
            _ => Manner::Buys,
        };
        Self {
            id,
            manner,
            step: Step::Join,
            next_ms: rng.random_range(100..25_000),
            polls: 0,
            wish: 0,
            seats: Vec::new(),
            last: 0,
            paid: None,
            days: 0,
        }
    }

    /// The next request, when it is time.
    pub fn act(&mut self, shop: &mut Shop) {
        if shop.now_us / 1_000 < self.next_ms {
            return;
        }
        let pause = shop.rng.random_range(300..900);
        self.next_ms = shop.now_us / 1_000 + pause;
        match self.step {
            Step::Join => self.join(shop),
            Step::Wait(number) => self.wait(shop, number),
            Step::Shop(number) => self.shop(shop, number),
            Step::Pay(booking) => self.pay(shop, booking),
            Step::Look(booking) => self.look(shop, booking),
            Step::Done => self.next_ms = i64::MAX,
        }
    }

    fn join(&mut self, shop: &mut Shop) {
        let told = shop.ask(self.id, Call::Join);
        self.hear(&told);
    }

    fn wait(&mut self, shop: &mut Shop, number: i64) {
        self.polls += 1;
        if self.manner == Manner::Forges && self.polls == 2 {
            shop.attack(self.id, Call::Poll { number: 0 });
            return;
        }
        if self.manner == Manner::Leaves && self.polls >= 2 {
            if let Outcome::Ok { .. } = shop.ask(self.id, Call::Leave { number }) {
                self.manner = Manner::Buys;
                self.step = Step::Join;
            }
            return;
        }
        if self.manner == Manner::Returns && self.polls == 4 {
            self.next_ms += 9_000;
        }
        let is_admitted = || shop.rows.turns.iter().any(|turn| turn.seq == number);
        if self.manner == Manner::StaysAway && is_admitted() {
            self.manner = Manner::Buys;
            self.next_ms += shop.run.claim_ms;
            return;
        }
        let told = shop.ask(self.id, Call::Poll { number });
        self.hear(&told);
    }

    /// Goes where an answer of the line sends him.
    fn hear(&mut self, told: &Outcome) {
        match told {
            Outcome::Ok { answer: Answer::Waiting { number, .. }, .. } => {
                self.step = Step::Wait(*number);
            }
            Outcome::Ok { answer: Answer::Active { number, .. }, .. } => {
                self.step = Step::Shop(*number);
                self.last = *number;
                self.wish += 1;
                self.seats.clear();
            }
            Outcome::Refused { .. } if self.days < 2 => {
                self.days += 1;
                self.polls = 10;
                self.step = Step::Join;
            }
            Outcome::Refused { .. } => self.step = Step::Done,
            _ => {}
        }
    }

    fn shop(&mut self, shop: &mut Shop, number: i64) {
        if self.seats.is_empty() {
            let first = shop.rng.random_range(1..=39);
            let some = shop.rng.random_range(1..=2);
            self.seats = (first..first + some).map(|n| format!("A{n}")).collect();
        }
        let key = Some(format!("hold-{}", self.wish));
        let seats = self.seats.clone();
        let concert = CONCERT;
        let told = shop.ask(self.id, Call::Hold { number, concert, seats, key: key.clone() });
        match told {
            Outcome::Ok { answer: Answer::Held { booking, .. }, .. } => {
                if self.wish.is_multiple_of(2) {
                    let seats = vec!["A40".to_owned()];
                    self.reuse_key(shop, Call::Hold { number, concert, seats, key });
                }
                self.wish += 1;
                self.step = Step::Pay(booking);
            }
            Outcome::Refused { code, .. } if code == "seat_taken" => {
                self.wish += 1;
                self.seats.clear();
            }
            Outcome::Refused { .. } => self.step = Step::Wait(number),
            _ => {}
        }
    }

    fn pay(&mut self, shop: &mut Shop, booking: i64) {
        if self.manner == Manner::Forgets {
            self.manner = Manner::Buys;
            self.next_ms += 6_000;
            return;
        }
        if self.manner == Manner::Cancels {
            let told = shop.ask(self.id, Call::Cancel { booking });
            if matches!(told, Outcome::Ok { .. }) {
                self.manner = Manner::Buys;
                self.step = Step::Wait(self.last);
            }
            return;
        }
        if let Some(paid) = self.paid.take().filter(|paid| *paid != booking) {
            let key = Some(format!("pay-{paid}"));
            self.reuse_key(shop, Call::Pay { booking, key });
        }
        let key = Some(format!("pay-{booking}"));
        match shop.ask(self.id, Call::Pay { booking, key }) {
            Outcome::Ok { .. } => {
                self.step = Step::Look(booking);
                self.paid = Some(booking);
                self.wish += 1;
            }
            Outcome::Refused { code, .. } if code == "insufficient_balance" => {
                let key = Some(format!("top-up-{}", self.wish));
                self.next_ms += 200;
                shop.now_us += 50_000;
                let top_up = Call::TopUp { amount: 3 * PRICE, key: key.clone() };
                if let Outcome::Ok { .. } = shop.ask(self.id, top_up) {
                    self.wish += 1;
                    self.reuse_key(shop, Call::TopUp { amount: PRICE, key });
                }
            }
            Outcome::Refused { .. } => self.step = Step::Look(booking),
            Outcome::Unknown { .. } => {}
        }
    }

    /// With a key that was good for something else.
    fn reuse_key(&self, shop: &mut Shop, call: Call) {
        shop.aside(|shop| drop(shop.ask(self.id, call)));
    }

    /// Reads what he has; then he is content, or tries what does not belong to him.
    fn look(&mut self, shop: &mut Shop, booking: i64) {
        self.polls += 1;
        match self.polls % 3 {
            0 => drop(shop.ask(self.id, Call::Booking { booking })),
            1 => drop(shop.ask(self.id, Call::Balance)),
            _ if self.manner == Manner::Forges && self.polls < 25 => {
                let number = if self.polls.is_multiple_of(2) { 0 } else { self.last };
                shop.attack(self.id, Call::Poll { number });
                shop.aside(|shop| self.meddle(shop));
            }
            _ if self.days < 2 && self.id % 2 == 0 => {
                self.days += 1;
                self.step = Step::Join;
            }
            _ => self.step = Step::Done,
        }
    }

    /// Tries what is another's, and what is not there.
    fn meddle(&self, shop: &mut Shop) {
        let theirs = shop.rows.bookings.iter().find(|row| row.user_id != self.id);
        let Some((theirs, owner)) = theirs.map(|row| (row.id, row.user_id)) else { return };
        for booking in [theirs, 9_000_000] {
            shop.attack(self.id, Call::Pay { booking, key: None });
            shop.attack(self.id, Call::Cancel { booking });
            shop.attack(self.id, Call::Booking { booking });
        }
        let (number, seats) = (self.last, vec!["A40".to_owned()]);
        shop.attack_as(self.id, owner, Call::Pay { booking: theirs, key: None });
        shop.attack_as(self.id, owner, Call::Hold { number, concert: CONCERT, seats, key: None });
    }
}
