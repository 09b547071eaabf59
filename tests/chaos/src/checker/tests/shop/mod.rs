//! A correct shop and its people, without servers: one seed gives a history and the final rows of a day on which tens of
//! people join, poll, leave, stay away, buy and lose answers, over several epochs. Nothing is judged here.

mod counter;
mod line;
mod people;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::history::{Answer, Call, Fault, Op, Outcome, Record, Run};
use crate::rows::{Account, Queue, Rows, Seat};
use line::Line;
use people::Person;

/// When the run's clock showed zero.
pub const BEGAN_AT_MS: i64 = 1_700_000_000_000;
pub const QUEUE: i64 = 1;
pub const CONCERT: i64 = 7;
pub const PRICE: i64 = 1_000;
const STEP_MS: i64 = 10;
const DAY_MS: i64 = 90_000;
/// The first loss of Redis, and how often it comes again.
const LOSS_EVERY_MS: i64 = 14_000;
const REBUILD_MS: i64 = 1_500;
const LOSSES: i64 = 2;
/// When SQL is away.
const AWAY_MS: std::ops::Range<i64> = 20_000..24_000;

/// The shop: what it has written, what it remembers, and what was seen of it.
pub struct Shop {
    rng: StdRng,
    run: Run,
    now_us: i64,
    records: Vec<Record>,
    rows: Rows,
    line: Line,
    /// What each key was answered.
    keys: BTreeMap<String, (u64, Outcome)>,
}

/// A day's history and the rows it leaves.
pub fn day(seed: u64) -> (Vec<Record>, Rows) {
    let mut shop = Shop::open(seed);
    let mut people: Vec<Person> = (1..=60).map(|id| Person::new(id, &mut shop.rng)).collect();
    while shop.now_us < DAY_MS * 1_000 {
        shop.lose_redis();
        if !shop.is_without_sql() {
            shop.close_over();
            shop.admit();
        }
        for person in &mut people {
            person.act(&mut shop);
        }
        shop.now_us = (shop.now_us / (STEP_MS * 1_000) + 1) * STEP_MS * 1_000;
    }
    shop.close()
}

impl Shop {
    fn open(seed: u64) -> Self {
        let run = Run {
            seed,
            began_at_ms: BEGAN_AT_MS,
            database: "postgres".to_owned(),
            instances: 3,
            queue: "main".to_owned(),
            poll_ms_max: 1_000,
            claim_ms: 2_000,
            session_ms: 10_000,
            hold_ms: 5_000,
            grace_ms: 1_000,
            rate_per_second: 2.0,
            burst: 3.0,
            active_max: 8,
            seats_per_booking_max: 4,
            skew_ms: 0,
            seats_per_user_max: Some(4),
        };
        let seats =
            (1..=40).map(|n| Seat { concert_id: CONCERT, seat_id: format!("A{n}"), price: PRICE });
        let triggers = vec!["the_ledger_only_grows".to_owned()];
        let rows = Rows { seats: seats.collect(), triggers, ..Rows::default() };
        let line = Line::new(run.burst);
        let away = Fault {
            kind: "postgres_stop".to_owned(),
            target: "postgres".to_owned(),
            begun_us: AWAY_MS.start * 1_000,
            healed_us: AWAY_MS.end * 1_000,
            detail: String::new(),
        };
        Self {
            rng: StdRng::seed_from_u64(seed),
            records: vec![Record::Run(run.clone()), Record::Fault(away)],
            run,
            now_us: 0,
            rows,
            line,
            keys: BTreeMap::new(),
        }
    }

    /// Sends a request: it is served, or lost on its way, or its answer is.
    fn ask(&mut self, user: i64, call: Call) -> Outcome {
        self.send((user, None), false, call)
    }

    /// The same, by somebody who is up to no good.
    fn attack(&mut self, user: i64, call: Call) -> Outcome {
        self.send((user, None), true, call)
    }

    /// The same, and his body names another person.
    fn attack_as(&mut self, user: i64, named: i64, call: Call) -> Outcome {
        self.send((user, Some(named)), true, call)
    }

    /// A while later, and all in vain: the day goes on as if it had not been asked.
    fn aside(&mut self, ask: impl FnOnce(&mut Self)) {
        let own = StdRng::seed_from_u64(self.now_us.unsigned_abs());
        let (now_us, rng) = (self.now_us, std::mem::replace(&mut self.rng, own));
        self.now_us += 50_000;
        ask(self);
        (self.now_us, self.rng) = (now_us, rng);
    }

