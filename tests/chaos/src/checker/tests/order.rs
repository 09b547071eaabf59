//! Days with something wrong in the line, at the door or in an answer.

#![expect(clippy::ptr_arg, reason = "all have the shape of the table")]

use super::{Altered, ops};
use crate::history::{Answer, Call, Op, Outcome, Record};
use crate::rows::Rows;

type Did = Option<()>;

pub const ALTERED: &[Altered] = &[
    ("Q1", "a late arrival gets an early number", arrival_out_of_order),
    ("Q2", "somebody who waits is served after the others", served_late),
    ("Q2", "two people change places", served_in_another_order),
    ("Q3", "two people have one number", number_given_twice),
    ("Q3", "a row is another person's", row_of_another),
    ("Q4", "a place grows by one", place_grows),
    ("Q4", "a place is shown before a better one", place_was_better),
    ("Q5", "a second number while the first one waits", second_place),
    ("Q5", "two turns at once", second_turn),
    ("Q6", "who waits is told that it is over", lost_place),
    ("Q7", "a place of nought", place_of_nought),
    ("Q7", "a place far behind everybody", place_behind_everybody),
    ("A1", "a turn too many", turn_too_many),
    ("A1", "turns that do not end", turns_without_end),
    ("A2", "a batch beyond the credit", batch_beyond_credit),
    ("A2", "a second's admissions in a moment", admitted_early),
    ("A3", "a number admitted twice", admitted_twice),
    ("A4", "a hold before its turn", hold_before_turn),
    ("A4", "a hold in another's turn", hold_in_anothers_turn),
    ("A7", "an admission without SQL", admitted_without_sql),
    ("T1", "a forged token is taken", forged_token_taken),
    ("T2", "a booking is shown to another", booking_shown_to_another),
    ("T3", "a turn that ended is open again", turn_open_again),
    ("T3", "a turn that ended waits again", turn_waits_again),
    ("T3", "who left gets a turn", left_and_active),
    ("O1", "a 500", five_hundred),
    ("O1", "a code that is not listed", unlisted_code),
    ("O1", "an answer after seven seconds", late_answer),
    ("O1", "no answer at all", no_answer),
    ("L3", "a hold that stays", hold_stays),
];

fn told(answer: Answer) -> Outcome {
    Outcome::Ok { answer, digest: 0 }
}

fn is_waiting(op: &Op) -> bool {
    !op.adversary && matches!(op.answer(), Some(Answer::Waiting { .. }))
}

fn number(op: &Op) -> Option<i64> {
    op.answer().and_then(Answer::number)
}

/// Polls that were told to wait.
fn waiting(history: &mut [Record]) -> impl Iterator<Item = &mut Op> {
    ops(history).filter(|op| matches!(op.call, Call::Poll { .. }) && is_waiting(op))
}

fn set_number(op: &mut Op, to: i64) {
    if let Outcome::Ok {
        answer: Answer::Waiting { number, .. } | Answer::Active { number, .. },
        ..
    } = &mut op.outcome
    {
        *number = to;
    }
}

fn place(op: &mut Op) -> Option<&mut Option<i64>> {
    match &mut op.outcome {
        Outcome::Ok { answer: Answer::Waiting { position, .. }, .. } => Some(position),
        _ => None,
    }
}

fn arrival_out_of_order(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let joined = |op: &&mut Op| matches!(op.call, Call::Join) && is_waiting(op);
    set_number(ops(history).filter(joined).nth(10)?, (1 << 40) + (1 << 39));
    Some(())
}

fn served_late(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let patient = waiting(history).filter(|op| number(op).is_some_and(|it| it >> 40 == 1));
    let mut counts = std::collections::BTreeMap::<i64, (i64, i64)>::new();
    for op in patient {
        let times = counts.entry(number(op)?).or_insert((op.begun_us, op.ended_us));
        times.1 = op.ended_us;
    }
    for turn in &mut rows.turns {
        let waited = counts.get(&turn.seq).is_some_and(|(from, to)| to - from > 4_000_000);
        if turn.admitted_at.is_some() && waited && turn.seq - (1 << 40) - (1 << 39) > 6 {
            turn.admitted_at = turn.admitted_at.map(|at| at + 8_000);
            // Others come between: he went on asking in the meantime.
            let (seq, user) = (turn.seq, turn.user_id);
            for op in ops(history).filter(|op| op.user == user && number(op) == Some(seq)) {
                let answer = Answer::Waiting {
                    number: seq,
                    position: Some(1),
                    reason: None,
                    poll_after_ms: 500,
                };
                op.outcome = told(answer);
            }
            let last = ops(history)
                .filter(|op| op.user == user && number(op) == Some(seq))
                .last()?
                .clone();
            for n in 1..16 {
                let mut more = last.clone();
                (more.begun_us, more.ended_us) =
                    (last.begun_us + n * 500_000, last.ended_us + n * 500_000);
                history.push(Record::Op(more));
            }
            return Some(());
        }
    }
    None
}

