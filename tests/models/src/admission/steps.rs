//! What instances and machines do: ticks, rebuilds, crashes and losses, step by step.

use super::ledger::Turn;
use super::line::count;
use super::{
    Action, Admission, EPOCHS_MAX, Instance, Job, Kept, Number, PEOPLE_MAX, Places, Promise, Redis,
    Rule, State,
};

impl Admission {
    pub(super) fn step(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Join { user, instance, server } => self.join(state, user, instance, server),
            Action::Poll { user, number, instance, server } => {
                self.poll(state, (user, number), instance, server)?;
            }
            Action::Refuse { user } => state.await_back(user, false),
            Action::Deliver { mail, server } => self.deliver(state, mail, server)?,
            Action::Lose { mail } => state.mail[mail] = super::Mail::None,
            Action::Leave { user, instance } => {
                let number = state.people[user].token;
                self.leave(state, (user, number), instance, false)?;
            }
            Action::Pay { user, instance } => {
                let number = state.sql.open_of(user)?;
                self.leave(state, (user, number), instance, true)?;
            }
            Action::Reserve { instance, server, most, looks } => {
                self.reserve(state, instance, server, (most, looks))?;
            }
            Action::Grant { instance, over } => self.grant(state, instance, over)?,
            Action::Commit { instance, server } => self.commit(state, instance, server)?,
            Action::Adopt { instance } => state.instances[instance].epoch = state.sql.epoch,
            Action::Crash { instance } => {
                state.instances[instance] = Instance { epoch: state.sql.epoch, job: Job::Idle };
            }
            Action::Bump { instance, server } => self.bump(state, instance, server),
            Action::Begin { instance }
            | Action::Read { instance }
            | Action::Fill { instance }
            | Action::Publish { instance } => {
                self.rebuild(state, instance)?;
            }
            Action::Copy => {
                (state.servers[1], state.has_copy) = (state.servers[0], true);
                state.servers[1].up = false;
            }
            Action::Flush { .. } | Action::Restart { .. } | Action::Promote => {
                self.lose(state, action);
            }
        }
        Some(())
    }

    /// The servers to which an instance of this epoch speaks.
    pub(super) fn reachable(
        &self,
        state: &State,
        epoch: u8,
    ) -> impl Iterator<Item = usize> + use<> {
        let (servers, lineage) = (state.servers, state.sql.lineages[usize::from(epoch)]);
        let any = !self.keeps(Rule::Lineage);
        (0..2).filter(move |server| {
            servers[*server].up && (any || servers[*server].lineage == lineage)
        })
    }

    pub(super) fn instances_may(&self, state: &State, actions: &mut Vec<Action>) {
        for (instance, Instance { epoch, job }) in state.running() {
            if *epoch != state.sql.epoch {
                actions.push(Action::Adopt { instance });
            }
            if *job != Job::Idle {
                actions.push(Action::Crash { instance });
            }
            match job {
                Job::Idle => {
                    for server in self.reachable(state, *epoch) {
                        for most in 1..=self.bounds.batch {
                            let step = |looks| Action::Reserve { instance, server, most, looks };
                            actions.extend([step(false), step(true)]);
                        }
                    }
                    let servers = (0..2).filter(|server| state.servers[*server].up);
                    let servers = servers.filter(|server| self.may_bump(state, *epoch, *server));
                    actions.extend(servers.map(|server| Action::Bump { instance, server }));
                }
                Job::Reserved { looks, .. } => {
                    actions.push(Action::Grant { instance, over: false });
                    if count(looks) > 0 {
                        actions.push(Action::Grant { instance, over: true });
                    }
                }
                Job::Granted { epoch, .. } => {
                    let servers = self.reachable(state, *epoch);
                    actions.extend(servers.map(|server| Action::Commit { instance, server }));
                }
                Job::Bumped { .. } => actions.push(Action::Begin { instance }),
                Job::Begun { .. } => actions.push(Action::Read { instance }),
                Job::Read { .. } => actions.push(Action::Fill { instance }),
                Job::Filled { .. } => actions.push(Action::Publish { instance }),
            }
        }
    }

    /// Doubt; or, as one of the faults, a doubt that was mistaken or has gone stale. The last epoch is for doubt alone.
    fn may_bump(&self, state: &State, epoch: u8, server: usize) -> bool {
        let is_doubted = state.is_doubted(server, self.keeps(Rule::Lineage));
        let is_left = usize::from(state.sql.epoch) < EPOCHS_MAX
            && (is_doubted || state.sql.epoch < self.bounds.epochs);
        epoch == state.sql.epoch && is_left && (is_doubted || state.faults > 0)
    }

    fn bump(&self, state: &mut State, instance: usize, server: usize) {
        if !state.is_doubted(server, self.keeps(Rule::Lineage)) {
            state.faults -= 1;
        }
        state.sql.epoch += 1;
        let epoch = state.sql.epoch;
        state.sql.lineages[usize::from(epoch)] = state.servers[server].lineage;
        state.instances[instance] =
            Instance { epoch, job: Job::Bumped { epoch, server: server as u8 } };
        if !self.keeps(Rule::PauseFromPublish) {
            state.await_everybody();
        }
    }

    fn rebuild(&self, state: &mut State, instance: usize) -> Option<()> {
        let job = &mut state.instances[instance].job;
        match *job {
            Job::Bumped { epoch, server } => {
                *job = Job::Begun { epoch, server };
                let server = self.same_server(state, epoch, server)?;
                if !state.servers[server].begin(epoch, self.keeps(Rule::BeginShuts)) {
                    state.instances[instance].job = Job::Idle;
                }
            }
            Job::Begun { epoch, server } => {
                let turns =
                    if self.keeps(Rule::FillTurns) { state.sql.turns() } else { Places::default() };
                *job = Job::Read { epoch, server, turns };
            }
            Job::Read { epoch, server, turns } => {
                *job = Job::Filled { epoch, server };
                let server = self.same_server(state, epoch, server)?;
                if !state.servers[server].fill(epoch, turns) {
                    state.instances[instance].job = Job::Idle;
                }
            }
            Job::Filled { epoch, server } => {
                *job = Job::Idle;
                let server = self.same_server(state, epoch, server)?;
                let serving = state.sql.highest_admitted().max(Number::of(1, 0));
                let is_published = state.servers[server].publish(epoch, serving);
                if is_published && self.keeps(Rule::PauseFromPublish) {
                    state.await_everybody();
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// The server that a rebuild began with, unless it is another by now.
    fn same_server(&self, state: &State, epoch: u8, server: u8) -> Option<usize> {
        let server = usize::from(server);
        self.reachable(state, epoch).find(|other| *other == server)
    }

    fn is_paused(&self, state: &State, epoch: u8) -> bool {
        let is_ignorant = state.instances.iter().any(|instance| instance.epoch < epoch);
        self.keeps(Rule::Pause)
            && (state.awaited != 0 || is_ignorant && self.keeps(Rule::PauseOutlastsIgnorance))
    }

    fn reserve(
        &self,
        state: &mut State,
        instance: usize,
        server: usize,
        (most, looks): (usize, bool),
    ) -> Option<()> {
        let epoch = state.instances[instance].epoch;
        let is_paused = self.is_paused(state, epoch);
        let redis = &mut state.servers[server];
        if redis.generation != epoch {
            return None;
        }
        let looks = if looks { redis.turns } else { Places::default() };
        let batch = redis.reserve(most, self.bounds.cap, is_paused);
        if count(&batch) + count(&looks) == 0 {
            return None;
        }
        let issued = Number::of(epoch, redis.arrivals);
        state.instances[instance].job = Job::Reserved { epoch, batch, looks, issued };
        Some(())
    }

    /// The one transaction of a tick, T1 to T5.
    fn grant(&self, state: &mut State, instance: usize, over: bool) -> Option<()> {
        let Job::Reserved { epoch, batch, looks, issued } = state.instances[instance].job else {
            return None;
        };
        if state.sql.epoch != epoch && self.keeps(Rule::Fence) {
            state.instances[instance] = Instance { epoch: state.sql.epoch, job: Job::Idle };
            return Some(());
        }
        for number in looks.iter().filter(|number| over && number.is_some()) {
            state.sql.close(*number);
        }
        let mut in_order: Vec<usize> =
            (0..PEOPLE_MAX).filter(|user| batch[*user].is_some()).collect();
        in_order.sort_unstable_by_key(|user| batch[*user]);
        let (mut opened, mut dropped, mut gone) = <(Places, Places, Places)>::default();
        let mut fresh = Vec::new();
        for user in in_order {
            let number = batch[user];
            let is_dead = self.fate(state, user, number) == super::ledger::Fate::Dead;
            if !is_dead && state.sql.open_turn(user, number, issued) {
                fresh.push((user, number));
            } else if self.keeps(Rule::Void) {
                state.sql.void(user, number);
            }
            let row = state.sql.row(number);
            let is_his = row.turn == Turn::Open && usize::from(row.user) == user;
            let list = if is_his { &mut opened } else { &mut dropped };
            list[user] = number;
        }
        for (user, number) in looks.iter().enumerate().filter(|(_, number)| number.is_some()) {
            if state.sql.row(*number).turn != Turn::Open {
                gone[user] = *number;
            }
        }
        for (user, number) in fresh {
            state.broken = state.broken.or(self.judge_opening(state, user, number));
            state.people[user].spent |= state.people[user].given;
        }
        state.instances[instance].job = Job::Granted { epoch, opened, dropped, gone };
        Some(())
    }

    fn commit(&self, state: &mut State, instance: usize, server: usize) -> Option<()> {
        let Job::Granted { epoch, opened, dropped, gone } = state.instances[instance].job else {
            return None;
        };
        state.instances[instance].job = Job::Idle;
        let redis = &mut state.servers[server];
        if redis.generation != epoch {
            return Some(());
        }
        for user in 0..PEOPLE_MAX {
            if opened[user].is_some() && redis.pend[user] == opened[user] {
                redis.pend[user] = Number::NONE;
                redis.turns[user] = opened[user];
            }
            if dropped[user].is_some() && redis.pend[user] == dropped[user] {
                redis.pend[user] = Number::NONE;
                if state.sql.row(dropped[user]).turn == Turn::None {
                    state.broken = Some(Promise::Accounted);
                }
            }
            let is_equal = redis.turns[user] == gone[user] || !self.keeps(Rule::GoneByNumber);
            if gone[user].is_some() && is_equal {
                redis.turns[user] = Number::NONE;
            }
        }
        Some(())
    }

    pub(super) fn faults_may(&self, state: &State, actions: &mut Vec<Action>) {
        if state.faults == 0 {
            return;
        }
        for server in (0..2).filter(|server| state.servers[*server].up) {
            actions.push(Action::Flush { server });
        }
        if !self.bounds.forks {
            return;
        }
        if !state.has_copy && state.faults == self.bounds.faults {
            actions.push(Action::Copy);
        }
        for server in (0..2).filter(|server| state.servers[*server].up) {
            actions.push(Action::Restart { server, with: Kept::All });
            actions.push(Action::Restart { server, with: Kept::Nothing });
        }
        if state.has_copy && !state.servers[1].up {
            actions.push(Action::Restart { server: 0, with: Kept::Copy });
            actions.push(Action::Promote);
        }
    }

    /// A server is emptied, restarted or made of a copy. Only FLUSHALL leaves the lineage as it was.
    fn lose(&self, state: &mut State, action: Action) {
        state.faults -= 1;
        let server = match action {
            Action::Flush { server } | Action::Restart { server, .. } => server,
            _ => 1,
        };
        let found = state.servers[server];
        state.servers[server] = match action {
            Action::Flush { .. } | Action::Restart { with: Kept::Nothing, .. } => found.empty(),
            Action::Restart { with: Kept::Copy, .. } => Redis { up: true, ..state.servers[1] },
            Action::Promote => Redis { up: true, ..found },
            _ => found,
        };
        state.servers[server].lineage = found.lineage;
        if !matches!(action, Action::Flush { .. }) {
            state.lineages += 1;
            state.servers[server].lineage = state.lineages;
        }
    }
}

impl State {
    /// The instances that have been started.
    pub(super) fn running(&self) -> impl Iterator<Item = (usize, &Instance)> {
        let all = self.instances.iter().enumerate();
        all.filter(|(_, instance)| instance.epoch != Admission::NEVER)
    }

    pub(super) fn is_doubted(&self, server: usize, lineage_counts: bool) -> bool {
        let (redis, epoch) = (&self.servers[server], self.sql.epoch);
        let lineage = self.sql.lineages[usize::from(epoch)];
        redis.generation != epoch || lineage_counts && redis.lineage != lineage
    }

    fn await_everybody(&mut self) {
        for user in 0..PEOPLE_MAX {
            self.await_back(user, self.people[user].token.is_some());
        }
    }
}
