//! Money over HTTP: pay, look at a balance, add to it, read its history.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{PayBooking, TopUp, Transfer, TransferKind};
use crate::app::App;
use crate::clock::rfc3339;
use crate::error::{Code, Error};
use crate::http::extract::{Body, Json as JsonBody, MaybeKey, MaybeTokenAuth, Path, Query, User};
use crate::http::reply::{Problem, page};
use crate::ids::{BookingId, UserId};

/// A wish to pay for a booking.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayBookingBody {
    #[schema(value_type = i64)]
    pub user_id: UserId,
    #[schema(value_type = i64)]
    pub booking_id: BookingId,
}

impl Body for PayBookingBody {}

/// The receipt of a payment: the same however often it is asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Receipt {
    /// `PAID`.
    pub payment_result: &'static str,
    pub payment_id: i64,
    pub user_id: i64,
    pub booking_id: i64,
    /// Minor units.
    pub amount: i64,
    /// The balance right after this payment.
    pub balance: i64,
    pub paid_at: String,
}

/// Pay for a booking, once.
#[utoipa::path(post, path = "/payment", tag = "payment",
    params(("Token-Auth" = String, Header), ("Idempotency-Key" = Option<String>, Header)), request_body = PayBookingBody,
    responses((status = 200, body = Receipt), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn pay(
    State(app): State<App>,
    MaybeTokenAuth(token): MaybeTokenAuth,
    identity: User,
    MaybeKey(key): MaybeKey,
    JsonBody(wish): JsonBody<PayBookingBody>,
) -> Result<Json<Receipt>, Error> {
    identity.acts_for(wish.user_id)?;
    match token {
        Some(token) if token.user != wish.user_id => {
            return Err(Error::refused(Code::UserMismatch, "this token belongs to another user"));
        }
        None if !identity.is_identified() => {
            return Err(Error::refused(Code::TokenMissing, "send the queue token in `Token-Auth`"));
        }
        _ => {}
    }
    let wish = PayBooking { user: wish.user_id, booking: wish.booking_id, key };
    let payments = app.payment.clone();
    let booking_id = wish.booking.0;
    let receipt = app.detached(async move { payments.pay(&wish).await }).await?;
    Ok(Json(Receipt {
        payment_result: "PAID",
        payment_id: receipt.id,
        user_id: receipt.user.0,
        booking_id,
        amount: receipt.amount,
        balance: receipt.balance_after,
        paid_at: rfc3339(receipt.at),
    }))
}

/// A balance. The original wants the user id as a string here.
#[derive(Debug, Serialize, ToSchema)]
pub struct BalanceView {
    pub user_id: String,
    /// Minor units.
    pub balance: i64,
}

/// A balance; somebody without an account has 0.
#[utoipa::path(get, path = "/balance/{userId}", tag = "payment", params(("userId" = i64, Path)),
    responses((status = 200, body = BalanceView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn balance(
    State(app): State<App>,
    Path(user): Path<UserId>,
    identity: User,
) -> Result<Json<BalanceView>, Error> {
    identity.reads(user)?;
    let balance = app.payment.balance(user).await?;
    Ok(Json(BalanceView { user_id: user.to_string(), balance }))
}

/// A wish to add money.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopUpBody {
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// The amount to add, in minor units.
    pub balance: i64,
}

impl Body for TopUpBody {
    fn code_of(pointer: &str) -> Code {
        if pointer == "/balance" { Code::InvalidAmount } else { Code::InvalidField }
    }
}

/// Add to a balance. With an `Idempotency-Key`, once.
#[utoipa::path(post, path = "/balance", tag = "payment", params(("Idempotency-Key" = Option<String>, Header)),
    request_body = TopUpBody,
    responses((status = 200, body = BalanceView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn top_up(
    State(app): State<App>,
    identity: User,
    MaybeKey(key): MaybeKey,
    JsonBody(wish): JsonBody<TopUpBody>,
) -> Result<Json<BalanceView>, Error> {
    identity.acts_for(wish.user_id)?;
    identity.may_charge()?;
    if identity.is_identified() && key.is_none() {
        return Err(Error::refused(
            Code::IdempotencyKeyMissing,
            "send an `Idempotency-Key`: charging twice must not be possible",
        ));
    }
    let wish = TopUp { user: wish.user_id, amount: wish.balance, key };
    let payments = app.payment.clone();
    let transfer = app.detached(async move { payments.top_up(&wish).await }).await?;
    Ok(Json(BalanceView { user_id: transfer.user.to_string(), balance: transfer.balance_after }))
}

/// One movement of money.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntryView {
    pub entry_id: i64,
    #[serde(rename = "type")]
    pub kind: TransferKind,
    /// Always positive: the type says which way it went.
    pub amount: i64,
    pub balance_after: i64,
    pub at: String,
    /// The booking of a purchase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub booking_id: Option<i64>,
}

impl From<Transfer> for EntryView {
    fn from(transfer: Transfer) -> Self {
        let purchase = transfer.kind == TransferKind::Purchase;
        Self {
            entry_id: transfer.id,
            kind: transfer.kind,
            amount: transfer.amount,
            balance_after: transfer.balance_after,
            at: rfc3339(transfer.at),
            booking_id: transfer.reference.parse().ok().filter(|_| purchase),
        }
    }
}

/// Every movement of a person's money, newest first.
#[utoipa::path(get, path = "/balance/{userId}/history", tag = "payment",
    params(("userId" = i64, Path), ("limit" = Option<i64>, Query), ("before" = Option<i64>, Query)),
    responses((status = 200, body = EntryPage), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn history(
    State(app): State<App>,
    Path(user): Path<UserId>,
    identity: User,
    query: Query,
) -> Result<Response, Error> {
    identity.reads(user)?;
    let (limit, before) = query.page()?;
    let entries: Vec<EntryView> =
        app.payment.history(user, limit, before).await?.into_iter().map(EntryView::from).collect();
    let last = entries.last().map(|entry| entry.entry_id);
    Ok(page("entries", &entries, limit, last).into_response())
}

/// A page of movements.
#[derive(Serialize, ToSchema)]
pub struct EntryPage {
    pub entries: Vec<EntryView>,
    pub next: Option<i64>,
}
