//! Q2 and Q6: who is served before whom, and that nobody's place is lost. How numbers are given is in `order`.

use std::collections::HashMap;

use super::Finding;
use super::facts::{Facts, SNAPSHOT_MS, epoch};
use crate::history::{Answer, Call, Op, Outcome};
use crate::rows::Turn;

/// Q2: lower numbers are served before higher ones, unless their owners are silent or gone. Between what keeps a place
/// for certain (`poll_ms_max` and the grace) and what certainly loses it, both orders are right.
pub fn lower_numbers_come_first(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let vigil = Vigil::of(facts);
    let left = facts.left();
    let admitted = facts.admitted();
    let mut highest = 0;
    for (index, (at, turn)) in admitted.iter().enumerate() {
        finding.looked();
        if turn.seq < highest {
            let overtook = admitted[..index].iter().rev().find(|(then, other)| {
                other.seq > turn.seq
                    && *then + facts.run.skew_ms < *at
                    && left.get(&turn.seq).is_none_or(|left| facts.ms(*left) > *then)
                    && !facts.is_finished(turn.user_id, turn.seq, *then)
                    && vigil.is_there(turn, *then)
            });
            if let Some((then, other)) = overtook {
                let waited = at - then;
                finding.broken.push(format!(
                    "{} of {} was served {waited} ms after {} of {}, and was there",
                    turn.seq, turn.user_id, other.seq, other.user_id
                ));
            }
        }
        highest = highest.max(turn.seq);
    }
    finding
}

/// Q6: a number is over only when its row says so, its owner had a later turn, or gave it back.
pub fn no_place_is_lost(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let left = facts.left();
    for op in facts.ops.iter().filter(|op| !op.adversary) {
        let (Call::Poll { number } | Call::Hold { number, .. }) = &op.call else { continue };
        let told_ms = facts.ms(op.ended_us) + facts.epsilon_ms();
        if op.answer().and_then(Answer::number).is_some() {
            finding.looked();
        }
        if !matches!(&op.outcome, Outcome::Refused { code, .. } if code == "turn_ended") {
            continue;
        }
        let ran_out = |turn: &&Turn| turn.admitted_at.is_some() && turn.ends_at <= told_ms;
        let is_over = facts.is_finished(op.user, *number, told_ms)
            || facts.turns.get(number).is_some_and(ran_out)
            || left.get(number).is_some_and(|left| *left < op.ended_us);
        finding.unless(is_over, || {
            format!("request {}: {number} of {} was said to be over, and is not", op.id, op.user)
        });
    }
    finding
}

/// When people were heard of, and since when what they were told still holds.
struct Vigil<'a> {
    facts: &'a Facts<'a>,
    /// By person: requests that may have kept a place.
    heard: HashMap<i64, Vec<&'a Op>>,
    /// When an epoch, or a loss of what Redis knew, was first seen.
    losses_us: Vec<i64>,
}

impl<'a> Vigil<'a> {
    fn of(facts: &'a Facts<'a>) -> Self {
        let mut heard: HashMap<i64, Vec<&Op>> = HashMap::new();
        let mut epochs: HashMap<i64, i64> = HashMap::new();
        for op in facts.ops.iter().filter(|op| !op.adversary) {
            if matches!(op.call, Call::Join | Call::Poll { .. }) && op.may_have_happened() {
                heard.entry(op.user).or_default().push(op);
            }
            if let Some(number) = op.answer().and_then(Answer::number) {
                let seen = epochs.entry(epoch(number)).or_insert(op.ended_us);
                *seen = (*seen).min(op.ended_us);
            }
        }
        let redis = facts
            .faults
            .iter()
            .filter(|fault| fault.target.contains("redis") || fault.kind.contains("redis"));
        let losses = redis.map(|fault| fault.begun_us + SNAPSHOT_MS * 1_000);
        let losses_us = losses.chain(epochs.into_values()).collect();
        Self { facts, heard, losses_us }
    }

    /// Whether the owner of a number had been told that he waits, and was heard of often enough until an instant.
    fn is_there(&self, turn: &Turn, ms: i64) -> bool {
        let run = self.facts.run;
        let keeps_us = (run.poll_ms_max + run.grace_ms) * 1_000;
        let then = (ms - run.began_at_ms) * 1_000;
        let lost = self.losses_us.iter().copied().filter(|lost| *lost <= then).max().unwrap_or(0);
        let waits = |op: &&&Op| matches!(op.answer(), Some(Answer::Waiting { number, .. }) if *number == turn.seq);
        let Some(ops) = self.heard.get(&turn.user_id) else { return false };
        let before: Vec<_> = ops.iter().filter(|op| op.ended_us <= then).collect();
        let Some(first) = before.iter().find(|op| waits(op)) else { return false };
        let Some(last) = before.iter().rfind(|op| waits(op)) else { return false };
        let from = first.begun_us.max(then - 2 * (keeps_us + 2_000_000));
        let was_silent = before.windows(2).any(|pair| {
            pair[1].ended_us >= from && pair[1].ended_us - pair[0].begun_us.max(from) > keeps_us
        });
        last.begun_us >= lost && then - last.begun_us <= keeps_us && !was_silent
    }
}