fn served_in_another_order(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let facts_of = |seq: i64, history: &mut Vec<Record>| {
        waiting(history).filter(|op| number(op) == Some(seq)).count()
    };
    let admitted: Vec<usize> =
        (0..rows.turns.len()).filter(|index| rows.turns[*index].admitted_at.is_some()).collect();
    for pair in admitted.windows(2) {
        let (first, second) = (&rows.turns[pair[0]], &rows.turns[pair[1]]);
        let (earlier, later) = (first.admitted_at?, second.admitted_at?);
        let both_wait = facts_of(first.seq, history) > 6 && facts_of(second.seq, history) > 6;
        if earlier < later && both_wait && first.seq >> 40 == second.seq >> 40 {
            rows.turns[pair[0]].admitted_at = Some(later);
            rows.turns[pair[1]].admitted_at = Some(earlier);
            return Some(());
        }
    }
    None
}

fn number_given_twice(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let first = number(waiting(history).next()?)?;
    let other = waiting(history).find(|op| number(op) != Some(first))?;
    set_number(other, first);
    Some(())
}

fn row_of_another(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    rows.turns.iter_mut().find(|turn| turn.claimed_at.is_some())?.user_id += 1;
    Some(())
}

fn place_grows(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let user_and_number = |op: &Op| (op.user, number(op));
    let mut seen = std::collections::HashMap::new();
    for op in waiting(history) {
        let who = user_and_number(op);
        let position = place(op)?;
        if let Some(before) = seen.insert(who, *position) {
            *position = before.map(|before: i64| before + 1);
            return Some(());
        }
    }
    None
}

fn place_was_better(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    for op in waiting(history) {
        let position = place(op)?;
        if position.is_some_and(|position| position > 3) {
            *position = Some(1);
            return Some(());
        }
    }
    None
}

fn second_place(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let first = waiting(history).nth(5)?.clone();
    let mut second = first.clone();
    second.call = Call::Join;
    second.begun_us += 100_000;
    second.ended_us += 100_000;
    set_number(&mut second, number(&first)? + 50);
    history.push(Record::Op(second));
    Some(())
}

fn second_turn(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let first = rows.turns.iter().find(|turn| turn.claimed_at.is_some())?.clone();
    let mut second = first.clone();
    second.seq += 7_000;
    second.admitted_at = first.ended_at.map(|ended| ended - 500);
    second.ended_at = first.ended_at.map(|ended| ended + 500);
    rows.turns.push(second);
    Some(())
}

fn lost_place(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    waiting(history).nth(5)?.outcome =
        Outcome::Refused { status: 410, code: "turn_ended".to_owned(), digest: 0 };
    Some(())
}

fn place_of_nought(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    *place(waiting(history).nth(5)?)? = Some(0);
    Some(())
}

fn place_behind_everybody(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let early = |op: &&mut Op| (6_000_000..13_000_000).contains(&op.begun_us);
    *place(waiting(history).find(early)?)? = Some(1_000);
    Some(())
}

fn turn_too_many(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let turn = rows.turns.iter().find(|turn| turn.ended_for("time"))?.clone();
    for n in 1..=8 {
        rows.turns.push(crate::rows::Turn { seq: turn.seq + 9_000 + n, ..turn.clone() });
    }
    Some(())
}

fn turns_without_end(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    for turn in rows.turns.iter_mut().filter(|turn| turn.ended_for("paid")).take(9) {
        turn.ended_at = None;
    }
    Some(())
}

fn batch_beyond_credit(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let at = rows.turns.iter().rev().find_map(|turn| turn.admitted_at)?;
    let late = rows.turns.iter_mut().rev().filter(|turn| turn.admitted_at.is_some());
    for turn in late.take(20) {
        turn.admitted_at = Some(at);
    }
    Some(())
}

fn admitted_early(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let mut admitted: Vec<_> =
        rows.turns.iter_mut().filter(|turn| turn.admitted_at.is_some()).collect();
    admitted.sort_by_key(|turn| turn.admitted_at);
    let from = admitted[20].admitted_at?;
    for (n, turn) in admitted.into_iter().skip(20).take(20).enumerate() {
        turn.admitted_at = Some(from + n as i64 * 10);
    }
    Some(())
}

