//! The rows of `queue` and `turn`, one method for one transaction. Nothing here knows Redis.

use super::line::Places;
use super::{EPOCHS_MAX, NUMBERS, Number};

/// What a row of `turn` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Turn {
    #[default]
    None,
    /// Closed before it was ever open: left, or void.
    Void,
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Row {
    pub turn: Turn,
    pub user: u8,
    /// The highest number handed out when it was opened.
    pub issued: Number,
}

/// The database: it loses nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sql {
    pub epoch: u8,
    /// The lineage under which each epoch was made; the row holds the last.
    pub lineages: [u8; EPOCHS_MAX + 1],
    pub rows: [Row; NUMBERS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Unknown,
    Open,
    Dead,
}

impl Sql {
    pub fn row(&self, number: Number) -> &Row {
        &self.rows[number.index()]
    }

    /// `Sql::fate`: no clock is compared, only rows.
    pub fn fate(&self, user: usize, number: Number, issued_counts: bool) -> Fate {
        match self.row(number).turn {
            Turn::Open => Fate::Open,
            Turn::Void | Turn::Closed => Fate::Dead,
            Turn::None if issued_counts && self.is_outlived(user, number) => Fate::Dead,
            Turn::None => Fate::Unknown,
        }
    }

    /// Whether its owner was admitted with another number when this one had been handed out.
    fn is_outlived(&self, user: usize, number: Number) -> bool {
        let mut admitted =
            self.rows.iter().filter(|row| row.was_opened() && usize::from(row.user) == user);
        admitted.any(|row| row.issued >= number)
    }

    pub fn open_of(&self, user: usize) -> Option<Number> {
        self.open().find(|number| usize::from(self.row(*number).user) == user)
    }

    pub fn open(&self) -> impl Iterator<Item = Number> {
        Number::all().filter(|number| self.row(*number).turn == Turn::Open)
    }

    /// The turns that a rebuild puts into `act`.
    pub fn turns(&self) -> Places {
        let mut turns = Places::default();
        for number in self.open() {
            turns[usize::from(self.row(number).user)] = number;
        }
        turns
    }

    pub fn highest_admitted(&self) -> Number {
        Number::all().filter(|number| self.row(*number).was_opened()).max().unwrap_or_default()
    }

    /// T3 for one number: whether its row was opened. The primary key and `one_open_turn_per_user` may refuse it.
    pub fn open_turn(&mut self, user: usize, number: Number, issued: Number) -> bool {
        if self.row(number).turn != Turn::None || self.open_of(user).is_some() {
            return false;
        }
        self.rows[number.index()] = Row { turn: Turn::Open, user: user as u8, issued };
        true
    }

    /// T4, and `leave` of somebody who still waits: a row, so that the number is over for ever.
    pub fn void(&mut self, user: usize, number: Number) {
        if self.row(number).turn == Turn::None {
            self.rows[number.index()] =
                Row { turn: Turn::Void, user: user as u8, issued: Number::NONE };
        }
    }

    pub fn close(&mut self, number: Number) {
        if self.row(number).turn == Turn::Open {
            self.rows[number.index()].turn = Turn::Closed;
        }
    }
}

impl Row {
    pub fn was_opened(&self) -> bool {
        matches!(self.turn, Turn::Open | Turn::Closed)
    }
}
