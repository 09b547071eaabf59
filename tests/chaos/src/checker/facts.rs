//! A run, indexed once, so that each invariant is a pass and not a search.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Answer, Call, Fault, Op, Outcome, Record, Run};
use crate::rows::{Booking, Claim, Rows, Transfer, Turn};

/// How far two clocks of one machine may seem apart.
const EPSILON_MS: i64 = 50;
/// The age that what an instance remembers of a line may have.
pub const SNAPSHOT_MS: i64 = 1_000;

pub const EPOCH_SHIFT: u32 = 40;

pub struct Facts<'a> {
    pub run: &'a Run,
    pub rows: &'a Rows,
    /// By their beginning.
    pub ops: Vec<&'a Op>,
    /// By their beginning.
    pub faults: Vec<&'a Fault>,
    /// By person: requests that may have changed something.
    wishes: HashMap<i64, Vec<&'a Op>>,
    /// Those of the run's queue, by number.
    pub turns: BTreeMap<i64, &'a Turn>,
    /// Admitted ones of each person.
    pub turns_of: HashMap<i64, Vec<&'a Turn>>,
    pub bookings: HashMap<i64, &'a Booking>,
    pub claims: HashMap<i64, Vec<&'a Claim>>,
    pub transfers: HashMap<i64, Vec<&'a Transfer>>,
    pub prices: HashMap<(i64, &'a str), i64>,
}

impl<'a> Facts<'a> {
    pub fn new(history: &'a [Record], rows: &'a Rows) -> Result<Self, String> {
        let Some(Record::Run(run)) = history.first() else {
            return Err("a history begins with its run".to_owned());
        };
        let queue = rows.queues.iter().find(|queue| queue.name == run.queue);
        let queue = queue.ok_or_else(|| format!("no queue `{}` in the rows", run.queue))?;
        let mut facts = Self {
            run,
            rows,
            ops: history.iter().filter_map(op).collect(),
            faults: history.iter().filter_map(fault).collect(),
            wishes: HashMap::new(),
            turns: BTreeMap::new(),
            turns_of: HashMap::new(),
            bookings: rows.bookings.iter().map(|booking| (booking.id, booking)).collect(),
            claims: HashMap::new(),
            transfers: HashMap::new(),
            prices: HashMap::new(),
        };
        facts.faults.sort_by_key(|fault| fault.begun_us);
        facts.ops.sort_by_key(|op| (op.begun_us, op.id));
        // Who names another has asked for nothing, whatever comes of it.
        let wishes =
            |op: &&&Op| op.may_have_happened() && op.call.is_a_wish() && op.on_behalf_of.is_none();
        for op in facts.ops.iter().filter(wishes) {
            facts.wishes.entry(op.user).or_default().push(op);
        }
        for turn in rows.turns.iter().filter(|turn| turn.queue_id == queue.id) {
            facts.turns.insert(turn.seq, turn);
            if turn.admitted_at.is_some() {
                facts.turns_of.entry(turn.user_id).or_default().push(turn);
            }
        }
        for claim in &rows.claims {
            facts.claims.entry(claim.booking_id).or_default().push(claim);
        }
        for transfer in &rows.transfers {
            facts.transfers.entry(transfer.user_id).or_default().push(transfer);
        }
        for chain in facts.transfers.values_mut() {
            chain.sort_by_key(|transfer| transfer.version);
        }
        let prices =
            rows.seats.iter().map(|seat| ((seat.concert_id, seat.seat_id.as_str()), seat.price));
        facts.prices.extend(prices);
        Ok(facts)
    }

    /// The wall clock at an instant of the history.
    pub fn ms(&self, us: i64) -> i64 {
        self.run.began_at_ms + us.div_euclid(1_000)
    }

    /// How far an instant of a row may be from one of the history, or of another instance.
    pub fn epsilon_ms(&self) -> i64 {
        EPSILON_MS + self.run.skew_ms
    }

    /// The admitted turns, in the order of admission.
    pub fn admitted(&self) -> Vec<(i64, &'a Turn)> {
        let admitted = |turn: &&'a Turn| turn.admitted_at.map(|at| (at, *turn));
        let mut turns: Vec<_> = self.turns.values().filter_map(admitted).collect();
        turns.sort_by_key(|(at, turn)| (*at, turn.seq));
        turns
    }

    /// Requests that went well, with what they were told.
    pub fn answers(&self) -> impl Iterator<Item = (&'a Op, &'a Answer)> {
        self.ops.iter().filter_map(|op| op.answer().map(|answer| (*op, answer)))
    }

    /// What somebody asked for and was not refused, by its beginning.
    pub fn wishes(&self, user: i64) -> impl Iterator<Item = &'a Op> {
        self.wishes.get(&user).into_iter().flatten().copied()
    }

    /// The booking that a request is about, if it is his who asks.
    pub fn own_booking(&self, op: &Op) -> Option<&'a Booking> {
        let booking = self.bookings.get(&op.call.booking()?).copied();
        booking.filter(|row| row.user_id == op.user)
    }

    /// Whether a number is over for its owner by an instant: its row is closed, or a later turn has outlived it.
    pub fn is_finished(&self, user: i64, number: i64, ms: i64) -> bool {
        let closed = |turn: &&Turn| turn.ended_at.is_some_and(|ended| ended <= ms);
        let outlived = |turn: &&Turn| {
            turn.seq != number
                && turn.issued >= number
                && turn.admitted_at.is_some_and(|at| at <= ms)
        };
        self.turns.get(&number).is_some_and(closed)
            || self.turns_of.get(&user).is_some_and(|turns| turns.iter().any(outlived))
    }

    /// When each number may first have been given back by its owner.
    pub fn left(&self) -> HashMap<i64, i64> {
        let mut left = HashMap::new();
        for op in self.ops.iter().filter(|op| op.may_have_happened() && !op.adversary) {
            if let Call::Leave { number } = op.call {
                left.entry(number).or_insert(op.begun_us);
            }
        }
        left
    }
}

impl Op {
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Ok { answer, .. } => Some(answer),
            _ => None,
        }
    }

    /// It is done, or nobody knows.
    pub fn may_have_happened(&self) -> bool {
        !matches!(self.outcome, Outcome::Refused { .. })
    }

    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown { .. })
    }

    /// The code with which it was refused.
    pub fn refusal(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

impl Call {
    /// It asks for a change of seats, money or turns, and does not only look.
    fn is_a_wish(&self) -> bool {
        !matches!(self, Self::Join | Self::Poll { .. } | Self::Balance | Self::Booking { .. })
    }

    /// The booking that it is about.
    pub fn booking(&self) -> Option<i64> {
        match self {
            Self::Cancel { booking } | Self::Pay { booking, .. } | Self::Booking { booking } => {
                Some(*booking)
            }
            _ => None,
        }
    }
}

impl Answer {
    /// The number that a person in line, or at the counter, was shown.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Waiting { number, .. } | Self::Active { number, .. } => Some(*number),
            _ => None,
        }
    }
}

/// The generation of Redis in which a number was issued.
pub fn epoch(number: i64) -> i64 {
    number >> EPOCH_SHIFT
}

fn op(record: &Record) -> Option<&Op> {
    match record {
        Record::Op(op) => Some(op),
        _ => None,
    }
}

fn fault(record: &Record) -> Option<&Fault> {
    match record {
        Record::Fault(fault) => Some(fault),
        _ => None,
    }
}
