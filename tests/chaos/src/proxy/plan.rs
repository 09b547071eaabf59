//! What is being played: which trick meets which request, what is held up, and how often each took effect. Every draw is
//! made here; what a trick does to bytes is in `connection.rs`.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use super::{Aim, Direction, Often, Refusal, Trick};

/// A request as far as tricks look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Bytes of it.
    pub length: usize,
    /// What it can be aimed at by, in capitals.
    pub words: Vec<String>,
    /// The server answers it.
    pub is_answered: bool,
    /// The proxy answers it, whatever is played.
    pub answer: Option<&'static [u8]>,
}

/// What becomes of one request and its reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Pass,
    /// The connection is cut, and the server hears nothing.
    Unheard,
    /// The connection is cut when the server has answered; `if_committed`: only when it says that it has.
    Unanswered {
        if_committed: bool,
    },
    /// Answered, and cut: nothing behind it is forwarded.
    Last,
    Late(Duration),
    Twice {
        second: bool,
    },
    Forged(&'static [u8]),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Fate {
    pub trick: &'static str,
    pub act: Act,
}

impl Fate {
    pub const PASS: Fate = Fate { trick: "", act: Act::Pass };
}

pub struct Plan {
    stage: Mutex<Stage>,
    weather: watch::Sender<Weather>,
}

struct Stage {
    tricks: Vec<Trick>,
    rng: StdRng,
    played: BTreeMap<&'static str, u64>,
}

/// What holds for all connections alike.
#[derive(Default)]
struct Weather {
    cuts: u64,
    heals: u64,
    refuses: bool,
    /// The trick that holds up what goes this way.
    to_server: Option<&'static str>,
    to_client: Option<&'static str>,
}

impl Weather {
    fn holds_up(&mut self, direction: Direction) -> &mut Option<&'static str> {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }

