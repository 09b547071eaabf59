//! Model Q: admission with rebuild. People join, poll, leave and pay; two instances tick; Redis is emptied, restarted,
//! rolled back and forked; an adversary presents every number ever given, at any moment.
//!
//! What a step stands for in the code:
//!
//! | step | code |
//! | --- | --- |
//! | `Join` | `queue/joining.rs`, `lua/queue/join.lua` |
//! | `Poll`, `Deliver(Enter)` | `queue/{place,entering}.rs`, `lua/queue/{place,enter}.lua`, `Sql::fate` |
//! | `Leave`, `Pay`, `Deliver(Leave)` | `booking/sql`: leave; `payment/sql.rs`: the turn's end; `lua/queue/leave.lua` |
//! | `Reserve`, `Grant`, `Commit` | `queue/admission.rs`: `admit_reserve.lua`, `queue/sql/grant.rs` (T1 to T5), `admit_commit.lua` |
//! | `Bump`, `Begin`, `Read`, `Fill`, `Publish` | `queue/rebuild.rs`, `lua/queue/rebuild_{begin,fill,publish}.lua` |
//! | `Adopt` | an instance reads the queue's row |
//!
//! Time is not counted: a turn may be over at any look, a lease may have run out at any moment, credit is any number up
//! to the batch. What time promises is stated as it is used: the pause lasts until everybody who polls has been back and
//! every instance has read the queue's row, because each is told to come back, and reads, within it.

mod ledger;
mod line;
mod properties;
mod rules;
mod served;
mod steps;
mod talk;

use std::fmt;

use stateright::{Model, Property};

use ledger::Sql;
use line::{Places, Redis};
pub use rules::{Promise, Rule};
pub use served::Served;

pub const PEOPLE_MAX: usize = 3;
pub const EPOCHS_MAX: usize = 3;
/// Four places for each epoch: none, and up to three arrivals.
const NUMBERS: usize = 4 * (EPOCHS_MAX + 1);
const INSTANCES: usize = 2;
const MAIL_MAX: usize = 2;

/// `epoch << 2 | k`; zero is none.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(u8);

impl Number {
    pub const NONE: Self = Self(0);

    pub fn of(epoch: u8, arrival: u8) -> Self {
        Self(epoch * 4 + arrival)
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..NUMBERS as u8).map(Self)
    }

    pub fn epoch(self) -> u8 {
        self.0 / 4
    }

    pub fn is_some(self) -> bool {
        self.0 != 0
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    fn bit(self) -> u16 {
        1 << self.0
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch(), self.0 % 4)
    }
}

/// How much of the world is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub people: usize,
    pub cap: usize,
    pub batch: usize,
    /// Epochs that faults may bring about; one more is kept for the recovery from the last.
    pub epochs: u8,
    /// Arrivals of one epoch.
    pub arrivals: u8,
    pub faults: u8,
    /// Whether copies are made, servers restarted and replicas promoted; otherwise a server is only emptied.
    pub forks: bool,
    /// Instances that do anything.
    pub instances: usize,
    /// Requests to Redis that are on their way at once, for as long as they like.
    pub mail: usize,
}

impl Bounds {
    /// Two people, two instances, and any one fault.
    pub const WHOLE: Self = Self {
        people: 2,
        cap: 1,
        batch: 1,
        epochs: 2,
        arrivals: 1,
        faults: 1,
        forks: true,
        instances: 2,
        mail: 1,
    };
    /// One instance, and a Redis that is emptied; people come back, and come again.
    pub const ALONE: Self =
        Self { epochs: 1, arrivals: 2, forks: false, instances: 1, ..Self::WHOLE };
    /// Nothing is restarted; an epoch may be begun though nothing was wrong.
    pub const ONE_SERVER: Self = Self { forks: false, ..Self::WHOLE };
    /// No fault at all, so that everybody may come more than once.
    pub const CALM: Self = Self { arrivals: 3, faults: 0, forks: false, ..Self::WHOLE };
}

/// The model: the protocol, perhaps without one of its rules.
#[derive(Clone, Debug)]
pub struct Admission {
    pub bounds: Bounds,
    pub without: Option<Rule>,
}

