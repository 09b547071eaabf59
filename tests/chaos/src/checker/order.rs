//! Q1, Q3 to Q5 and Q7: how numbers are given and what people are told of their places. Who is served when is in
//! `service`.

use std::collections::{BTreeMap, HashMap};

use super::Finding;
use super::facts::{EPOCH_SHIFT, Facts, SNAPSHOT_MS, epoch};
use crate::history::{Answer, Call, Op};

/// How long an instance answers from one look at the line, and how late its answer may be: another one may have looked
/// before, so who asks two of them at once may be told the newer place first.
const LOOK_US: i64 = 200_000;

/// How long a tick may take from its instant until everybody knows: its transaction is given up after five seconds, and
/// on a machine with more to do than it can it takes some of them.
const TOLD_MS: i64 = 6_000;

/// The number before the first arrival of the first epoch.
const BEGINNING: i64 = (1 << EPOCH_SHIFT) | (1 << (EPOCH_SHIFT - 1));

/// What is known of a number's birth.
struct Birth {
    user: i64,
    /// No request that can have made it began before.
    earliest_us: i64,
    /// It was there when somebody had been told.
    done_us: i64,
}

/// Q1: a number that was given before another one was asked for is the lower one.
pub fn numbers_follow_arrivals(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let births = births(facts);
    let mut by_beginning: Vec<_> = births.iter().collect();
    by_beginning.sort_by_key(|(_, birth)| birth.earliest_us);
    let mut by_end: Vec<_> = births.iter().collect();
    by_end.sort_by_key(|(_, birth)| birth.done_us);
    let mut done = by_end.into_iter().peekable();
    let mut highest = 0;
    for (number, birth) in by_beginning {
        while let Some((earlier, _)) = done.next_if(|(_, other)| other.done_us < birth.earliest_us)
        {
            highest = highest.max(*earlier);
        }
        finding.unless(highest <= *number, || {
            format!("{number} was asked for after {highest} had been given")
        });
    }
    finding
}

/// Q3: a number is one person's.
pub fn numbers_are_nobody_elses(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut owners: HashMap<i64, i64> =
        facts.turns.values().map(|turn| (turn.seq, turn.user_id)).collect();
    for (op, answer) in facts.answers().filter(|(op, _)| !op.adversary) {
        let Some(number) = answer.number() else { continue };
        let owner = *owners.entry(number).or_insert(op.user);
        finding.unless(owner == op.user, || {
            format!("request {}: {number} of {owner} was shown to {}", op.id, op.user)
        });
    }
    finding
}

/// Q4: who asks again is never further back.
pub fn positions_never_grow(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut places: BTreeMap<(i64, i64), Vec<(&Op, i64)>> = BTreeMap::new();
    for (op, number, position) in positions(facts) {
        places.entry((op.user, number)).or_default().push((op, position));
    }
    for ((user, number), told) in places {
        let mut by_end = told.clone();
        by_end.sort_by_key(|(op, _)| op.ended_us);
        let mut earlier = by_end.into_iter().peekable();
        let mut best: Option<(i64, u64)> = None;
        for (op, position) in told {
            let seen = |it: &Op| it.ended_us + LOOK_US < op.begun_us;
            while let Some((other, before)) = earlier.next_if(|(it, _)| seen(it)) {
                best = Some(best.map_or((before, other.id), |best| best.min((before, other.id))));
            }
            let Some((before, other)) = best else { continue };
            finding.unless(position <= before, || {
                format!("{user} with {number}: place {before} in request {other}, then {position} in {}", op.id)
            });
        }
    }
    finding
}