fn admitted_twice(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let again = rows.turns.iter().find(|turn| turn.ended_for("paid"))?.clone();
    rows.turns.push(again);
    Some(())
}

fn hold_before_turn(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let booking = rows.bookings.first()?;
    let turn = rows.turns.iter_mut().find(|turn| turn.seq == booking.turn_seq)?;
    turn.admitted_at = Some(booking.made_at + 2_000);
    Some(())
}

fn hold_in_anothers_turn(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let is_held = |op: &&mut Op| matches!(op.answer(), Some(Answer::Held { .. }));
    let user = ops(history).find(is_held)?.user;
    let other = rows.turns.iter().find(|turn| turn.user_id != user)?.seq;
    let op = ops(history).find(is_held)?;
    if let Call::Hold { number, .. } = &mut op.call {
        *number = other;
    }
    Some(())
}

fn admitted_without_sql(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    let (from, to) = history.iter().find_map(|record| match record {
        Record::Fault(fault) if fault.target == "postgres" => {
            Some((fault.begun_us, fault.healed_us))
        }
        _ => None,
    })?;
    let began = super::shop::BEGAN_AT_MS;
    let op = waiting(history)
        .find(|op| op.begun_us > from + 1_500_000 && op.ended_us < to - 1_200_000)?;
    let number = number(op)?;
    op.outcome = told(Answer::Active { number, expires_at_ms: 0 });
    let at = began + op.begun_us / 1_000 - 100;
    rows.turns.iter_mut().find(|turn| turn.seq == number)?.admitted_at = Some(at);
    Some(())
}

fn forged_token_taken(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let forged = |op: &&mut Op| op.adversary && op.call == Call::Poll { number: 0 };
    ops(history).find(forged)?.outcome = told(Answer::Gone);
    Some(())
}

fn booking_shown_to_another(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let shown = |op: &&mut Op| matches!(op.answer(), Some(Answer::Booking { .. }));
    ops(history).find(shown)?.user += 1;
    Some(())
}

/// Asks once more, five seconds after a turn was over.
fn asked_again(
    history: &mut Vec<Record>,
    rows: &Rows,
    reason: &str,
    answer: fn(i64) -> Answer,
) -> Did {
    let left_in_line = reason == "left";
    let turn = rows
        .turns
        .iter()
        .find(|turn| turn.ended_for(reason) && (turn.admitted_at.is_none() == left_in_line))?;
    let (number, user) = (turn.seq, turn.user_id);
    let then = (turn.ended_at? - super::shop::BEGAN_AT_MS + 5_000) * 1_000;
    let mut op = ops(history).find(|op| op.user == user)?.clone();
    (op.call, op.outcome) = (Call::Poll { number }, told(answer(number)));
    (op.begun_us, op.ended_us, op.adversary) = (then, then + 5_000, true);
    history.push(Record::Op(op));
    Some(())
}

fn turn_open_again(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    asked_again(history, rows, "paid", |number| Answer::Active { number, expires_at_ms: 0 })
}

fn turn_waits_again(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    asked_again(history, rows, "unclaimed", |number| Answer::Waiting {
        number,
        position: Some(1),
        reason: None,
        poll_after_ms: 500,
    })
}

fn left_and_active(history: &mut Vec<Record>, rows: &mut Rows) -> Did {
    asked_again(history, rows, "left", |number| Answer::Active { number, expires_at_ms: 0 })
}

fn five_hundred(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    let (status, code) = (Some(500), Some("internal".to_owned()));
    ops(history).nth(30)?.outcome = Outcome::Unknown { status, code, why: "status".to_owned() };
    Some(())
}

fn unlisted_code(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    ops(history).nth(30)?.outcome =
        Outcome::Refused { status: 404, code: "seat_taken".to_owned(), digest: 0 };
    Some(())
}

fn late_answer(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    ops(history).nth(30)?.ended_us += 7_000_000;
    Some(())
}

fn no_answer(history: &mut Vec<Record>, _: &mut Rows) -> Did {
    ops(history).nth(30)?.outcome =
        Outcome::Unknown { status: None, code: None, why: "hang".to_owned() };
    Some(())
}

fn hold_stays(_: &mut Vec<Record>, rows: &mut Rows) -> Did {
    rows.read_at_ms += 60_000;
    rows.bookings.iter_mut().find(|row| row.is("expired"))?.status = "held".to_owned();
    Some(())
}
