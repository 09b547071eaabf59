//! How a request is judged: the locks that it needs, what it sees under them, and what speaks against it. Nothing of a
//! booking, a seat or an account is written here.

use super::{Account, Booking, Entry, Job, Promise, Request, Rule, Selling, State, Status};

/// Rows, as bits.
#[derive(Clone, Copy, Default)]
struct Locks {
    bookings: u8,
    seats: u8,
    accounts: u8,
}

impl Locks {
    fn meet(self, other: Self) -> bool {
        (self.bookings & other.bookings)
            | (self.seats & other.seats)
            | (self.accounts & other.accounts)
            != 0
    }
}

impl Selling {
    pub(super) fn free(&self, state: &State) -> Option<usize> {
        let open = state.jobs.iter().filter(|job| **job != Job::Idle).count();
        if open == self.bounds.jobs {
            return None;
        }
        state.jobs.iter().position(|job| *job == Job::Idle)
    }

    pub(super) fn begin(&self, state: &mut State, request: Request, instance: u8) -> Option<()> {
        let (job, now) = (self.free(state)?, self.clock(state, instance));
        if !self.keeps(Rule::SqlGrants)
            && let Request::Hold { user, seats, has_key } = request
            && self.has_room(state)
        {
            // Its mark was lost, or never made: the next one is told the same.
            state.add(user, (seats, has_key), now);
            return Some(());
        }
        if !self.keeps(Rule::ClockAfterLocks) {
            state.jobs[job] = Job::Asked { request, instance, now };
            return Some(());
        }
        state.jobs[job] = self.judge(state, request, now)?;
        Some(())
    }

    pub(super) fn judge_late(&self, state: &mut State, job: usize) -> Option<()> {
        let Job::Asked { request, instance, now } = state.jobs[job] else { return None };
        state.jobs[job] = self.judge(state, request, now)?;
        if let (Job::Judged { .. }, Request::Pay { booking, .. }) = (state.jobs[job], request)
            && self.clock(state, instance) >= state.bookings[usize::from(booking)].until
        {
            state.broken = Some(Promise::InTime);
        }
        Some(())
    }

    /// Where the request stands then: judged, or done with and refused. `None`: it waits for a lock.
    fn judge(&self, state: &mut State, request: Request, now: u8) -> Option<Job> {
        let locks = self.locks(state, request);
        if state.jobs.iter().any(|job| self.locks_of(state, *job).meet(locks)) {
            return None;
        }
        let account = match request {
            Request::Hold { user, seats, has_key } => {
                let may = self.may_hold(state, user, (seats, has_key), now);
                (may && self.has_room(state)).then(Account::default)
            }
            Request::Pay { booking, has_key } => self.may_pay(state, booking, has_key, now),
            Request::Cancel { booking } => {
                let row = state.bookings[usize::from(booking)];
                (row.status == Status::Held && now < row.until).then(Account::default)
            }
            Request::TopUp { user } => {
                let added = |entry: &Entry| entry.user == user && entry.booking.is_none();
                let before = self.keeps(Rule::TopUpKey) && state.entries().any(added);
                (!before).then(|| state.accounts[usize::from(user)].plus(1))
            }
        };
        let judged = |account| Job::Judged { request, now, locked: locks.seats, account };
        Some(account.map_or(Job::Idle, judged))
    }

    /// `decide` in `hold.rs`. Who has made this hold before is told so.
    fn may_hold(&self, state: &mut State, user: u8, wish: (u8, bool), now: u8) -> bool {
        let (seats, has_key) = wish;
        if let Some(row) = state.by_key(user).filter(|_| has_key && self.keeps(Rule::HoldKey)) {
            let lasts = row.status == Status::Held && now < row.until;
            if row.seats == seats && (lasts || row.status == Status::Paid) {
                row.heard = true;
            }
            return false;
        }
        let same = |row: &&mut Booking| {
            row.user == user && row.seats == seats && row.status == Status::Held && now < row.until
        };
        if let Some(row) = state.bookings.iter_mut().find(same) {
            row.heard = true;
            return false;
        }
        State::seats(seats).all(|seat| self.may_take(state, seat, now))
    }