/// Q5: one live number of a person, and one open turn.
pub fn one_place_each(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let left = facts.left();
    let mut numbers: BTreeMap<(i64, i64), Vec<(i64, i64)>> = BTreeMap::new();
    for (number, birth) in births(facts) {
        numbers.entry((birth.user, epoch(number))).or_default().push((number, birth.done_us));
    }
    for ((user, _), numbers) in numbers {
        for pair in numbers.windows(2) {
            let ((first, _), (second, told_us)) = (pair[0], pair[1]);
            let is_over = facts.is_finished(user, first, facts.ms(told_us) + facts.epsilon_ms())
                || left.get(&first).is_some_and(|left| *left < told_us);
            finding.unless(is_over, || format!("{user} had {first} and was given {second}"));
        }
    }
    for (user, turns) in &facts.turns_of {
        let mut turns = turns.clone();
        turns.sort_by_key(|turn| turn.admitted_at);
        for pair in turns.windows(2) {
            let opened = pair[1].admitted_at.unwrap_or(i64::MAX);
            let was_over =
                pair[0].ended_at.is_some_and(|ended| ended <= opened + facts.epsilon_ms());
            finding.unless(was_over, || {
                format!("{user} had the turns {} and {} at once", pair[0].seq, pair[1].seq)
            });
        }
    }
    finding
}

/// What was committed while a machine failed is known to the line when that is whole again, unless it fails once more
/// before anybody has told it.
fn known_at(facts: &Facts, at: i64) -> i64 {
    let mut known = at;
    for fault in &facts.faults {
        let (begun, healed) = (facts.ms(fault.begun_us), facts.ms(fault.healed_us));
        if begun - SNAPSHOT_MS <= known && known <= healed {
            known = healed;
        }
    }
    known
}

/// Q7: a place that is shown is at least the first, and no more than there are numbers up to it.
pub fn positions_are_honest(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut served: Vec<(i64, i64)> = Vec::new();
    for (at, turn) in facts.admitted() {
        served.push((known_at(facts, at), turn.seq));
    }
    served.sort_unstable();
    let mut highest = 0;
    for (_, served) in &mut served {
        highest = highest.max(*served);
        *served = highest;
    }
    for (op, number, position) in positions(facts) {
        finding.unless(position >= 1, || format!("request {}: place {position}", op.id));
        let then = facts.ms(op.begun_us) - TOLD_MS - facts.run.skew_ms;
        let behind = served.partition_point(|(at, _)| *at < then);
        let serving = behind.checked_sub(1).map_or(BEGINNING, |index| served[index].1);
        if epoch(serving) == epoch(number) && number > serving {
            finding.unless(position <= number - serving, || {
                format!(
                    "request {}: place {position} with {number}, when {serving} had been served",
                    op.id
                )
            });
        }
    }
    finding
}

/// Places that honest people were shown, by the beginning of their requests.
fn positions<'a>(facts: &Facts<'a>) -> Vec<(&'a Op, i64, i64)> {
    let honest = facts.answers().filter(|(op, _)| !op.adversary);
    let place = |(op, answer): (&'a Op, &'a Answer)| match answer {
        Answer::Waiting { number, position: Some(position), .. } => Some((op, *number, *position)),
        _ => None,
    };
    honest.filter_map(place).collect()
}

/// Numbers that joins returned.
fn births(facts: &Facts) -> BTreeMap<i64, Birth> {
    let mut births: BTreeMap<i64, Birth> = BTreeMap::new();
    let mut lost: HashMap<i64, i64> = HashMap::new();
    for op in facts.ops.iter().filter(|op| matches!(op.call, Call::Join) && !op.adversary) {
        if op.is_unknown() {
            lost.entry(op.user).or_insert(op.begun_us);
        }
        let Some(number) = op.answer().and_then(Answer::number) else { continue };
        let first_lost = lost.get(&op.user).copied().unwrap_or(op.begun_us);
        let birth = births.entry(number).or_insert(Birth {
            user: op.user,
            earliest_us: first_lost.min(op.begun_us),
            done_us: op.ended_us,
        });
        birth.done_us = birth.done_us.min(op.ended_us);
    }
    births
}
