//! A1 to A4 and A7: how many are admitted, how fast, how often, and what a turn is good for. That Redis has no member
//! without a row (A5) is not judged: the final rows do not show Redis.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};

use super::Finding;
use super::facts::Facts;
use crate::history::{Answer, Call, Op};
use crate::rows::Turn;

/// How far beyond its turn a hold may seem to be.
const HOLD_EPSILON_MS: i64 = 1_000;

/// A1: never more turns at once than the cap.
pub fn turns_stay_under_the_cap(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut ends: BinaryHeap<Reverse<i64>> = BinaryHeap::new();
    for (at, turn) in facts.admitted() {
        while ends.peek().is_some_and(|Reverse(ended)| *ended <= at + facts.epsilon_ms()) {
            ends.pop();
        }
        ends.push(Reverse(turn.ended_at.unwrap_or(i64::MAX)));
        let open = ends.len() as i64;
        finding.unless(open <= facts.run.active_max, || {
            format!("{open} turns at once when {} was admitted", turn.seq)
        });
    }
    finding
}

/// A2: never more turns than the bucket has credit for; what unclaimed turns wasted is given back.
pub fn turns_keep_the_rate(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let rate = facts.run.rate_per_second;
    let brim = facts.run.burst + rate;
    // The line draws what is owed at once, and keeps it as credit; here it is drawn late, so both may be full.
    let owed_max = brim + rate * facts.run.claim_ms as f64 / 1_000.0;
    let mut wasted: Vec<i64> = facts
        .turns
        .values()
        .filter(|turn| turn.admitted_at.is_some() && turn.ended_for("unclaimed"))
        .filter_map(|turn| turn.ended_at)
        .collect();
    wasted.sort_unstable();
    let mut wasted = wasted.into_iter().peekable();
    let (mut credit, mut owed, mut last) = (brim, 0.0, None);
    for (at, turn) in facts.admitted().into_iter().filter(|(_, turn)| turn.kind == "rate") {
        while wasted.next_if(|ended| *ended <= at + facts.epsilon_ms()).is_some() {
            owed = owed_max.min(owed + 1.0);
        }
        credit = brim.min(credit + rate * (at - last.unwrap_or(at)) as f64 / 1_000.0);
        last = Some(at);
        let short = (1.0 - credit).clamp(0.0, owed);
        (credit, owed) = (credit + short, owed - short);
        let slack = rate * facts.epsilon_ms() as f64 / 1_000.0 + 1e-6;
        finding.unless(credit + slack >= 1.0, || {
            format!("{} was admitted with a credit of {credit:.3}", turn.seq)
        });
        credit -= 1.0;
        if credit < -slack {
            credit = 0.0;
        }
    }
    finding
}

/// A3: a number has one turn.
pub fn a_number_has_one_turn(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut seen = HashSet::new();
    for turn in &facts.rows.turns {
        finding.unless(seen.insert((turn.queue_id, turn.seq)), || {
            format!("two rows of {} in queue {}", turn.seq, turn.queue_id)
        });
    }
    finding
}

/// A4: seats are held in a turn of one's own, while it lasts.
pub fn holds_are_within_turns(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for booking in &facts.rows.bookings {
        let within = facts.turns.get(&booking.turn_seq).is_some_and(|turn| {
            turn.user_id == booking.user_id
                && covers(
                    turn,
                    booking.made_at,
                    booking.made_at,
                    HOLD_EPSILON_MS + facts.run.skew_ms,
                )
        });
        finding.unless(within, || {
            format!("booking {} was made outside the turn {}", booking.id, booking.turn_seq)
        });
    }
    for op in first_holds(facts) {
        let (Call::Hold { number, .. }, Some(Answer::Held { booking, .. })) =
            (&op.call, op.answer())
        else {
            continue;
        };
        let (begun, ended) = (facts.ms(op.begun_us), facts.ms(op.ended_us));
        let within = facts.turns.get(number).is_some_and(|turn| {
            turn.user_id == op.user
                && covers(turn, begun, ended, HOLD_EPSILON_MS + facts.run.skew_ms)
        });
        finding.unless(within, || {
            format!("request {}: {booking} was held outside the turn {number}", op.id)
        });
    }
    finding
}

/// Holds that no earlier request with the same key can have made: another answer of a key may come at any time.
pub fn first_holds<'a>(facts: &Facts<'a>) -> Vec<&'a Op> {
    let mut used = HashSet::new();
    let mut first = Vec::new();
    for op in facts.ops.iter().filter(|op| op.may_have_happened()) {
        if let Call::Hold { key, .. } = &op.call {
            let is_first = key.as_ref().is_none_or(|key| used.insert((op.user, key.as_str())));
            if is_first && op.answer().is_some() {
                first.push(*op);
            }
        }
    }
    first
}

fn covers(turn: &Turn, from: i64, to: i64, slack_ms: i64) -> bool {
    let over = turn.ended_at.map_or(turn.ends_at, |ended| ended.min(turn.ends_at));
    turn.admitted_at.is_some_and(|admitted| admitted - slack_ms <= to) && from <= over + slack_ms
}

/// A7: nobody is admitted while SQL is away. A full disk is not: there may be room for a row in a page that is there.
pub fn nobody_is_admitted_without_sql(facts: &Facts) -> Finding {
    const MARGIN_US: i64 = 1_000_000;
    let mut finding = Finding::default();
    let away: Vec<_> = facts
        .faults
        .iter()
        .filter(|fault| {
            fault.target == "postgres"
                && ["postgres_kill", "postgres_stop"].contains(&fault.kind.as_str())
        })
        .map(|fault| (fault.begun_us + MARGIN_US, fault.healed_us - MARGIN_US))
        .collect();
    let mut first: BTreeMap<i64, &Op> = BTreeMap::new();
    for (op, answer) in facts.answers() {
        if let Answer::Active { number, .. } = answer {
            first.entry(*number).or_insert(op);
        }
    }
    for (number, op) in first {
        let admitted_at = facts.turns.get(&number).and_then(|turn| turn.admitted_at);
        for (from, to) in &away {
            let told = *from < op.begun_us && op.ended_us < *to;
            let made = admitted_at.is_some_and(|at| facts.ms(*from) < at && at < facts.ms(*to));
            finding.unless(!(told && made), || {
                format!("request {}: {number} was admitted without SQL", op.id)
            });
        }
    }
    finding
}
