//! What people had in their hands: tokens that are over, tokens of those who wait, bookings. The adversary reads in it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Unserved;
use super::shop::Token;

/// So many of the newest are remembered; older ones were presented often enough.
const KEPT: usize = 4_000;

#[derive(Default)]
pub struct Archive(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    over: Vec<(i64, Token)>,
    waiting: BTreeMap<i64, Token>,
    bookings: Vec<(i64, i64)>,
    users: Vec<i64>,
}

impl Archive {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn waits(&self, user: i64, token: &Token) {
        self.inner().waiting.insert(user, token.clone());
    }

    /// He is waited for no longer: he has a turn, or went away.
    pub fn waits_no_more(&self, user: i64) {
        self.inner().waiting.remove(&user);
    }

    pub fn is_over(&self, user: i64, token: &Token) {
        let mut inner = self.inner();
        inner.waiting.remove(&user);
        inner.over.push((user, token.clone()));
        if inner.over.len() > 2 * KEPT {
            inner.over.drain(..KEPT);
        }
    }

    pub fn booked(&self, user: i64, booking: i64) {
        let mut inner = self.inner();
        inner.bookings.push((user, booking));
        inner.users.push(user);
    }

    pub fn over(&self) -> Vec<(i64, Token)> {
        self.inner().over.clone()
    }

    /// One of those that are over, by a number that may be any.
    pub fn one_over(&self, at: u64) -> Option<(i64, Token)> {
        pick(&self.inner().over, at)
    }

    pub fn one_waiting(&self, at: u64) -> Option<(i64, Token)> {
        let inner = self.inner();
        let nth = usize::try_from(at % inner.waiting.len().max(1) as u64).ok()?;
        inner.waiting.iter().nth(nth).map(|(user, token)| (*user, token.clone()))
    }

    pub fn one_booking(&self, at: u64) -> Option<(i64, i64)> {
        pick(&self.inner().bookings, at)
    }

    /// One of the latest who had something to pay for.
    pub fn one_user(&self, at: u64) -> Option<i64> {
        let inner = self.inner();
        pick(&inner.users[inner.users.len().saturating_sub(40)..], at)
    }

    pub fn waiting(&self) -> Vec<Unserved> {
        let inner = self.inner();
        let unserved =
            |(user, token): (&i64, &Token)| Unserved { user: *user, number: token.number };
        inner.waiting.iter().map(unserved).collect()
    }
}

fn pick<T: Clone>(things: &[T], at: u64) -> Option<T> {
    let at = at % things.len().max(1) as u64;
    things.get(usize::try_from(at).ok()?).cloned()
}
