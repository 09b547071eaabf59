//! What people and the adversary do, and how their requests are answered.

use super::ledger::Fate;
use super::line::Standing;
use super::{Action, Admission, Instance, Job, Mail, Number, Places, Promise, Rule, State};

impl Admission {
    pub(super) fn people_may(&self, state: &State, actions: &mut Vec<Action>) {
        for user in 0..self.bounds.people {
            let person = &state.people[user];
            for (instance, &Instance { epoch, .. }) in state.running() {
                // The first to come is the first person: names make no difference.
                let is_next = user == 0 || state.people[user - 1].given != 0;
                for server in self.reachable(state, epoch) {
                    let redis = &state.servers[server];
                    let has_room = redis.arrivals < self.bounds.arrivals;
                    if is_next && redis.generation == epoch && has_room {
                        actions.push(Action::Join { user, instance, server });
                    }
                    let given = Number::all().filter(|number| person.given & number.bit() != 0);
                    actions.extend(given.map(|number| Action::Poll {
                        user,
                        number,
                        instance,
                        server,
                    }));
                }
                if person.token.is_some() {
                    actions.push(Action::Leave { user, instance });
                }
                if state.sql.open_of(user).is_some() {
                    actions.push(Action::Pay { user, instance });
                }
            }
            let is_counted = !self.keeps(Rule::Rearm) || !self.keeps(Rule::PauseFromPublish);
            if state.awaited & (1 << user) != 0 && is_counted {
                actions.push(Action::Refuse { user });
            }
        }
        for mail in (0..state.mail.len()).filter(|mail| state.mail[*mail] != Mail::None) {
            let epoch = match state.mail[mail] {
                Mail::Enter { epoch, .. } | Mail::Leave { epoch, .. } => epoch,
                Mail::Close { .. } | Mail::None => state.sql.epoch,
            };
            let servers = self.reachable(state, epoch);
            actions.extend(servers.map(|server| Action::Deliver { mail, server }));
            actions.push(Action::Lose { mail });
        }
    }

    pub(super) fn fate(&self, state: &State, user: usize, number: Number) -> Fate {
        state.sql.fate(user, number, self.keeps(Rule::Issued))
    }

    pub(super) fn join(&self, state: &mut State, user: usize, instance: usize, server: usize) {
        let epoch = state.instances[instance].epoch;
        let (number, is_new) = state.servers[server].join(epoch, user);
        let was_given = state.people.iter().any(|person| person.given & number.bit() != 0);
        if is_new && was_given {
            state.broken = Some(Promise::NumberOnce);
        }
        let person = &mut state.people[user];
        person.given |= number.bit();
        person.confirmed = epoch;
        state.keep(user, number);
        // Told by an instance that does not know the new epoch: he comes back within the pause.
        state.await_back(user, epoch < state.sql.epoch);
    }

    /// A poll with any number ever given to this person. Only its owner's own last token is learned from.
    pub(super) fn poll(
        &self,
        state: &mut State,
        (user, number): (usize, Number),
        instance: usize,
        server: usize,
    ) -> Option<()> {
        let epoch = state.instances[instance].epoch;
        let is_own = state.people[user].token == number;
        let confirmed = if is_own { state.people[user].confirmed } else { number.epoch() };
        let redis = &state.servers[server];
        let is_known = redis.generation == epoch;
        let is_in_line = number > redis.serving || redis.place(user, number) == Standing::Waiting;
        if is_known && confirmed == epoch && is_in_line {
            self.confirm(state, user, number, epoch);
            return Some(());
        }
        let fate = self.fate(state, user, number);
        if fate == Fate::Dead && is_own {
            // 410: its owner knows that it is over.
            state.people[user].token = Number::NONE;
            state.await_back(user, false);
            return Some(());
        }
        let is_entered = fate == Fate::Unknown || !self.keeps(Rule::SqlBeforeEnter);
        // Where Redis cannot be asked, a waiting place is told without being confirmed.
        let mail = Mail::Enter { epoch, user: user as u8, number, ghost: Number::NONE };
        if is_known && is_entered { self.send(state, mail) } else { None }
    }

    /// Redis has him: his token says so from now on, if this is the one he keeps.
    fn confirm(&self, state: &mut State, user: usize, number: Number, epoch: u8) {
        if state.people[user].token == number {
            state.people[user].confirmed = epoch;
            self.hear(state, user, epoch);
        }
    }