    fn held_up(&self, direction: Direction) -> Option<&'static str> {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let stage = Stage { tricks: Vec::new(), rng, played: BTreeMap::new() };
        Self { stage: Mutex::new(stage), weather: watch::Sender::new(Weather::default()) }
    }

    pub fn begin(&self, trick: Trick) {
        let name = trick.name();
        self.weather.send_modify(|weather| match trick {
            Trick::Cut => weather.cuts += 1,
            Trick::Refuse => weather.refuses = true,
            Trick::Stall(direction) => *weather.holds_up(direction) = Some(name),
            Trick::BlackHole => {
                (weather.to_server, weather.to_client) = (Some(name), Some(name));
            }
            _ => {}
        });
        if trick.often().is_some() {
            self.stage().tricks.push(trick);
        }
    }

    pub fn heal(&self) {
        self.stage().tricks.clear();
        self.weather.send_modify(|weather| {
            let (cuts, heals) = (weather.cuts, weather.heals + 1);
            *weather = Weather { cuts, heals, ..Weather::default() };
        });
    }

    pub fn played(&self) -> BTreeMap<&'static str, u64> {
        self.stage().played.clone()
    }

    /// A trick took effect.
    pub fn count(&self, trick: &'static str) {
        *self.stage().played.entry(trick).or_default() += 1;
    }

    /// Whether a connection that was just made is to be closed.
    pub fn refuses(&self) -> bool {
        let refuses = self.weather.borrow().refuses;
        if refuses {
            self.count(Trick::Refuse.name());
        }
        refuses
    }

    /// The next cut from now on, for a connection that exists now.
    pub fn until_cut(self: &Arc<Self>) -> impl Future<Output = ()> + use<> {
        let (plan, mut weather) = (self.clone(), self.weather.subscribe());
        let cuts = weather.borrow().cuts;
        async move {
            // The plan lives in here, so its sender does, and waiting cannot fail.
            let _ = weather.wait_for(|now| now.cuts > cuts).await;
            plan.count(Trick::Cut.name());
        }
    }

    /// Waits until something may go this way.
    pub async fn pass(&self, direction: Direction) {
        let mut weather = self.weather.subscribe();
        let held_up = weather.borrow().held_up(direction);
        if let Some(trick) = held_up {
            self.count(trick);
            // The sender is ours, so waiting cannot fail.
            let _ = weather.wait_for(|now| now.held_up(direction).is_none()).await;
        }
    }

    /// Waits, but not beyond the heal.
    pub async fn linger(&self, delay: Duration) {
        let mut weather = self.weather.subscribe();
        let heals = weather.borrow().heals;
        let healed = weather.wait_for(|now| now.heals > heals);
        // Time that is up and a heal are alike: the reply goes on.
        let _ = tokio::time::timeout(delay, healed).await;
    }

    /// What becomes of a request; `more`: others came in behind it.
    pub fn fate(&self, request: &Request, more: bool) -> Fate {
        let mut stage = self.stage();
        let Stage { tricks, rng, .. } = &mut *stage;
        for trick in tricks.iter_mut().filter(|trick| trick.fits(request, more)) {
            if trick.is_due(rng) {
                return Fate { trick: trick.name(), act: trick.act(request, rng) };
            }
        }
        Fate::PASS
    }

    /// How much of a message of `length` bytes gets through before the cut, when there is one.
    pub fn tear(&self, length: usize) -> Option<usize> {
        let mut stage = self.stage();
        let Stage { tricks, rng, .. } = &mut *stage;
        let tears = |trick: &&mut Trick| matches!(trick, Trick::CutAnywhere(_));
        let trick = tricks.iter_mut().filter(tears).find_map(|trick| {
            trick.is_due(rng).then(|| (trick.name(), rng.random_range(0..length)))
        });
        let (name, length) = trick?;
        *stage.played.entry(name).or_default() += 1;
        Some(length)
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trick {
    /// The name that `played` counts it by.
    pub fn name(&self) -> &'static str {
        match self {
            Trick::DropReply(_) => "drop_reply",
            Trick::Delay(..) => "delay",
            Trick::Duplicate(_) => "duplicate",
            Trick::Answer(refusal, _) => refusal.name(),
            Trick::CutBetween(_) => "cut_between",
            Trick::CutAfterCommit(_) => "cut_after_commit",
            Trick::CutBeforeCommit(_) => "cut_before_commit",
            Trick::CutAnywhere(_) => "cut_anywhere",
            Trick::Stall(Direction::ToServer) => "stall_to_server",
            Trick::Stall(Direction::ToClient) => "stall_to_client",
            Trick::BlackHole => "black_hole",
            Trick::Cut => "cut",
            Trick::Refuse => "refuse",
        }
    }

    /// Nothing for a trick that is no matter of single requests.
    fn often(&self) -> Option<Often> {
        let mut trick = self.clone();
        trick.often_mut().copied()
    }

    fn often_mut(&mut self) -> Option<&mut Often> {
        match self {
            Trick::DropReply(aim)
            | Trick::Delay(_, aim)
            | Trick::Duplicate(aim)
            | Trick::Answer(_, aim) => Some(&mut aim.often),
            Trick::CutBetween(often)
            | Trick::CutAfterCommit(often)
            | Trick::CutBeforeCommit(often)
            | Trick::CutAnywhere(often) => Some(often),
            Trick::Stall(_) | Trick::BlackHole | Trick::Cut | Trick::Refuse => None,
        }
    }

    fn fits(&self, request: &Request, more: bool) -> bool {
        request.is_answered
            && match self {
                Trick::DropReply(aim)
                | Trick::Delay(_, aim)
                | Trick::Duplicate(aim)
                | Trick::Answer(_, aim) => aim.fits(request),
                Trick::CutBetween(_) => more,
                Trick::CutAfterCommit(_) | Trick::CutBeforeCommit(_) => request.says("COMMIT"),
                _ => false,
            }
    }

    fn is_due(&mut self, rng: &mut StdRng) -> bool {
        match self.often_mut() {
            Some(Often::Next(0)) | None => false,
            Some(Often::Next(left)) => {
                *left -= 1;
                true
            }
            Some(Often::Share(share)) => rng.random_bool(share.clamp(0.0, 1.0)),
        }
    }

    fn act(&self, request: &Request, rng: &mut StdRng) -> Act {
        match self {
            Trick::DropReply(_) => Act::Unanswered { if_committed: false },
            Trick::CutAfterCommit(_) => Act::Unanswered { if_committed: true },
            Trick::CutBeforeCommit(_) => Act::Unheard,
            Trick::CutBetween(_) => Act::Last,
            Trick::Delay(millis, _) => Act::Late(Duration::from_millis(*millis)),
            Trick::Duplicate(_) => Act::Twice { second: rng.random() },
            Trick::Answer(refusal, _) => Act::Forged(refusal.text(request.says("EVALSHA"))),
            _ => Act::Pass,
        }
    }
}

impl Aim {
    fn fits(&self, request: &Request) -> bool {
        self.word.as_ref().is_none_or(|word| request.says(word))
    }
}

impl Request {
    fn says(&self, word: &str) -> bool {
        self.words.iter().any(|said| said == word)
    }
}

impl Refusal {
    pub fn name(self) -> &'static str {
        match self {
            Refusal::ReadOnly => "readonly",
            Refusal::Busy => "busy",
            Refusal::Oom => "oom",
            Refusal::NoScript => "noscript",
            Refusal::Loading => "loading",
            Refusal::Misconf => "misconf",
            Refusal::MasterDown => "masterdown",
        }
    }

    /// The very words of Redis 7.0, which has others for scripts.
    fn text(self, to_script: bool) -> &'static [u8] {
        match (self, to_script) {
            (Refusal::ReadOnly, true) => {
                b"-READONLY Can not run script with write flag on readonly replica\r\n"
            }
            (Refusal::ReadOnly, false) => {
                b"-READONLY You can't write against a read only replica.\r\n"
            }
            (Refusal::Oom, true) => {
                b"-OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'\r\n"
            }
            (Refusal::Oom, false) => {
                b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
            }
            (Refusal::Misconf, true) => {
                b"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                Writable scripts are blocked. Use 'no-writes' flag for read only scripts.\r\n"
            }
            (Refusal::Misconf, false) => {
                b"-MISCONF Errors writing to the AOF file: No space left on device\r\n"
            }
            (Refusal::Busy, _) => {
                b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n"
            }
            (Refusal::NoScript, _) => b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
            (Refusal::Loading, _) => b"-LOADING Redis is loading the dataset in memory\r\n",
            (Refusal::MasterDown, _) => {
                b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n"
            }
        }
    }
}
