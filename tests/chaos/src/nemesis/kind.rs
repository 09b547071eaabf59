//! The faults by name: what each is done to, and how many of it the long run owes. How they are done is next door.

use crate::cluster::Database;
use crate::proxy::Refusal;

/// Faults of one machine come one after the other; those of different machines may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Machine {
    Server,
    Redis,
    Sql,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Kill,
    Crash,
    ServerStop,
    ClockStep,
    ClockJump,
    Rolling,
    Wipe,
    Empty,
    RedisKill,
    OldFile,
    RedisStop,
    RedisSays(Refusal),
    RedisDropsReply,
    RedisDuplicates,
    RedisStall,
    RedisCut,
    PostgresKill,
    PostgresStop,
    PostgresStall,
    CommitCut,
    CommitCutBefore,
    PostgresCut,
    DiskFull,
}

#[derive(Debug, PartialEq)]
pub struct Kind {
    pub name: &'static str,
    pub machine: Machine,
    pub deed: Deed,
    /// How many the table is to show; zero where nothing was promised.
    pub goal: u64,
    /// How often it is drawn among those of its machine.
    pub weight: u32,
}

pub const KINDS: &[Kind] = &[
    kind("kill", Machine::Server, Deed::Kill, 1_000, 6),
    kind("crash", Machine::Server, Deed::Crash, 1_000, 6),
    kind("server_stop", Machine::Server, Deed::ServerStop, 20, 1),
    kind("clock_step", Machine::Server, Deed::ClockStep, 20, 1),
    kind("clock_jump", Machine::Server, Deed::ClockJump, 20, 1),
    kind("rolling", Machine::Server, Deed::Rolling, 100, 2),
    kind("wipe", Machine::Redis, Deed::Wipe, 100, 3),
    kind("empty", Machine::Redis, Deed::Empty, 0, 1),
    kind("redis_kill", Machine::Redis, Deed::RedisKill, 300, 4),
    kind("old_file", Machine::Redis, Deed::OldFile, 0, 1),
    kind("redis_stop", Machine::Redis, Deed::RedisStop, 20, 1),
    kind("redis_readonly", Machine::Redis, Deed::RedisSays(Refusal::ReadOnly), 100, 2),
    kind("redis_busy", Machine::Redis, Deed::RedisSays(Refusal::Busy), 100, 2),
    kind("redis_oom", Machine::Redis, Deed::RedisSays(Refusal::Oom), 100, 2),
    kind("redis_noscript", Machine::Redis, Deed::RedisSays(Refusal::NoScript), 0, 1),
    kind("redis_loading", Machine::Redis, Deed::RedisSays(Refusal::Loading), 0, 1),
    kind("redis_drop_reply", Machine::Redis, Deed::RedisDropsReply, 0, 1),
    kind("redis_duplicate", Machine::Redis, Deed::RedisDuplicates, 0, 1),
    kind("redis_stall", Machine::Redis, Deed::RedisStall, 0, 1),
    kind("redis_cut", Machine::Redis, Deed::RedisCut, 0, 1),
    kind("postgres_kill", Machine::Sql, Deed::PostgresKill, 200, 3),
    kind("postgres_stop", Machine::Sql, Deed::PostgresStop, 20, 1),
    kind("postgres_stall", Machine::Sql, Deed::PostgresStall, 0, 1),
    kind("commit_cut", Machine::Sql, Deed::CommitCut, 100, 3),
    kind("commit_cut_before", Machine::Sql, Deed::CommitCutBefore, 0, 2),
    kind("postgres_cut", Machine::Sql, Deed::PostgresCut, 0, 1),
    kind("disk_full", Machine::Sql, Deed::DiskFull, 20, 1),
];

const fn kind(name: &'static str, machine: Machine, deed: Deed, goal: u64, weight: u32) -> Kind {
    Kind { name, machine, deed, goal, weight }
}

impl Deed {
    /// A process stands still, for as long as a minute.
    pub fn stops(self) -> bool {
        matches!(self, Self::ServerStop | Self::RedisStop | Self::PostgresStop)
    }
}

impl Kind {
    pub fn by_name(name: &str) -> Result<&'static Self, String> {
        let found = KINDS.iter().find(|kind| kind.name == name);
        found.ok_or_else(|| {
            let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
            format!("`{name}` is none of {}", names.join(", "))
        })
    }

    /// How far it puts a clock off.
    pub fn skew_ms(&self) -> i64 {
        match self.deed {
            // Half a second is what nobody may notice.
            Deed::ClockStep => 500,
            Deed::ClockJump => 60_000,
            _ => 0,
        }
    }

    /// Whether there is anything on such a cluster to do it to.
    pub fn fits(&self, database: Database) -> bool {
        match self.deed {
            Deed::DiskFull => true,
            Deed::Rolling => database == Database::Postgres,
            _ => self.machine != Machine::Sql || database == Database::Postgres,
        }
    }
}
