//! Holds over HTTP: book, look, cancel, leave, and the list of what a person bought.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Booking, BookingStatus, HoldSeats, SEATS_PARSED_MAX};
use crate::app::App;
use crate::clock::rfc3339;
use crate::error::{Code, Error};
use crate::http::extract::{
    Body, Json as JsonBody, MaybeKey, Owner, PageQuery, Path, Query, TokenAuth, User,
};
use crate::ids::{BookingId, ConcertId, SeatId, UserId};

/// A wish to hold seats.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldSeatsBody {
    pub user_id: UserId,
    pub concert_id: ConcertId,
    /// One or more seat ids, comma separated: `"10,11"`.
    #[schema(min_length = 1)]
    pub seat_no: String,
}

impl Body for HoldSeatsBody {}

/// What a client of the original specification reads.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum BookingResult {
    Held,
}

/// A booking as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct BookingView {
    /// On the answer to `POST /booking`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub booking_result: Option<BookingResult>,
    pub booking_id: BookingId,
    pub user_id: UserId,
    pub concert_id: ConcertId,
    pub status: BookingStatus,
    pub seats: Vec<SeatId>,
    /// Minor units.
    #[schema(minimum = 1)]
    pub amount: i64,
    /// Until when it can be paid.
    #[schema(format = DateTime)]
    pub expires_at: String,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
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
#[utoipa::path(post, path = "/booking", operation_id = "hold_seats", tag = "booking",
    security(("queue_token" = []), ("queue_token" = [], "identity" = [])), params(MaybeKey), request_body = HoldSeatsBody,
    responses((status = 201, description = "The seats are held", body = BookingView)))]
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
        confirmed: token.confirmed,
        concert: wish.concert_id,
        seats,
        key,
    };
    let bookings = app.booking.clone();
    let booking = app.detached(async move { bookings.hold(wish).await }).await?;
    let view = BookingView { booking_result: Some(BookingResult::Held), ..booking.into() };
    Ok((StatusCode::CREATED, Json(view)))
}

/// My booking.
#[utoipa::path(get, path = "/booking/{id}", operation_id = "get_booking", tag = "booking",
    security(("queue_token" = []), ("identity" = [])), params(("id" = BookingId, Path)),
    responses((status = 200, description = "The booking", body = BookingView)))]
pub async fn show(
    State(app): State<App>,
    Owner(user): Owner,
    Path(id): Path<BookingId>,
) -> Result<Json<BookingView>, Error> {
    Ok(Json(app.booking.booking(id, user).await?.into()))
}

/// Let a hold go. Gone already: 204 all the same.
#[utoipa::path(delete, path = "/booking/{id}", operation_id = "cancel_booking", tag = "booking",
    security(("queue_token" = []), ("identity" = [])), params(("id" = BookingId, Path)),
    responses((status = 204, description = "The seats are free again")))]
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
#[utoipa::path(delete, path = "/queue", operation_id = "leave_queue", tag = "queue", security(("queue_token" = [])),
    responses((status = 204, description = "The place is given back, also when it was before")))]
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
#[utoipa::path(get, path = "/users/{userId}/bookings", operation_id = "list_bookings", tag = "booking",
    security((), ("identity" = [])), params(("userId" = UserId, Path), PageQuery),
    responses((status = 200, description = "A page of bookings", body = BookingPage)))]
pub async fn of_user(
    State(app): State<App>,
    Path(user): Path<UserId>,
    identity: User,
    query: Query,
) -> Result<Json<BookingPage>, Error> {
    identity.reads(user)?;
    let page = query.page()?;
    let bookings: Vec<BookingView> = app
        .booking
        .of_user(user, page.limit, page.before)
        .await?
        .into_iter()
        .map(BookingView::from)
        .collect();
    let next = page.next(&bookings, |booking| booking.booking_id.0);
    Ok(Json(BookingPage { bookings, next }))
}

/// A page of bookings.
#[derive(Serialize, ToSchema)]
pub struct BookingPage {
    pub bookings: Vec<BookingView>,
    /// The `before` of the next page; `null` when this was the last.
    #[schema(required)]
    pub next: Option<i64>,
}
