//! Holds over HTTP: book, look, cancel, leave, and the list of what a person bought.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Booking, BookingStatus, HoldSeats, SEATS_PARSED_MAX};
use crate::app::App;
use crate::clock::rfc3339;
use crate::error::{Code, Error};
use crate::http::extract::{Body, Json as JsonBody, MaybeKey, Owner, Path, Query, TokenAuth, User};
use crate::http::reply::{Problem, page};
use crate::ids::{BookingId, ConcertId, SeatId, UserId};

/// A wish to hold seats.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldSeatsBody {
    #[schema(value_type = i64)]
    pub user_id: UserId,
    #[schema(value_type = i64)]
    pub concert_id: ConcertId,
    /// One or more seat ids, comma separated: `"10,11"`.
    pub seat_no: String,
}

impl Body for HoldSeatsBody {}

/// A booking as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct BookingView {
    /// `HELD` on the answer to `POST /booking`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub booking_result: Option<&'static str>,
    #[schema(value_type = i64)]
    pub booking_id: BookingId,
    #[schema(value_type = i64)]
    pub user_id: UserId,
    #[schema(value_type = i64)]
    pub concert_id: ConcertId,
    pub status: BookingStatus,
    #[schema(value_type = Vec<String>)]
    pub seats: Vec<SeatId>,
    /// Minor units.
    pub amount: i64,
    /// Until when it can be paid, RFC 3339.
    pub expires_at: String,
    pub created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<String>,
}

impl From<Booking> for BookingView {
    fn from(booking: Booking) -> Self {
        Self {
            booking_result: None,
            booking_id: booking.id,
            user_id: booking.user,
            concert_id: booking.concert,
            status: booking.status,
            seats: booking.seats,
            amount: booking.amount,
            expires_at: rfc3339(booking.expires_at),
            created_at: rfc3339(booking.made_at),
            paid_at: booking.paid_at.map(rfc3339),
        }
    }
}

/// Hold seats: all of them, or none.
///
/// Asking again for exactly the seats of one's own live hold returns that booking.
#[utoipa::path(post, path = "/booking", tag = "booking",
    params(("Token-Auth" = String, Header), ("Idempotency-Key" = Option<String>, Header)), request_body = HoldSeatsBody,
    responses((status = 201, body = BookingView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn hold(
    State(app): State<App>,
    TokenAuth(token): TokenAuth,
    identity: User,
    MaybeKey(key): MaybeKey,
    JsonBody(wish): JsonBody<HoldSeatsBody>,
) -> Result<(StatusCode, Json<BookingView>), Error> {
    identity.acts_for(wish.user_id)?;
    if token.user != wish.user_id {
        return Err(Error::refused(Code::UserMismatch, "this token belongs to another user"));
    }
    let seats = SeatId::parse_list(&wish.seat_no, SEATS_PARSED_MAX)?;
    let wish = HoldSeats {
        queue: token.queue,
        user: token.user,
        number: token.number,
        concert: wish.concert_id,
        seats,
        key,
    };
    let bookings = app.booking.clone();
    let booking = app.detached(async move { bookings.hold(wish).await }).await?;
    let view = BookingView { booking_result: Some("HELD"), ..booking.into() };
    Ok((StatusCode::CREATED, Json(view)))
}

/// My booking.
#[utoipa::path(get, path = "/booking/{id}", tag = "booking", params(("id" = i64, Path), ("Token-Auth" = String, Header)),
    responses((status = 200, body = BookingView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn show(
    State(app): State<App>,
    Owner(user): Owner,
    Path(id): Path<BookingId>,
) -> Result<Json<BookingView>, Error> {
    Ok(Json(app.booking.booking(id, user).await?.into()))
}

/// Let a hold go. Gone already: 204 all the same.
#[utoipa::path(delete, path = "/booking/{id}", tag = "booking", params(("id" = i64, Path), ("Token-Auth" = String, Header)),
    responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn cancel(
    State(app): State<App>,
    Owner(user): Owner,
    Path(id): Path<BookingId>,
) -> Result<StatusCode, Error> {
    let bookings = app.booking.clone();
    app.detached(async move { bookings.cancel(id, user).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give the place or the turn back; unpaid holds in that queue are cancelled.
#[utoipa::path(delete, path = "/queue", tag = "queue", params(("Token-Auth" = String, Header)),
    responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn leave(
    State(app): State<App>,
    TokenAuth(token): TokenAuth,
) -> Result<StatusCode, Error> {
    let bookings = app.booking.clone();
    app.detached(async move { bookings.leave(&token.queue, token.user, token.number).await })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a user booked, newest first.
#[utoipa::path(get, path = "/users/{userId}/bookings", tag = "booking",
    params(("userId" = i64, Path), ("limit" = Option<i64>, Query), ("before" = Option<i64>, Query)),
    responses((status = 200, body = BookingPage), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn of_user(
    State(app): State<App>,
    Path(user): Path<UserId>,
    identity: User,
    query: Query,
) -> Result<Response, Error> {
    identity.reads(user)?;
    let (limit, before) = query.page()?;
    let bookings: Vec<BookingView> = app
        .booking
        .of_user(user, limit, before)
        .await?
        .into_iter()
        .map(BookingView::from)
        .collect();
    let last = bookings.last().map(|booking| booking.booking_id.0);
    Ok(page("bookings", &bookings, limit, last).into_response())
}

/// A page of bookings.
#[derive(Serialize, ToSchema)]
pub struct BookingPage {
    pub bookings: Vec<BookingView>,
    pub next: Option<i64>,
}
