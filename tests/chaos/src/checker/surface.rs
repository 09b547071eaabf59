//! O1 and L3: answers come from the closed list, and in time; holds that ran out are let go.

use super::Finding;
use super::facts::Facts;
use crate::history::{Op, Outcome};

/// The server's own deadline, and slack for a busy machine.
const ANSWER_US_MAX: i64 = 6_500_000;
/// How long after a hold ran out housekeeping may still be on its way.
const SWEEP_MS: i64 = 30_000;

/// The list of docs/API.md; 500 is in it and is never excused.
const CODES: [(u16, &[&str]); 18] = [
    (
        400,
        &[
            "invalid_json",
            "invalid_user_id",
            "invalid_id",
            "invalid_queue",
            "invalid_query",
            "invalid_header",
            "duplicate_header",
            "idempotency_key_missing",
            "invalid_idempotency_key",
        ],
    ),
    (
        401,
        &["token_missing", "token_malformed", "token_invalid", "token_expired", "unauthenticated"],
    ),
    (402, &["insufficient_balance"]),
    (
        403,
        &[
            "forbidden",
            "user_mismatch",
            "not_admitted",
            "wrong_queue",
            "queue_closed",
            "purchase_limit",
        ],
    ),
    (
        404,
        &[
            "not_found",
            "queue_not_found",
            "concert_not_found",
            "seat_not_found",
            "booking_not_found",
            "schedule_not_found",
            "draw_not_found",
        ],
    ),
    (405, &["method_not_allowed"]),
    (408, &["request_timeout"]),
    (
        409,
        &[
            "queue_exists",
            "concert_has_bookings",
            "seat_taken",
            "booking_not_held",
            "schedule_done",
            "schedule_full",
            "queue_in_use",
            "draw_exists",
            "draw_not_opened",
        ],
    ),
    (410, &["turn_ended", "sale_closed", "hold_expired"]),
    (412, &["policy_changed"]),
    (413, &["payload_too_large"]),
    (414, &["uri_too_long"]),
    (415, &["unsupported_media_type", "unsupported_encoding"]),
    (
        422,
        &[
            "invalid_field",
            "invalid_amount",
            "invalid_seat_list",
            "duplicate_seat",
            "too_many_seats",
            "idempotency_key_reuse",
            "balance_limit",
        ],
    ),
    (429, &["rate_limited"]),
    (431, &[]),
    (500, &[]),
    (503, &["queue_full", "queue_rebuilding", "overloaded", "unavailable", "outcome_unknown"]),
];

/// O1: no 500, no unknown code, no hang.
pub fn answers_are_known_and_in_time(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for op in &facts.ops {
        finding.unless(is_listed(&op.outcome), || {
            format!("request {}: {:?} is no answer", op.id, op.outcome)
        });
        let hangs = matches!(&op.outcome, Outcome::Unknown { why, .. } if why == "hang");
        let took_us = op.ended_us - op.begun_us;
        finding.unless(!hangs && took_us <= ANSWER_US_MAX || is_excused(facts, op), || {
            format!("request {} to {} took {} ms", op.id, op.instance, took_us / 1_000)
        });
    }
    finding
}

/// L3: nothing stays held long after it ran out.
pub fn no_hold_outlives_its_time(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let patience = facts.run.grace_ms + SWEEP_MS;
    for booking in &facts.rows.bookings {
        let is_late = booking.expires_at + patience < facts.rows.read_at_ms;
        finding.unless(!(booking.is("held") && is_late), || {
            format!("booking {} is still held", booking.id)
        });
    }
    finding
}

fn is_listed(outcome: &Outcome) -> bool {
    let (status, code) = match outcome {
        Outcome::Ok { .. } | Outcome::Unknown { status: None, .. } => return true,
        Outcome::Refused { status, code, .. } => (*status, Some(code.as_str())),
        Outcome::Unknown { status: Some(status), code, .. } => (*status, code.as_deref()),
    };
    let known = CODES.iter().find(|(known, _)| *known == status);
    known.is_some_and(|(_, codes)| code.is_some_and(|code| codes.contains(&code)))
}

/// A process that is stopped or dead answers nobody; one that has lost Redis or SQL still does.
fn is_excused(facts: &Facts, op: &Op) -> bool {
    facts.faults.iter().any(|fault| {
        let stands_still = fault.kind.contains("stop") || fault.kind.contains("kill");
        let of_instance = !fault.target.contains("redis") && !fault.target.contains("postgres");
        let overlaps = fault.begun_us <= op.ended_us && op.begun_us <= fault.healed_us;
        stands_still && of_instance && overlaps
    })
}