    fn send(
        &mut self,
        (user, on_behalf_of): (i64, Option<i64>),
        adversary: bool,
        call: Call,
    ) -> Outcome {
        self.now_us += 3;
        let (there, back) =
            (self.rng.random_range(200..20_000), self.rng.random_range(200..20_000));
        let lost = Outcome::Unknown { status: None, code: None, why: "reset".to_owned() };
        let outcome = match self.rng.random_range(0..30) {
            0 => lost,
            _ if on_behalf_of.is_some() => refused(403, "user_mismatch"),
            1 => {
                self.serve(user, &call);
                lost
            }
            _ => self.serve(user, &call),
        };
        let instance = format!("usher-{}", self.rng.random_range(1..=self.run.instances));
        self.records.push(Record::Op(Op {
            id: self.records.len() as u64,
            user,
            instance,
            begun_us: self.now_us - there,
            ended_us: self.now_us + back,
            adversary,
            on_behalf_of,
            call,
            outcome: outcome.clone(),
        }));
        outcome
    }

    fn serve(&mut self, user: i64, call: &Call) -> Outcome {
        match call {
            Call::Join => self.join(user),
            _ if self.is_without_sql() && !matches!(call, Call::Poll { .. }) => {
                unavailable("unavailable")
            }
            Call::Poll { number } => self.poll(user, *number),
            Call::Leave { number } => self.leave(user, *number),
            Call::Hold { number, seats, key, .. } => {
                self.once(user, key.as_deref(), call, |shop| {
                    shop.hold(user, *number, seats, key.as_deref())
                })
            }
            Call::Pay { booking, key } => self
                .once(user, key.as_deref(), call, |shop| shop.pay(user, *booking, key.as_deref())),
            Call::TopUp { amount, key } => self.once(user, key.as_deref(), call, |shop| {
                shop.top_up(user, *amount, key.as_deref())
            }),
            Call::Cancel { booking } => self.cancel(user, *booking),
            Call::Balance => ok(Answer::Balance { balance: self.account(user).balance }),
            Call::Booking { booking } => self.show(user, *booking),
        }
    }

    /// A key that has had an effect gives the same answer again, and no other one.
    fn once(
        &mut self,
        user: i64,
        key: Option<&str>,
        call: &Call,
        effect: impl FnOnce(&mut Self) -> Outcome,
    ) -> Outcome {
        let Some(key) = key else { return effect(self) };
        let name = format!("{user}/{key}");
        let asked = digest(call);
        match self.keys.get(&name) {
            Some((earlier, outcome)) if *earlier == asked => outcome.clone(),
            Some(_) => refused(422, "idempotency_key_reuse"),
            None => {
                let outcome = effect(self);
                if matches!(outcome, Outcome::Ok { .. }) {
                    self.keys.insert(name, (asked, outcome.clone()));
                }
                outcome
            }
        }
    }

    /// Now and then Redis comes back empty: another epoch begins, and the line is rebuilt.
    fn lose_redis(&mut self) {
        let epoch = self.now_us / 1_000 / LOSS_EVERY_MS + 1;
        if epoch <= self.line.epoch || epoch > LOSSES + 1 {
            return;
        }
        let until = self.now_us + REBUILD_MS * 1_000;
        self.line.begin(epoch, BEGAN_AT_MS + until / 1_000);
        self.records.push(Record::Fault(Fault {
            kind: "redis_wipe".to_owned(),
            target: "redis".to_owned(),
            begun_us: self.now_us,
            healed_us: until,
            detail: String::new(),
        }));
    }

    fn is_without_sql(&self) -> bool {
        AWAY_MS.contains(&(self.now_us / 1_000))
    }

    /// The wall clock.
    fn now_ms(&self) -> i64 {
        BEGAN_AT_MS + self.now_us / 1_000
    }

    fn account(&mut self, user: i64) -> &mut Account {
        let known = self.rows.accounts.iter().position(|account| account.user_id == user);
        let index = known.unwrap_or_else(|| {
            self.rows.accounts.push(Account { user_id: user, balance: 0, version: 0 });
            self.rows.accounts.len() - 1
        });
        &mut self.rows.accounts[index]
    }

    fn close(mut self) -> (Vec<Record>, Rows) {
        self.rows.read_at_ms = self.now_ms();
        self.rows.queues.push(Queue {
            id: QUEUE,
            name: self.run.queue.clone(),
            epoch: self.line.epoch,
            active_max: self.run.active_max,
            rate_per_second: self.run.rate_per_second,
        });
        self.rows.turns.sort_by_key(|turn| turn.seq);
        (self.records, self.rows)
    }
}

fn ok(answer: Answer) -> Outcome {
    Outcome::Ok { digest: digest(&answer), answer }
}

fn refused(status: u16, code: &str) -> Outcome {
    Outcome::Refused { status, code: code.to_owned(), digest: digest(&code) }
}

fn unavailable(code: &str) -> Outcome {
    Outcome::Unknown { status: Some(503), code: Some(code.to_owned()), why: "status".to_owned() }
}

fn digest(what: &impl std::fmt::Debug) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{what:?}").hash(&mut hasher);
    hasher.finish()
}
