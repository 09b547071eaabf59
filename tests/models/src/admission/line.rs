//! The line as Redis keeps it, one method for one script. Nothing here knows SQL.

use super::{Number, PEOPLE_MAX};

/// For each person his number, or none.
pub type Places = [Number; PEOPLE_MAX];

/// One Redis server's state of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Redis {
    /// Whether somebody can connect to it; a copy lies on a disk, or in a replica.
    pub up: bool,
    /// `run_id` and `master_replid`: another after each restart and each promotion.
    pub lineage: u8,
    pub generation: u8,
    pub staging: u8,
    pub arrivals: u8,
    /// `W`: the highest number ever taken into `pend`.
    pub serving: Number,
    pub wait: Places,
    pub pend: Places,
    /// `act` and `turns`.
    pub turns: Places,
}

/// What `place` and `enter` answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Active,
    Pending,
    Waiting,
    /// In line with another number.
    Other(Number),
    Absent,
}

impl Redis {
    /// `join.lua`: the number he has, or the next one.
    pub fn join(&mut self, epoch: u8, user: usize) -> (Number, bool) {
        for places in [&self.turns, &self.pend, &self.wait] {
            if places[user].is_some() {
                return (places[user], false);
            }
        }
        self.arrivals += 1;
        self.wait[user] = Number::of(epoch, self.arrivals);
        (self.wait[user], true)
    }

    /// `place.lua`: no writes.
    pub fn place(&self, user: usize, number: Number) -> Standing {
        if self.turns[user] == number {
            Standing::Active
        } else if self.pend[user] == number {
            Standing::Pending
        } else if self.wait[user] == number {
            Standing::Waiting
        } else {
            Standing::Absent
        }
    }

    /// `enter.lua`: the lower number of a person wins; a ghost that is named gives way.
    pub fn enter(&mut self, user: usize, number: Number, ghost: Number) -> Standing {
        if self.turns[user].is_some() {
            return Standing::Active;
        }
        if self.pend[user].is_some() {
            return if self.pend[user] == number {
                Standing::Waiting
            } else {
                Standing::Other(self.pend[user])
            };
        }
        let stored = self.wait[user];
        if stored.is_none() || number < stored || stored == ghost {
            self.wait[user] = number;
        }
        if self.wait[user] == number { Standing::Waiting } else { Standing::Other(stored) }
    }

    /// `leave.lua`.
    pub fn leave(&mut self, user: usize, number: Number) {
        for places in [&mut self.wait, &mut self.pend, &mut self.turns] {
            if places[user] == number {
                places[user] = Number::NONE;
            }
        }
    }

    /// `admit_reserve.lua`: the batch that is out, or the next one, in order.
    pub fn reserve(&mut self, most: usize, cap: usize, is_paused: bool) -> Places {
        if count(&self.pend) > 0 || is_paused {
            return self.pend;
        }
        for _ in 0..most.min(cap.saturating_sub(count(&self.turns))) {
            let waiting = (0..PEOPLE_MAX).filter(|user| self.wait[*user].is_some());
            let Some(first) = waiting.min_by_key(|user| self.wait[*user]) else { break };
            self.pend[first] = std::mem::take(&mut self.wait[first]);
            self.serving = self.serving.max(self.pend[first]);
        }
        self.pend
    }

    /// `rebuild_begin.lua`: empties all but who waits.
    pub fn begin(&mut self, epoch: u8, shuts: bool) -> bool {
        if self.generation >= epoch || self.staging > epoch {
            return false;
        }
        if shuts {
            self.generation = 0;
        }
        self.staging = epoch;
        (self.pend, self.turns) = <(Places, Places)>::default();
        true
    }

    /// `rebuild_fill.lua`, all chunks: the turns that SQL knew as open.
    pub fn fill(&mut self, epoch: u8, turns: Places) -> bool {
        if self.staging != epoch || self.generation == epoch {
            return false;
        }
        self.turns = turns;
        true
    }

    /// `rebuild_publish.lua`: from now on this is the line.
    pub fn publish(&mut self, epoch: u8, serving: Number) -> bool {
        if self.staging != epoch || self.generation == epoch {
            return false;
        }
        (self.generation, self.arrivals, self.serving) = (epoch, 0, serving);
        true
    }

    /// What FLUSHALL, or a disk that was lost, leaves.
    pub fn empty(&self) -> Self {
        Self { up: self.up, lineage: self.lineage, ..Self::default() }
    }

    pub fn knows(&self, user: usize, number: Number) -> bool {
        self.pend[user] == number || self.turns[user] == number
    }
}

pub fn count(places: &Places) -> usize {
    places.iter().filter(|number| number.is_some()).count()
}
