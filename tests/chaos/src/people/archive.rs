//! What people had in their hands: tokens that are over, tokens of those who wait, bookings. The adversary reads in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::Unserved;
use super::shop::Token;

/// So many of the newest are remembered, and as many of all that came before.
const KEPT: usize = 3_000;

type Owned = (i64, Token);

pub struct Archive {
    inner: Mutex<Inner>,
    /// A turn that nobody has ended is over so long after its owner was last seen.
    turn_max: Duration,
}

struct Inner {
    /// Over at their instant at the latest.
    ending: VecDeque<(Instant, Owned)>,
    newest: VecDeque<Owned>,
    /// Of the older ones each is in it with the same chance: a reservoir.
    sample: Vec<Owned>,
    older: usize,
    dice: StdRng,
    /// Of people who are here again, with a newer number.
    superseded: BTreeMap<i64, Token>,
    waiting: BTreeMap<i64, Token>,
    bookings: Vec<(i64, i64)>,
    users: Vec<i64>,
}

impl Archive {
    pub fn new(turn_max: Duration, seed: u64) -> Self {
        let inner = Inner {
            ending: VecDeque::new(),
            newest: VecDeque::new(),
            sample: Vec::new(),
            older: 0,
            dice: StdRng::seed_from_u64(seed),
            superseded: BTreeMap::new(),
            waiting: BTreeMap::new(),
            bookings: Vec::new(),
            users: Vec::new(),
        };
        Self { inner: Mutex::new(inner), turn_max }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn waits(&self, user: i64, token: &Token) {
        self.inner().waiting.insert(user, token.clone());
    }

    /// He is waited for no longer: he has a turn, or went away.
    pub fn waits_no_more(&self, user: i64) {
        self.inner().waiting.remove(&user);
    }

    /// Left, or said to be over.
    pub fn is_over(&self, user: i64, token: &Token) {
        self.inner().remember((user, token.clone()));
    }

    /// Somebody went away from his turn, which ends by itself.
    pub fn will_be_over(&self, user: i64, token: &Token) {
        self.inner().ending.push_back((Instant::now() + self.turn_max, (user, token.clone())));
    }

    pub fn is_superseded(&self, user: i64, token: Token) {
        self.inner().superseded.insert(user, token);
    }

    /// His newer number is over as well.
    pub fn is_gone(&self, user: i64) {
        self.inner().superseded.remove(&user);
    }

    pub fn booked(&self, user: i64, booking: i64) {
        let mut inner = self.inner();
        inner.bookings.push((user, booking));
        inner.users.push(user);
    }

    pub fn over(&self) -> Vec<Owned> {
        let mut inner = self.inner();
        inner.settle();
        inner.newest.iter().chain(&inner.sample).cloned().collect()
    }

    /// One of those that are over, by a number that may be any.
    pub fn one_over(&self, at: u64) -> Option<Owned> {
        let mut inner = self.inner();
        inner.settle();
        let all = inner.newest.len() + inner.sample.len();
        inner.newest.iter().chain(&inner.sample).nth(nth(at, all)?).cloned()
    }

    pub fn one_superseded(&self, at: u64) -> Option<Owned> {
        one_of(&self.inner().superseded, at)
    }

    pub fn one_waiting(&self, at: u64) -> Option<Owned> {
        one_of(&self.inner().waiting, at)
    }

    pub fn one_booking(&self, at: u64) -> Option<(i64, i64)> {
        let inner = self.inner();
        inner.bookings.get(nth(at, inner.bookings.len())?).copied()
    }

    /// One of the latest who had something to pay for.
    pub fn one_user(&self, at: u64) -> Option<i64> {
        let inner = self.inner();
        let latest = &inner.users[inner.users.len().saturating_sub(40)..];
        latest.get(nth(at, latest.len())?).copied()
    }

    pub fn waiting(&self) -> Vec<Unserved> {
        let inner = self.inner();
        let unserved =
            |(user, token): (&i64, &Token)| Unserved { user: *user, number: token.number };
        inner.waiting.iter().map(unserved).collect()
    }
}

impl Inner {
    /// Remembers what has come to its end by itself.
    fn settle(&mut self) {
        let now = Instant::now();
        while let Some((_, owned)) = self.ending.pop_front_if(|(at, _)| *at <= now) {
            self.remember(owned);
        }
    }

    fn remember(&mut self, owned: Owned) {
        self.newest.push_back(owned);
        let Some(older) = (self.newest.len() > KEPT).then(|| self.newest.pop_front()).flatten()
        else {
            return;
        };
        self.older += 1;
        if self.sample.len() < KEPT {
            self.sample.push(older);
        } else if let Some(kept) = self.sample.get_mut(self.dice.random_range(0..self.older)) {
            *kept = older;
        }
    }
}

fn one_of(tokens: &BTreeMap<i64, Token>, at: u64) -> Option<Owned> {
    let (user, token) = tokens.iter().nth(nth(at, tokens.len())?)?;
    Some((*user, token.clone()))
}

/// A place among so many, by a number that may be any.
fn nth(at: u64, among: usize) -> Option<usize> {
    usize::try_from(at.checked_rem(among as u64)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: i64) -> Token {
        Token { text: String::new(), number }
    }

    #[test]
    fn of_a_long_run_the_newest_are_kept_and_some_of_every_hour() {
        let archive = Archive::new(Duration::ZERO, 1);
        let all = 20 * KEPT as i64;
        for number in 0..all {
            archive.is_over(number, &token(number));
        }
        let over = archive.over();
        assert_eq!(over.len(), 2 * KEPT);
        let newest = all - KEPT as i64;
        assert_eq!(over.iter().filter(|(_, token)| token.number >= newest).count(), KEPT);
        for hour in 0..19 {
            let of_hour = |(_, token): &&Owned| token.number / KEPT as i64 == hour;
            assert!(over.iter().filter(of_hour).count() > KEPT / 40, "hour {hour}");
        }
    }

    #[test]
    fn a_turn_that_ends_by_itself_is_not_over_before() {
        for (turn_max, over) in [(Duration::ZERO, Some((1, token(5)))), (Duration::MAX / 4, None)] {
            let archive = Archive::new(turn_max, 1);
            archive.will_be_over(1, &token(5));
            assert_eq!(archive.one_over(0), over);
        }
    }
}