/// What an instance is in the middle of. A tick keeps the epoch with which it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    #[default]
    Idle,
    Reserved {
        epoch: u8,
        batch: Places,
        looks: Places,
        issued: Number,
    },
    Granted {
        epoch: u8,
        opened: Places,
        dropped: Places,
        gone: Places,
    },
    Bumped {
        epoch: u8,
        server: u8,
    },
    Begun {
        epoch: u8,
        server: u8,
    },
    Read {
        epoch: u8,
        server: u8,
        turns: Places,
    },
    Filled {
        epoch: u8,
        server: u8,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// Of the queue's row as this instance read it last.
    pub epoch: u8,
    pub job: Job,
}

/// A request to Redis, or to SQL, that may arrive late or never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mail {
    #[default]
    None,
    /// `enter(probed = 1)`, after SQL said that it knows nothing of the number; a ghost in its place goes first.
    Enter {
        epoch: u8,
        user: u8,
        number: Number,
        ghost: Number,
    },
    Leave {
        epoch: u8,
        user: u8,
        number: Number,
    },
    /// Only where Redis is told before SQL.
    Close {
        user: u8,
        number: Number,
    },
}

/// Somebody who keeps polling with the token he was given last. All others he ever had are the adversary's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Person {
    pub token: Number,
    /// `g`: the epoch in which Redis last confirmed the place.
    pub confirmed: u8,
    /// He learned of his lower number when a batch with a higher one had been taken already.
    pub is_late: bool,
    /// Every number ever given to him, as bits.
    pub given: u16,
    /// Those that he had when one of his turns was opened.
    pub spent: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub sql: Sql,
    /// The second is a copy until it is promoted.
    pub servers: [Redis; 2],
    pub instances: [Instance; INSTANCES],
    pub people: [Person; PEOPLE_MAX],
    pub mail: [Mail; MAIL_MAX],
    /// Who has not been back since the last publish, as bits.
    pub awaited: u8,
    pub lineages: u8,
    pub faults: u8,
    pub has_copy: bool,
    /// The promise that the last step broke. Nothing follows it.
    pub broken: Option<Promise>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Join {
        user: usize,
        instance: usize,
        server: usize,
    },
    Poll {
        user: usize,
        number: Number,
        instance: usize,
        server: usize,
    },
    /// A poll that was answered 429 or 503, or without Redis: its owner comes back when he is told to.
    Refuse {
        user: usize,
    },
    Deliver {
        mail: usize,
        server: usize,
    },
    Lose {
        mail: usize,
    },
    Leave {
        user: usize,
        instance: usize,
    },
    Pay {
        user: usize,
        instance: usize,
    },
    Reserve {
        instance: usize,
        server: usize,
        most: usize,
        looks: bool,
    },
    Grant {
        instance: usize,
        over: bool,
    },
    Commit {
        instance: usize,
        server: usize,
    },
    Adopt {
        instance: usize,
    },
    Crash {
        instance: usize,
    },
    Bump {
        instance: usize,
        server: usize,
    },
    Begin {
        instance: usize,
    },
    Read {
        instance: usize,
    },
    Fill {
        instance: usize,
    },
    Publish {
        instance: usize,
    },
    Copy,
    Flush {
        server: usize,
    },
    Restart {
        server: usize,
        with: Kept,
    },
    Promote,
}

/// What a server has after its restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    All,
    Nothing,
    Copy,
}

impl Admission {
    /// The epoch of an instance that was never started.
    const NEVER: u8 = u8::MAX;

    pub fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}

impl Model for Admission {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State { lineages: 1, faults: self.bounds.faults, ..State::default() };
        state.sql.epoch = 1;
        state.sql.lineages[1] = 1;
        state.servers[0] = Redis { up: true, lineage: 1, generation: 1, ..Redis::default() };
        state.servers[0].serving = Number::of(1, 0);
        state.instances = [Instance { epoch: Self::NEVER, job: Job::Idle }; INSTANCES];
        state.instances[..self.bounds.instances].fill(Instance { epoch: 1, job: Job::Idle });
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_none() {
            self.people_may(state, actions);
            self.instances_may(state, actions);
            self.faults_may(state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        self.step(&mut state, action)?;
        // Which instance is which makes no difference, nor does the order of what is on its way.
        state.instances.sort_unstable();
        state.mail.sort_unstable();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
