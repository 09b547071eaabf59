//! THE table of refusals: the codes that each operation can give, for the OpenAPI document. What the form of a request
//! refuses follows from its form; only what the rules refuse is listed.

use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, ParameterIn};

use crate::error::Code::{self, *};

/// What the rules refuse, by operation.
fn of_rules(operation: &str) -> &'static [Code] {
    match operation {
        "join_queue" => &[
            UserMismatch,
            QueueNotFound,
            QueueClosed,
            QueueFull,
            QueueRebuilding,
            TurnEnded,
            OutcomeUnknown,
        ],
        "get_place" => &[QueueNotFound, TurnEnded, OutcomeUnknown],
        "listen_to_place" => &[QueueNotFound, TurnEnded],
        "verify_turn" => {
            &[NotAdmitted, TurnEnded, WrongQueue, QueueNotFound, QueueRebuilding, OutcomeUnknown]
        }
        "leave_queue" | "look_at_queue" => &[QueueNotFound],
        "list_concerts" | "get_concert" | "get_seats" => &[ConcertNotFound],
        "hold_seats" => &[
            InvalidSeatList,
            DuplicateSeat,
            TooManySeats,
            IdempotencyKeyReuse,
            UserMismatch,
            NotAdmitted,
            WrongQueue,
            PurchaseLimit,
            QueueNotFound,
            ConcertNotFound,
            SeatNotFound,
            SeatTaken,
            TurnEnded,
            SaleClosed,
            HoldExpired,
            QueueRebuilding,
        ],
        "get_booking" => &[BookingNotFound],
        "cancel_booking" => &[BookingNotFound, BookingNotHeld],
        "list_bookings" | "get_balance" | "list_transfers" => &[NotFound],
        "pay_booking" => &[
            IdempotencyKeyReuse,
            UserMismatch,
            BookingNotFound,
            BookingNotHeld,
            HoldExpired,
            InsufficientBalance,
        ],
        "top_up" => &[
            IdempotencyKeyMissing,
            IdempotencyKeyReuse,
            InvalidAmount,
            BalanceLimit,
            UserMismatch,
            Forbidden,
        ],
        "create_queue" => &[QueueExists],
        "get_queue" | "get_policy" => &[QueueNotFound],
        "tune_policy" | "patch_policy" => &[QueueNotFound, PolicyChanged],
        "list_schedule" => &[QueueNotFound],
        "add_to_schedule" => &[QueueNotFound, ScheduleFull],
        "change_schedule" | "cancel_schedule" => &[QueueNotFound, ScheduleNotFound, ScheduleDone],
        "admit_by_hand" => &[QueueNotFound, IdempotencyKeyReuse, DrawNotOpened],
        "look_at_draw" | "get_draw" => &[QueueNotFound, DrawNotFound, QueueRebuilding],
        "announce_draw" => &[QueueNotFound, QueueInUse, DrawExists, QueueRebuilding],
        "get_concert_sums" => &[ConcertNotFound],
        "create_concert" => &[QueueNotFound, DuplicateSeat],
        "change_concert" => &[QueueNotFound, ConcertNotFound, ConcertHasBookings],
        _ => &[],
    }
}

/// Every code of an operation but `internal`, which is a bug wherever it shows.
pub fn refusals(path: &str, operation: &Operation, writes: bool) -> Vec<Code> {
    let mut codes = vec![UriTooLong, RateLimited, Overloaded];
    codes.extend(of_rules(operation.operation_id.as_deref().unwrap_or_default()));
    codes.extend(of_path(path));
    codes.extend(of_parameters(operation));
    codes.extend(of_security(operation, writes));
    if operation.request_body.is_some() {
        codes.extend([InvalidJson, InvalidField, PayloadTooLarge, RequestTimeout]);
        codes.extend([UnsupportedMediaType, UnsupportedEncoding]);
    }
    let needs_machines = !matches!(path, "/livez" | "/metrics" | "/openapi.json");
    if writes {
        codes.push(OutcomeUnknown);
    }
    if needs_machines {
        codes.push(Unavailable);
    }
    codes
}

fn of_path(path: &str) -> impl Iterator<Item = Code> {
    let parameters = [("{userId}", InvalidUserId), ("{id}", InvalidId), ("{name}", InvalidQueue)];
    parameters.into_iter().filter(|(name, _)| path.contains(name)).map(|(_, code)| code)
}

fn of_parameters(operation: &Operation) -> Vec<Code> {
    let parameters =
        operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(parameter),
            RefOr::Ref(_) => None,
        });
    let codes =
        parameters.flat_map(|parameter| match (&parameter.parameter_in, &*parameter.name) {
            (ParameterIn::Query, "queue") => &[InvalidQuery, InvalidQueue][..],
            (ParameterIn::Query, _) => &[InvalidQuery],
            (ParameterIn::Header, "Idempotency-Key") => &[DuplicateHeader, InvalidIdempotencyKey],
            (ParameterIn::Header, "Token-Auth" | "If-Match") => &[DuplicateHeader, InvalidHeader],
            _ => &[],
        });
    codes.copied().collect()
}

fn of_security(operation: &Operation, writes: bool) -> Vec<Code> {
    let mut codes = Vec::new();
    let needed = serde_json::to_string(&operation.security).unwrap_or_default();
    let bad_token = [DuplicateHeader, TokenMalformed, TokenInvalid, TokenExpired];
    if needed.contains("queue_token") {
        codes.push(TokenMissing);
        codes.extend(bad_token);
    }
    if needed.contains("identity") {
        codes.extend([InvalidHeader, Unauthenticated]);
        codes.extend(bad_token);
    }
    if needed.contains("operator") {
        codes.extend([DuplicateHeader, InvalidHeader, Unauthenticated]);
        // With a session of the desk instead of the key.
        codes.extend(writes.then_some(Forbidden));
    }
    codes
}