    /// Whether a seat is free, or its hold over for everybody.
    pub(super) fn may_take(&self, state: &State, seat: usize, now: u8) -> bool {
        let grace = self.grace(Rule::TakeOverGrace);
        let lapsed = |until: u8| until + grace <= now;
        state.claims[seat].is_none_or(|claim| claim.until.is_some_and(lapsed))
    }

    /// `decide` in `pay.rs`: the account afterwards.
    fn may_pay(&self, state: &mut State, booking: u8, has_key: bool, now: u8) -> Option<Account> {
        let row = state.bookings[usize::from(booking)];
        let paid_other = |entry: &Entry| {
            entry.user == row.user
                && entry.has_key
                && entry.booking.is_some_and(|paid| paid != booking)
        };
        if has_key && self.keeps(Rule::PayKey) && state.entries().any(paid_other) {
            return None;
        }
        if matches!(row.status, Status::Paid | Status::Cancelled) || now >= row.until {
            return None;
        }
        let is_complete = state.claimed(booking) == row.seats;
        let is_gone =
            row.status == Status::Expired || (self.keeps(Rule::SeatsCounted) && !is_complete);
        if is_gone {
            if self.promises(Promise::Lasts) {
                state.broken = Some(Promise::Lasts);
            }
            return None;
        }
        let account = state.accounts[usize::from(row.user)].plus(-row.price());
        (account.balance >= 0 || !self.keeps(Rule::BalanceGuard)).then_some(account)
    }

    /// Marks a hold as expired, unless somebody is at work on it.
    pub(super) fn sweep(&self, state: &mut State, booking: u8, instance: u8) -> Option<()> {
        let locks = Locks { bookings: 1 << booking, ..Locks::default() };
        let now = self.clock(state, instance);
        let is_locked = state.jobs.iter().any(|job| self.locks_of(state, *job).meet(locks));
        let row = &mut state.bookings[usize::from(booking)];
        let lapsed = row.until + self.grace(Rule::SweepGrace) <= now;
        if is_locked || row.status != Status::Held || !lapsed {
            return None;
        }
        row.status = Status::Expired;
        Some(())
    }

    /// Whether these seats' rows can be written by a transaction whose own locks do not count.
    pub(super) fn can_write(&self, state: &State, job: usize, seats: u8) -> bool {
        let locks = Locks { seats, ..Locks::default() };
        let mut others = state.jobs.iter().enumerate().filter(|(other, _)| *other != job);
        !others.any(|(_, other)| self.locks_of(state, *other).meet(locks))
    }

    /// What a transaction has locked.
    fn locks_of(&self, state: &State, job: Job) -> Locks {
        match job {
            Job::Judged { request, locked, .. } => {
                Locks { seats: locked, ..self.locks(state, request) }
            }
            Job::Idle | Job::Asked { .. } | Job::Debited { .. } => Locks::default(),
        }
    }

    /// What a request locks before it is judged.
    fn locks(&self, state: &State, request: Request) -> Locks {
        let account = |user: u8| if self.keeps(Rule::AccountLock) { 1 << user } else { 0 };
        let row = |booking: u8| if self.keeps(Rule::BookingLock) { 1 << booking } else { 0 };
        match request {
            Request::Hold { seats, .. } => {
                let exists = |seat: &usize| state.claims[*seat].is_some();
                let rows = State::seats(seats).filter(exists);
                Locks { seats: rows.fold(0, |rows, seat| rows | 1 << seat), ..Locks::default() }
            }
            Request::Pay { booking, .. } => Locks {
                bookings: row(booking),
                seats: if self.keeps(Rule::SeatLock) { state.claimed(booking) } else { 0 },
                accounts: account(state.bookings[usize::from(booking)].user),
            },
            Request::Cancel { booking } => Locks { bookings: row(booking), ..Locks::default() },
            Request::TopUp { user } => Locks { accounts: account(user), ..Locks::default() },
        }
    }
}
