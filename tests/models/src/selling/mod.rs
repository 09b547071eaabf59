//! Model S: selling. Two people hold, pay, cancel and add money, at two instances whose clocks differ; holds lapse, are
//! swept and are taken over.
//!
//! What a step stands for in the code:
//!
//! | step | code |
//! | --- | --- |
//! | `Begin(Hold)`, its `Commit` | `booking/sql/{seen,hold}.rs`: `see`, `decide`; `make`, `claim_seats`, `commit` |
//! | `Begin(Hold)` that finds its booking | `Sql::held_before`, `decide`: the key's booking, or the same hold again |
//! | `Begin(Pay)`, its `Commit` | `payment/sql/{seen,pay}.rs`: `see`, `decide`; `write`, `commit` |
//! | `Begin(Cancel)`, its `Commit` | `booking/sql/mod.rs`: `locked`; `set_cancelled`, `commit`; `leave_once` alike |
//! | `Begin(TopUp)`, its `Commit` | `payment/sql/mod.rs`: `top_up_once`: `locked_account`, `by_key`; `record`, `commit` |
//! | `Sweep` | `Sql::expire` |
//! | `Crash`, `Commit` unheard | every `crash_point!` of them; `Error::OutcomeUnknown` |
//!
//! `Begin` is everything up to the judgement, and can happen only while nobody else has a lock that it needs. Nothing
//! of a transaction is seen before its commit, so that all it writes is one step; what can come between the two is what
//! its locks let through. A batch is one wish: `sql/writer.rs` puts none together that touch the same.
//!
//! Requests are on their way for as long as they like: whatever somebody might ever send arrives at any moment, in any
//! order, as often as it likes. So every duplicate, every delay and every repetition is among them, also after an
//! answer that said that nobody knows.
//!
//! Redis is not in the state. It says no, which changes nothing, or lets a hold pass, whatever `lua/booking` has marked,
//! lost or forgotten: what is promised here is promised for every content of it. Nor are turns, which model Q looks at;
//! their locks are left out too, since one person may book in two queues at once: less is locked here than in the code.

mod commit;
mod judge;
mod mutants;
mod properties;
mod rules;

use stateright::{Model, Property};

pub use mutants::Mutant;
pub use properties::TAKEN_OVER;
pub use rules::{Promise, Rule};

/// How long a hold lasts.
const HOLD: u8 = 2;
/// How much later it is taken over.
pub const GRACE: u8 = 1;

const PEOPLE: usize = 2;
const SEATS_MAX: usize = 2;
const BOOKINGS_MAX: usize = 3;
const ENTRIES_MAX: usize = 4;
const JOBS_MAX: usize = 3;

/// How much of the world is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub people: u8,
    pub seats: u8,
    pub bookings: usize,
    /// What accounts hold at first. A seat costs 1.
    pub balance: [i8; PEOPLE],
    pub top_ups: bool,
    /// How far the second instance's clock is ahead.
    pub skew: u8,
    /// The last instant.
    pub until: u8,
    /// Transactions that are open at once.
    pub jobs: usize,
}

impl Bounds {
    /// Two people and one seat, which changes hands.
    pub const ONE_SEAT: Self = Self {
        people: 2,
        seats: 1,
        bookings: 2,
        balance: [2, 2],
        top_ups: false,
        skew: GRACE,
        until: 4,
        jobs: 2,
    };
    /// One seat or both, for people who cannot pay for everything.
    pub const TWO_SEATS: Self = Self { seats: 2, balance: [1, 2], until: 3, ..Self::ONE_SEAT };
    /// One person whose money is not enough, and grows.
    pub const MONEY: Self =
        Self { people: 1, seats: 2, top_ups: true, skew: 0, until: 2, ..Self::TWO_SEATS };
    /// Clocks that differ by more than readiness lets through: holds may be cut short, and nothing else.
    pub const BEYOND: Self = Self { skew: GRACE + 1, ..Self::ONE_SEAT };
    /// Three transactions at once, and a seat that changes hands again.
    pub const CROWD: Self = Self { jobs: 3, bookings: 3, ..Self::ONE_SEAT };

    pub const ALL: [(&str, Self); 5] = [
        ("one seat", Self::ONE_SEAT),
        ("two seats", Self::TWO_SEATS),
        ("money", Self::MONEY),
        ("beyond", Self::BEYOND),
        ("crowd", Self::CROWD),
    ];
}

/// The model: the protocol, perhaps without one of its rules.
#[derive(Clone, Debug)]
pub struct Selling {
    pub bounds: Bounds,
    pub without: Option<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    /// Seats are bits.
    Hold {
        user: u8,
        seats: u8,
        has_key: bool,
    },
    Pay {
        booking: u8,
        has_key: bool,
    },
    Cancel {
        booking: u8,
    },
    /// With a key, always.
    TopUp {
        user: u8,
    },
}