    /// He has been back; if it was to an instance that does not know the new epoch yet, he comes again in the pause.
    fn hear(&self, state: &mut State, user: usize, epoch: u8) {
        if epoch == state.sql.epoch || !self.keeps(Rule::PauseOutlastsIgnorance) {
            state.await_back(user, false);
        }
    }

    pub(super) fn send(&self, state: &mut State, mail: Mail) -> Option<()> {
        let free = state.mail[..self.bounds.mail].iter().position(|place| *place == Mail::None)?;
        if state.mail.contains(&mail) {
            return None;
        }
        state.mail[free] = mail;
        Some(())
    }

    pub(super) fn deliver(&self, state: &mut State, mail: usize, server: usize) -> Option<()> {
        let mail = std::mem::take(&mut state.mail[mail]);
        let redis = &mut state.servers[server];
        match mail {
            Mail::Enter { epoch, user, number, ghost } if redis.generation == epoch => {
                self.enter(state, (user.into(), number), (epoch, ghost), server)?;
            }
            Mail::Leave { epoch, user, number } if redis.generation == epoch => {
                self.take_out(state, user.into(), number, server);
            }
            Mail::Close { user: _, number } => state.sql.close(number),
            Mail::Enter { .. } | Mail::Leave { .. } | Mail::None => {}
        }
        Some(())
    }

    /// Gives a place back. Whoever is in line with a lower number of his keeps that, unless it is a ghost.
    fn enter(
        &self,
        state: &mut State,
        (user, number): (usize, Number),
        (epoch, ghost): (u8, Number),
        server: usize,
    ) -> Option<()> {
        let is_late = self.fate(state, user, number) == Fate::Dead;
        if is_late && self.keeps(Rule::EnterInTime) && self.keeps(Rule::SqlBeforeEnter) {
            return Some(());
        }
        match state.servers[server].enter(user, number, ghost) {
            Standing::Waiting => self.confirm(state, user, number, epoch),
            Standing::Other(ghost)
                if self.keeps(Rule::GhostsGiveWay)
                    && self.fate(state, user, ghost) == Fate::Dead =>
            {
                self.send(state, Mail::Enter { epoch, user: user as u8, number, ghost })?;
            }
            Standing::Other(other) => {
                // From now on his token says the number that he is in line with.
                if state.people[user].token == number {
                    state.keep(user, other);
                    self.confirm(state, user, other, epoch);
                }
            }
            Standing::Active | Standing::Pending | Standing::Absent => {}
        }
        Some(())
    }

    fn take_out(&self, state: &mut State, user: usize, number: Number, server: usize) {
        let redis = &mut state.servers[server];
        if self.keeps(Rule::LeaveByNumber) {
            redis.leave(user, number);
        } else {
            for number in [redis.wait[user], redis.pend[user], redis.turns[user]] {
                redis.leave(user, number);
            }
        }
    }

    /// DELETE /queue, and a payment: SQL first, then a word to Redis that may be lost.
    pub(super) fn leave(
        &self,
        state: &mut State,
        (user, number): (usize, Number),
        instance: usize,
        is_paid: bool,
    ) -> Option<()> {
        let epoch = state.instances[instance].epoch;
        if self.keeps(Rule::SqlFirst) {
            if !is_paid {
                state.sql.void(user, number);
            }
            if !is_paid || self.keeps(Rule::PayEnds) {
                state.sql.close(number);
            }
            // A full post bag is a lost word.
            let _ = self.send(state, Mail::Leave { epoch, user: user as u8, number });
        } else {
            self.send(state, Mail::Close { user: user as u8, number })?;
            for server in self.reachable(state, epoch).collect::<Vec<_>>() {
                if state.servers[server].generation == epoch {
                    self.take_out(state, user, number, server);
                }
            }
        }
        if state.people[user].token == number {
            state.people[user].token = Number::NONE;
            state.await_back(user, false);
        }
        Some(())
    }
}

impl State {
    pub(super) fn await_back(&mut self, user: usize, is_awaited: bool) {
        self.awaited = self.awaited & !(1 << user) | (u8::from(is_awaited) << user);
    }

    /// From now on this is the token he polls with.
    fn keep(&mut self, user: usize, number: Number) {
        let is_out = |batch: &Places| batch.iter().any(|other| *other > number);
        let is_reserved = |instance: &Instance| match instance.job {
            Job::Reserved { batch, .. } => is_out(&batch),
            _ => false,
        };
        let person = &mut self.people[user];
        if person.token != number {
            person.token = number;
            person.is_late = self.servers.iter().any(|server| is_out(&server.pend))
                || self.instances.iter().any(is_reserved);
        }
    }
}
