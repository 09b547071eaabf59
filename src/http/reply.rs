//! Errors on their way out: THE status table, and the one place that logs them.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Code, Error, FieldProblem};
use crate::ids::SeatId;
use crate::telemetry::spans;

/// What 503 tells a client to wait when nothing better is known.
const RETRY_AFTER_SECONDS: u64 = 2;

/// The body of every error: RFC 9457, with a stable `code`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the code says the type.
    #[serde(rename = "type")]
    #[schema(pattern = "^about:blank$")]
    pub kind: &'static str,
    /// The status in words.
    pub title: &'static str,
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// A sentence for people.
    pub detail: String,
    pub code: Code,
    /// Stands in the server's log, too.
    pub request_id: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// `invalid_field` and its kin: every wrong place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub errors: Option<Vec<FieldProblem>>,
    /// `seat_taken`: the seats that somebody else has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub taken: Option<Vec<SeatId>>,
    /// `not_admitted`: the place in line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    pub position: Option<i64>,
    /// `wrong_queue`: the queue that sells the concert.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub queue: Option<String>,
    /// On `POST /booking`: the code again, for clients that read only this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub booking_result: Option<Code>,
    /// On `POST /payment`: the code again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub payment_result: Option<Code>,
}

/// The status of each code.
pub fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidJson
        | Code::InvalidUserId
        | Code::InvalidId
        | Code::InvalidQueue
        | Code::InvalidQuery
        | Code::InvalidHeader
        | Code::DuplicateHeader
        | Code::IdempotencyKeyMissing
        | Code::InvalidIdempotencyKey => StatusCode::BAD_REQUEST,
        Code::InvalidField
        | Code::InvalidAmount
        | Code::InvalidSeatList
        | Code::DuplicateSeat
        | Code::TooManySeats
        | Code::IdempotencyKeyReuse
        | Code::BalanceLimit => StatusCode::UNPROCESSABLE_ENTITY,
        Code::UnsupportedMediaType | Code::UnsupportedEncoding => {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        }
        Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UriTooLong => StatusCode::URI_TOO_LONG,
        Code::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Code::NotFound
        | Code::QueueNotFound
        | Code::ConcertNotFound
        | Code::SeatNotFound
        | Code::BookingNotFound
        | Code::ScheduleNotFound
        | Code::DrawNotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::TokenMissing
        | Code::TokenMalformed
        | Code::TokenInvalid
        | Code::TokenExpired
        | Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden
        | Code::UserMismatch
        | Code::NotAdmitted
        | Code::WrongQueue
        | Code::QueueClosed
        | Code::PurchaseLimit => StatusCode::FORBIDDEN,
        Code::TurnEnded | Code::SaleClosed | Code::HoldExpired => StatusCode::GONE,
        Code::QueueExists
        | Code::ConcertHasBookings
        | Code::SeatTaken
        | Code::BookingNotHeld
        | Code::ScheduleDone
        | Code::ScheduleFull
        | Code::QueueInUse
        | Code::DrawExists
        | Code::DrawNotOpened => StatusCode::CONFLICT,
        Code::InsufficientBalance => StatusCode::PAYMENT_REQUIRED,
        Code::PolicyChanged => StatusCode::PRECONDITION_FAILED,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::QueueFull
        | Code::QueueRebuilding
        | Code::Overloaded
        | Code::Unavailable
        | Code::OutcomeUnknown => StatusCode::SERVICE_UNAVAILABLE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status of a code for a proxy, which tells two refusals apart: nobody can be told from the request, and he has no
/// turn. To anything else it would say that we are broken.
pub fn status_for_proxy(code: Code) -> StatusCode {
    match code {
        Code::DuplicateHeader => StatusCode::UNAUTHORIZED,
        Code::TurnEnded => StatusCode::FORBIDDEN,
        code => status(code),
    }
}

/// An error that waits in a response for the edge to write it out: only there is the request's id known.
#[derive(Clone)]
pub struct Pending(std::sync::Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = status(self.code()).into_response();
        response.extensions_mut().insert(Pending(std::sync::Arc::new(self)));
        response
    }
}

/// Writes out the error that a response carries, if it carries one, and logs it: once, here.
pub fn finish(mut response: Response, request_id: &HeaderValue, path: &str) -> Response {
    let Some(Pending(error)) = response.extensions_mut().remove::<Pending>() else {
        return response;
    };
    let request_id = request_id.to_str().unwrap_or_default();
    log(&error, request_id, path);
    let code = error.code();
    let status = response.status();
    if let Some(seconds) = retry_after(&error, status) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if response.headers().contains_key(header::CONTENT_TYPE) {
        // A page says it in its own words.
        return response;
    }
    let problem = Problem {
        kind: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: error.to_string(),
        code,
        request_id: request_id.to_owned(),
        retryable: status.is_server_error() && code != Code::Internal
            || matches!(code, Code::RateLimited | Code::NotAdmitted | Code::RequestTimeout),
        errors: match &*error {
            Error::InvalidFields { problems, .. } => Some(problems.clone()),
            _ => None,
        },
        taken: match &*error {
            Error::SeatsTaken { taken } => Some(taken.clone()),
            _ => None,
        },
        position: match &*error {
            Error::NotAdmitted { position, .. } => *position,
            _ => None,
        },
        queue: match &*error {
            Error::WrongQueue { queue } => Some(queue.to_string()),
            _ => None,
        },
        booking_result: (path == "/booking").then_some(code),
        payment_result: (path == "/payment").then_some(code),
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(code, Code::PayloadTooLarge | Code::RequestTimeout) {
        // The rest of the body is not read, so the connection is of no more use.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    *response.body_mut() = Body::from(body);
    response
}

/// Whole seconds, at least one: a client that is told 0 comes back at once.
fn retry_after(error: &Error, status: StatusCode) -> Option<u64> {
    match error {
        Error::NotAdmitted { retry_after, .. } | Error::Busy { retry_after, .. } => {
            Some(retry_after.as_millis().div_ceil(1_000).max(1) as u64)
        }
        _ if status == StatusCode::SERVICE_UNAVAILABLE
            || status == StatusCode::TOO_MANY_REQUESTS =>
        {
            Some(RETRY_AFTER_SECONDS)
        }
        _ => None,
    }
}

fn log(error: &Error, request_id: &str, path: &str) {
    let code = error.code();
    match error {
        Error::Internal { source, .. } => {
            tracing::error!(request.id = request_id, trace.id = spans::trace_id(), path, %code, source = %chain(source.as_ref()), "{error}");
        }
        Error::Unavailable { source, .. } | Error::OutcomeUnknown { source } => {
            tracing::warn!(request.id = request_id, trace.id = spans::trace_id(), path, %code, source = %chain(source.as_ref()), "{error}");
        }
        _ => {
            tracing::debug!(request.id = request_id, trace.id = spans::trace_id(), path, %code, "{error}");
        }
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
