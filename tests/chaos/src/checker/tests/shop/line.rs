//! The shop's line: numbers in order of arrival, turns by a bucket of credit and under a cap.

use std::collections::BTreeMap;

use super::{QUEUE, Shop, ok, refused, unavailable};
use crate::history::{Answer, Outcome};
use crate::rows::Turn;

/// What is lost with Redis, but for what people show again.
pub struct Line {
    pub epoch: i64,
    arrivals: i64,
    rebuilt_at_ms: i64,
    waiting: BTreeMap<i64, Place>,
    /// Passed over, for they had been silent; they come first when they are back.
    parked: BTreeMap<i64, Place>,
    tokens: f64,
    owed: f64,
    last_ms: i64,
}

#[derive(Clone, Copy)]
struct Place {
    user: i64,
    seen_ms: i64,
}

impl Line {
    pub fn new(burst: f64) -> Self {
        Self {
            epoch: 1,
            arrivals: 0,
            rebuilt_at_ms: 0,
            waiting: BTreeMap::new(),
            parked: BTreeMap::new(),
            tokens: burst,
            owed: 0.0,
            last_ms: 0,
        }
    }

    pub fn begin(&mut self, epoch: i64, rebuilt_at_ms: i64) {
        self.epoch = epoch;
        self.arrivals = 0;
        self.rebuilt_at_ms = rebuilt_at_ms;
    }

    fn last_number(&self) -> i64 {
        (self.epoch << 40) + (1 << 39) + self.arrivals
    }

    fn number_of(&self, user: i64) -> Option<i64> {
        let mut places = self.waiting.iter().chain(&self.parked);
        places.find(|(_, place)| place.user == user).map(|(number, _)| *number)
    }

    /// How many are before a number, and itself; who was passed over and is back is in nobody's way for long.
    fn position(&self, number: i64) -> i64 {
        self.waiting.range(..=number).count().max(1) as i64
    }
}

impl Shop {
    pub fn join(&mut self, user: i64) -> Outcome {
        let now = self.now_ms();
        if now < self.line.rebuilt_at_ms {
            return unavailable("queue_rebuilding");
        }
        let open = |turn: &&Turn| turn.user_id == user && turn.is_open_at(now);
        let number =
            self.rows.turns.iter().find(open).map(|turn| turn.seq).or(self.line.number_of(user));
        if let Some(number) = number {
            return self.poll(user, number);
        }
        self.line.arrivals += 1;
        let number = self.line.last_number();
        self.line.waiting.insert(number, Place { user, seen_ms: now });
        self.waiting(number)
    }

    pub fn poll(&mut self, user: i64, number: i64) -> Outcome {
        let now = self.now_ms();
        if now < self.line.rebuilt_at_ms {
            return unavailable("queue_rebuilding");
        }
        if number == 0 {
            return refused(401, "token_invalid");
        }
        let (session, is_without_sql) = (self.run.session_ms, self.is_without_sql());
        if let Some(turn) = self.rows.turns.iter_mut().find(|turn| turn.seq == number) {
            if !turn.is_open_at(now) {
                return refused(410, "turn_ended");
            }
            if turn.claimed_at.is_none() && is_without_sql {
                return unavailable("unavailable");
            }
            if turn.claimed_at.is_none() {
                (turn.claimed_at, turn.ends_at) = (Some(now), now + session);
                turn.closes_at = turn.ends_at;
            }
            return ok(Answer::Active { number, expires_at_ms: turn.ends_at });
        }
        let line = &mut self.line;
        match line.waiting.get_mut(&number).or(line.parked.get_mut(&number)) {
            Some(place) if place.user == user => place.seen_ms = now,
            Some(_) => return refused(403, "user_mismatch"),
            None => return refused(410, "turn_ended"),
        }
        self.waiting(number)
    }

    pub fn leave(&mut self, user: i64, number: i64) -> Outcome {
        let now = self.now_ms();
        let place = self.line.waiting.remove(&number).or(self.line.parked.remove(&number));
        if place.is_some() {
            self.rows.turns.push(self.turn(user, number, ("none", now)));
        }
        let Some(turn) = self.rows.turns.iter_mut().find(|turn| turn.seq == number) else {
            return refused(410, "turn_ended");
        };
        if turn.ended_at.is_none() || place.is_some() {
            (turn.ended_at, turn.end_reason) = (Some(now), Some("left".to_owned()));
        }
        ok(Answer::Gone)
    }

    /// As many turns as the cap and the credit allow, to the lowest numbers whose owners are there.
    pub fn admit(&mut self) {
        let now = self.now_ms();
        if now < self.line.rebuilt_at_ms {
            return;
        }
        self.earn(now);
        let open = |turn: &&Turn| turn.is_open_at(now);
        let mut free = self.run.active_max - self.rows.turns.iter().filter(open).count() as i64;
        let silent_ms = self.run.poll_ms_max + 2_000 + self.run.grace_ms;
        let is_there = |place: &Place| now - place.seen_ms <= silent_ms;
        while free > 0 && self.line.tokens >= 1.0 {
            let back = self.line.parked.iter().find(|(_, place)| is_there(place));
            let next = back.or(self.line.waiting.first_key_value());
            let Some((number, place)) = next.map(|(number, place)| (*number, *place)) else {
                break;
            };
            self.line.waiting.remove(&number);
            if !is_there(&place) {
                self.line.parked.insert(number, place);
                continue;
            }
            self.line.parked.remove(&number);
            let mut turn = self.turn(place.user, number, ("rate", now));
            turn.admitted_at = Some(now);
            self.rows.turns.push(turn);
            self.line.tokens -= 1.0;
            free -= 1;
        }
        self.line.tokens = self.line.tokens.min(self.run.burst);
    }

    /// Credit since the last look; what unclaimed turns have wasted comes back twice as fast.
    fn earn(&mut self, now: i64) {
        let since = if self.line.last_ms == 0 { 0 } else { now - self.line.last_ms };
        let earned = self.run.rate_per_second * since as f64 / 1_000.0;
        let extra = self.line.owed.min(earned);
        self.line.owed -= extra;
        self.line.tokens =
            (self.line.tokens + earned + extra).min(self.run.burst + self.run.rate_per_second);
        self.line.last_ms = now;
    }

    /// Ends turns whose time is over, and holds that ran out.
    pub fn close_over(&mut self) {
        let now = self.now_ms();
        for turn in &mut self.rows.turns {
            if turn.ended_at.is_none() && turn.closes_at <= now {
                let unclaimed = turn.claimed_at.is_none();
                let reason = if unclaimed { "unclaimed" } else { "time" };
                (turn.ended_at, turn.end_reason) = (Some(now), Some(reason.to_owned()));
                self.line.owed += if unclaimed { 1.0 } else { 0.0 };
            }
        }
        self.let_go(now);
    }

    fn turn(&self, user: i64, number: i64, (kind, now): (&str, i64)) -> Turn {
        Turn {
            queue_id: QUEUE,
            seq: number,
            user_id: user,
            kind: kind.to_owned(),
            admitted_at: None,
            issued: self.line.last_number(),
            claimed_at: None,
            ends_at: now + self.run.claim_ms,
            closes_at: now + self.run.claim_ms,
            ended_at: None,
            end_reason: None,
        }
    }

    fn waiting(&self, number: i64) -> Outcome {
        let position = Some(self.line.position(number));
        ok(Answer::Waiting { number, position, reason: None, poll_after_ms: 500 })
    }
}