/// Where an instance is in a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    #[default]
    Idle,
    /// It waits for locks. Only where the clock is read before them does that matter.
    Asked { request: Request, instance: u8, now: u8 },
    /// It has its locks, and nothing speaks against it.
    Judged { request: Request, now: u8, locked: u8, account: Account },
    /// Only where debit and sale are two commits: the first is done.
    Debited { booking: u8 },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Status {
    #[default]
    Held,
    Paid,
    Expired,
    Cancelled,
}

/// A row of `booking`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Booking {
    pub user: u8,
    /// None: there is no such booking.
    pub seats: u8,
    pub status: Status,
    pub until: u8,
    pub has_key: bool,
    /// Its owner was told that he has it.
    pub heard: bool,
}

/// A row of `seat_claim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    pub booking: u8,
    /// None: sold.
    pub until: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    pub balance: i8,
    pub version: u8,
}

/// A row of `transfer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub user: u8,
    /// None: money was added.
    pub booking: Option<u8>,
    pub has_key: bool,
    pub amount: i8,
    pub after: Account,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub time: u8,
    pub bookings: [Booking; BOOKINGS_MAX],
    pub claims: [Option<Claim>; SEATS_MAX],
    pub accounts: [Account; PEOPLE],
    pub ledger: [Option<Entry>; ENTRIES_MAX],
    /// Idle ones come first, so that a transaction's place is not its name.
    pub jobs: [Job; JOBS_MAX],
    /// The promise that the last step broke. Nothing follows it.
    pub broken: Option<Promise>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Tick,
    Begin { request: Request, instance: u8 },
    Judge { job: usize },
    Commit { job: usize, heard: bool },
    Crash { job: usize },
    Sweep { booking: u8, instance: u8 },
}

impl Selling {
    pub fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Beyond GRACE, holds may be cut short; everything else stands.
    fn promises(&self, promise: Promise) -> bool {
        let agree = self.bounds.skew <= GRACE || !self.keeps(Rule::ClocksAgree);
        agree || !matches!(promise, Promise::Exclusive | Promise::Lasts)
    }

    fn clock(&self, state: &State, instance: u8) -> u8 {
        state.time + instance * self.bounds.skew
    }

    fn grace(&self, rule: Rule) -> u8 {
        if self.keeps(rule) { GRACE } else { 0 }
    }

    /// Everything that anybody might send.
    fn requests(&self, state: &State) -> Vec<Request> {
        let mut requests = Vec::new();
        for user in 0..self.bounds.people {
            for seats in 1..1 << self.bounds.seats {
                requests.extend([false, true].map(|has_key| Request::Hold {
                    user,
                    seats,
                    has_key,
                }));
            }
            if self.bounds.top_ups {
                requests.push(Request::TopUp { user });
            }
        }
        for (booking, _) in state.booked() {
            requests.extend([false, true].map(|has_key| Request::Pay { booking, has_key }));
            requests.push(Request::Cancel { booking });
        }
        requests
    }
}

impl Model for Selling {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let accounts = self.bounds.balance.map(|balance| Account { balance, version: 0 });
        vec![State { accounts, ..State::default() }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        if state.time < self.bounds.until {
            actions.push(Action::Tick);
        }
        let instances = if self.bounds.skew == 0 { 0..1 } else { 0..2 };
        for instance in instances {
            if self.free(state).is_some() {
                let requests = self.requests(state).into_iter();
                actions.extend(requests.map(|request| Action::Begin { request, instance }));
            }
            let sweep = |(booking, _)| Action::Sweep { booking, instance };
            actions.extend(state.booked().map(sweep));
        }
        for (job, at) in state.jobs.iter().enumerate() {
            match at {
                Job::Idle => continue,
                Job::Asked { .. } => actions.push(Action::Judge { job }),
                Job::Judged { .. } | Job::Debited { .. } => {
                    actions.extend([true, false].map(|heard| Action::Commit { job, heard }));
                }
            }
            actions.push(Action::Crash { job });
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::Tick => state.time += 1,
            Action::Begin { request, instance } => self.begin(&mut state, request, instance)?,
            Action::Judge { job } => self.judge_late(&mut state, job)?,
            Action::Commit { job, heard } => self.commit(&mut state, job, heard)?,
            Action::Crash { job } => state.jobs[job] = Job::Idle,
            Action::Sweep { booking, instance } => self.sweep(&mut state, booking, instance)?,
        }
        // Which transaction is which makes no difference.
        state.jobs.sort_unstable();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
