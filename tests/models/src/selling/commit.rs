//! What transactions write, and the rows that they read.

use super::{
    Account, Booking, Claim, Entry, HOLD, Job, Promise, Request, Rule, SEATS_MAX, Selling, State,
    Status,
};

impl Selling {
    /// All that a transaction writes. Unheard: the answer was lost, or the instance, or the word of the database.
    pub(super) fn commit(&self, state: &mut State, job: usize, heard: bool) -> Option<()> {
        let last = state.jobs[job];
        state.jobs[job] = Job::Idle;
        let happened = match last {
            Job::Judged { request, now, locked, account } => match request {
                Request::Hold { user, seats, has_key } => {
                    let written = seats & !locked;
                    if !self.can_write(state, job, written) {
                        return None;
                    }
                    self.hold(state, user, (seats, has_key), (now, heard))
                }
                Request::Pay { booking, has_key } => {
                    let others = state.claimed(booking) & !locked;
                    if !self.can_write(state, job, others) {
                        return None;
                    }
                    self.debit(state, (booking, has_key), account)?;
                    if self.keeps(Rule::OneCommit) {
                        state.sell(booking);
                    } else {
                        state.jobs[job] = Job::Debited { booking };
                    }
                    true
                }
                Request::Cancel { booking } => {
                    if !self.can_write(state, job, state.claimed(booking)) {
                        return None;
                    }
                    state.cancel(booking);
                    true
                }
                Request::TopUp { user } => {
                    let entry =
                        Entry { user, booking: None, has_key: true, amount: 1, after: account };
                    state.record(entry)?;
                    true
                }
            },
            Job::Debited { booking } => {
                state.sell(booking);
                true
            }
            Job::Idle | Job::Asked { .. } => return None,
        };
        if happened && !heard && !self.keeps(Rule::UnknownIsUnknown) {
            state.broken = Some(Promise::Definite);
        }
        Some(())
    }

    /// `make`: all of the seats or none, and nothing for a key that was used meanwhile.
    fn hold(
        &self,
        state: &mut State,
        user: u8,
        (seats, has_key): (u8, bool),
        (now, heard): (u8, bool),
    ) -> bool {
        let is_used = has_key && self.keeps(Rule::HoldKey) && state.by_key(user).is_some();
        let has_all = || State::seats(seats).all(|seat| self.may_take(state, seat, now));
        if is_used || (self.keeps(Rule::SeatKey) && !has_all()) {
            return false;
        }
        let added = self.has_room(state).then(|| state.add(user, (seats, has_key), now));
        let Some(booking) = added.flatten() else { return false };
        state.bookings[usize::from(booking)].heard = heard;
        for seat in State::seats(seats) {
            state.claims[seat] = Some(Claim { booking, until: Some(now + HOLD) });
        }
        true
    }

    fn debit(
        &self,
        state: &mut State,
        (booking, has_key): (u8, bool),
        after: Account,
    ) -> Option<()> {
        let row = state.bookings[usize::from(booking)];
        let (user, amount) = (row.user, -row.price());
        state.record(Entry { user, booking: Some(booking), has_key, amount, after })
    }

    /// Whether another booking can still be made within the bounds.
    pub(super) fn has_room(&self, state: &State) -> bool {
        state.booked().count() < self.bounds.bookings
    }
}

impl State {
    pub(super) fn seats(seats: u8) -> impl Iterator<Item = usize> {
        (0..SEATS_MAX).filter(move |seat| seats & 1 << seat != 0)
    }

    /// The bookings that there are.
    pub(super) fn booked(&self) -> impl Iterator<Item = (u8, Booking)> + use<> {
        (0..).zip(self.bookings).filter(|(_, row)| row.seats != 0)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.ledger.iter().flatten()
    }

    /// The seats whose rows name a booking.
    pub(super) fn claimed(&self, booking: u8) -> u8 {
        let names = |claim: &Option<Claim>| claim.is_some_and(|claim| claim.booking == booking);
        let seats = self.claims.iter().enumerate().filter(|(_, claim)| names(claim));
        seats.fold(0, |seats, (seat, _)| seats | 1 << seat)
    }

    /// The booking that a person's key has made.
    pub(super) fn by_key(&mut self, user: u8) -> Option<&mut Booking> {
        let mut rows = self.bookings.iter_mut();
        rows.find(|row| row.seats != 0 && row.user == user && row.has_key)
    }

    /// A new booking, of which its owner hears.
    pub(super) fn add(&mut self, user: u8, (seats, has_key): (u8, bool), now: u8) -> Option<u8> {
        let free = self.bookings.iter().position(|row| row.seats == 0)?;
        let until = now + HOLD;
        self.bookings[free] =
            Booking { user, seats, status: Status::Held, until, has_key, heard: true };
        u8::try_from(free).ok()
    }

    /// `record`: what the balance was when it was read decides what it is.
    fn record(&mut self, entry: Entry) -> Option<()> {
        let free = self.ledger.iter().position(Option::is_none)?;
        self.ledger[free] = Some(entry);
        self.accounts[usize::from(entry.user)] = entry.after;
        Some(())
    }

    fn sell(&mut self, booking: u8) {
        for seat in Self::seats(self.claimed(booking)) {
            self.claims[seat] = Some(Claim { booking, until: None });
        }
        self.bookings[usize::from(booking)].status = Status::Paid;
    }

    fn cancel(&mut self, booking: u8) {
        for seat in Self::seats(self.claimed(booking)) {
            self.claims[seat] = None;
        }
        self.bookings[usize::from(booking)].status = Status::Cancelled;
    }
}

impl Booking {
    pub(super) fn price(&self) -> i8 {
        self.seats.count_ones().try_into().unwrap_or(i8::MAX)
    }
}

impl Account {
    pub(super) fn plus(self, amount: i8) -> Self {
        Self { balance: self.balance + amount, version: self.version + 1 }
    }
}
