//! Money over HTTP: pay, look at a balance, add to it, read its history.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{PayBooking, TopUp, Transfer, TransferKind};
use crate::app::App;
use crate::clock::rfc3339;
use crate::error::{Code, Error};
use crate::http::extract::{
    Body, Json as JsonBody, MaybeKey, MaybeTokenAuth, PageQuery, Path, Query, User,
};
use crate::ids::{BookingId, UserId};

/// A wish to pay for a booking.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayBookingBody {
    pub user_id: UserId,
    pub booking_id: BookingId,
}

impl Body for PayBookingBody {}

/// What a client of the original specification reads.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PaymentResult {
    Paid,
}

/// The receipt of a payment: the same however often it is asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Receipt {
    pub payment_result: PaymentResult,
    #[schema(minimum = 1)]
    pub payment_id: i64,
    pub user_id: UserId,
    pub booking_id: BookingId,
    /// Minor units.
    #[schema(minimum = 1)]
    pub amount: i64,
    /// The balance right after this payment.
    #[schema(minimum = 0)]
    pub balance: i64,
    #[schema(format = DateTime)]
    pub paid_at: String,
}

/// Pay for a booking, once.
#[utoipa::path(post, path = "/payment", operation_id = "pay_booking", tag = "payment",
    security(("queue_token" = []), ("identity" = [])), params(MaybeKey), request_body = PayBookingBody,
    responses((status = 200, description = "Paid; a repetition gets the same receipt", body = Receipt)))]
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
    let booking_id = wish.booking;
    let receipt = app.detached(async move { payments.pay(wish).await }).await?;
    Ok(Json(Receipt {
        payment_result: PaymentResult::Paid,
        payment_id: receipt.id,
        user_id: receipt.user,
        booking_id,
        amount: receipt.amount,
        balance: receipt.balance_after,
        paid_at: rfc3339(receipt.at),
    }))
}

/// A balance. The original wants the user id as a string here.
#[derive(Debug, Serialize, ToSchema)]
pub struct BalanceView {
    #[schema(pattern = "^[1-9][0-9]{0,15}$")]
    pub user_id: String,
    /// Minor units.
    #[schema(minimum = 0)]
    pub balance: i64,
}

/// A balance; somebody without an account has 0.
#[utoipa::path(get, path = "/balance/{userId}", operation_id = "get_balance", tag = "payment",
    security((), ("identity" = [])), params(("userId" = UserId, Path)),
    responses((status = 200, description = "The balance", body = BalanceView)))]
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
    pub user_id: UserId,
    /// The amount to add, in minor units.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub balance: i64,
}

impl Body for TopUpBody {
    fn code_of(pointer: &str) -> Code {
        if pointer == "/balance" { Code::InvalidAmount } else { Code::InvalidField }
    }
}

/// Add to a balance. With an `Idempotency-Key`, once.
#[utoipa::path(post, path = "/balance", operation_id = "top_up", tag = "payment", security((), ("identity" = [])),
    params(MaybeKey), request_body = TopUpBody,
    responses((status = 200, description = "The balance right after it", body = BalanceView)))]
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
    #[schema(minimum = 0)]
    pub balance_after: i64,
    #[schema(format = DateTime)]
    pub at: String,
    /// The booking of a purchase.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
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
#[utoipa::path(get, path = "/balance/{userId}/history", operation_id = "list_transfers", tag = "payment",
    security((), ("identity" = [])), params(("userId" = UserId, Path), PageQuery),
    responses((status = 200, description = "A page of movements", body = EntryPage)))]
pub async fn history(
    State(app): State<App>,
    Path(user): Path<UserId>,
    identity: User,
    query: Query,
) -> Result<Json<EntryPage>, Error> {
    identity.reads(user)?;
    let page = query.page()?;
    let entries: Vec<EntryView> = app
        .payment
        .history(user, page.limit, page.before)
        .await?
        .into_iter()
        .map(EntryView::from)
        .collect();
    let next = page.next(&entries, |entry| entry.entry_id);
    Ok(Json(EntryPage { entries, next }))
}

/// A page of movements.
#[derive(Serialize, ToSchema)]
pub struct EntryPage {
    pub entries: Vec<EntryView>,
    /// The `before` of the next page; `null` when this was the last.
    #[schema(required)]
    pub next: Option<i64>,
}
