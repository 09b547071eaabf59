//! The line over HTTP, as buyers reach it: join, poll, look. A place that tells of itself is in `events.rs`, what proxies
//! ask in `verify.rs`, the operators' side in `operators.rs`.

pub mod draw;
pub mod events;
pub mod operators;
pub mod schedule;
pub mod verify;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::policy::Mode;
use super::{Place, Reason, Status};
use crate::app::App;
use crate::auth::QueueToken;
use crate::clock::rfc3339;
use crate::concert::TierSums;
use crate::error::{Code, Error};
use crate::http::extract::{Path, Query, TokenAuth, User, single};
use crate::ids::{ConcertId, QueueName, UserId};

/// Whether somebody is in line or has the turn.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlaceStatus {
    Waiting,
    Active,
}

/// A place in line, or a turn.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlaceView {
    /// The queue token: send it as `Token-Auth`. `GET /queue` shows it only when it was signed anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub token_id: Option<String>,
    pub status: PlaceStatus,
    pub queue: QueueName,
    /// 1 is next. Absent while the queue is rebuilt, before a draw is opened, and when active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    pub position: Option<i64>,
    /// As which one came to the draw that the queue opens with, from 1. Absent for who came after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    pub draw_number: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    pub eta_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    pub eta_low_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    pub eta_high_seconds: Option<i64>,
    /// Why it does not move, or more slowly than the rate says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<Reason>,
    /// When to ask again. Advice: an early poll is answered like any other.
    #[schema(minimum = 0)]
    pub poll_after_ms: i64,
    /// When active: until when seats can be held.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    pub expires_at: Option<String>,
}

impl PlaceView {
    pub fn new(place: &Place, token_id: Option<String>) -> Self {
        let mut view = Self {
            token_id,
            status: PlaceStatus::Waiting,
            queue: place.queue.clone(),
            position: None,
            draw_number: place.draw_number,
            eta_seconds: None,
            eta_low_seconds: None,
            eta_high_seconds: None,
            reason: place.reason,
            poll_after_ms: 0,
            expires_at: None,
        };
        match place.status {
            Status::Waiting { position, eta, poll_after_ms } => {
                view.position = position;
                view.eta_seconds = eta.map(|eta| eta.seconds);
                view.eta_low_seconds = eta.map(|eta| eta.low);
                view.eta_high_seconds = eta.map(|eta| eta.high);
                view.poll_after_ms = poll_after_ms;
            }
            Status::Active { expires_at, poll_after_ms } => {
                view.status = PlaceStatus::Active;
                view.expires_at = Some(rfc3339(expires_at));
                view.poll_after_ms = poll_after_ms;
            }
        }
        view
    }
}

/// Join a queue, or ask for one's place in it.
///
/// Asked again, it returns the same place. With a valid `Token-Auth` it is a poll first, so that nobody loses a place
/// by asking for a token again.
#[utoipa::path(get, path = "/token/{userId}", operation_id = "join_queue", tag = "queue", security((), ("identity" = [])),
    params(("userId" = UserId, Path), ("queue" = Option<String>, Query, description = "another queue than `main`",
        pattern = "^[a-z0-9-]{1,32}$"), ("Token-Auth" = Option<String>, Header, nullable = false, description = "one's token, if there is one")),
    responses((status = 200, description = "The place, with its token", body = PlaceView)))]
pub async fn join(
    State(app): State<App>,
    Path(user): Path<UserId>,
    query: Query,
    identity: User,
    headers: HeaderMap,
) -> Result<Json<PlaceView>, Error> {
    identity.acts_for(user)?;
    let queue = query.queue()?.unwrap_or_else(QueueName::main);
    if let Some((token, sent)) = own_token(&app, &headers, user, &queue).await? {
        match app.queue.poll(&queue, user, token.number, token.confirmed).await {
            Ok(place) => {
                let kept = !token.stale && token.confirmed == place.confirmed;
                let token_id = if kept { sent } else { app.sign(user, &place)? };
                return Ok(Json(PlaceView::new(&place, Some(token_id))));
            }
            Err(error) if error.code() == Code::TurnEnded => {}
            Err(error) => return Err(error),
        }
    }
    let place = app.queue.join(&queue, user).await?;
    let token_id = app.sign(user, &place)?;
    Ok(Json(PlaceView::new(&place, Some(token_id))))
}

/// The token that came with a join, if it is this person's, of this queue, and still good. Any other is ignored: the
/// join does not depend on it.
async fn own_token(
    app: &App,
    headers: &HeaderMap,
    user: UserId,
    queue: &QueueName,
) -> Result<Option<(QueueToken, String)>, Error> {
    let Some(sent) = single(headers, "token-auth")? else { return Ok(None) };
    let token = app.verify(sent).await.ok();
    Ok(token
        .filter(|token| token.user == user && token.queue == *queue)
        .map(|token| (token, sent.to_owned())))
}

/// Where I stand. The hot path.
#[utoipa::path(get, path = "/queue", operation_id = "get_place", tag = "queue", security(("queue_token" = [])),
    responses((status = 200, description = "The place; `token_id` only when it was signed anew", body = PlaceView)))]
pub async fn poll(
    State(app): State<App>,
    TokenAuth(token): TokenAuth,
) -> Result<Json<PlaceView>, Error> {
    let place = app.queue.poll(&token.queue, token.user, token.number, token.confirmed).await?;
    let kept = !token.stale && token.confirmed == place.confirmed;
    let token_id = if kept { None } else { Some(app.sign(token.user, &place)?) };
    Ok(Json(PlaceView::new(&place, token_id)))
}

/// A queue as everybody may see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueView {
    pub name: QueueName,
    pub mode: Mode,
    /// Why people wait although they might expect to move.
    #[schema(required)]
    pub reason: Option<Reason>,
    pub message: String,
    /// People waiting.
    #[schema(minimum = 0)]
    pub waiting: i64,
    /// The highest number admitted.
    pub serving_number: i64,
    /// The rate in force.
    pub rate_per_second: f64,
    /// Seats left and prices, by tier, of the concerts that this queue sells.
    pub concerts: Vec<StockView>,
}

/// What a concert has left, by tier.
#[derive(Debug, Serialize, ToSchema)]
pub struct StockView {
    pub concert_id: ConcertId,
    #[schema(minimum = 0)]
    pub seats_free: i64,
    pub tiers: Vec<TierSums>,
}

/// A queue, for everybody. Cacheable for a second.
#[utoipa::path(get, path = "/queues/{name}", operation_id = "look_at_queue", tag = "queue", security(()),
    params(("name" = QueueName, Path)),
    responses((status = 200, description = "The queue", body = QueueView, headers(("Cache-Control" = String)))))]
pub async fn look(State(app): State<App>, Path(name): Path<QueueName>) -> Result<Response, Error> {
    let line = app.queue.look(&name).await?;
    let queue = line.queue();
    let figures = line.snapshot().figures;
    let concerts = app.concert.tiers_of(&name).await?;
    let view = QueueView {
        name: name.clone(),
        mode: queue.policy.mode,
        reason: line.reason(app.clock.now_ms()),
        message: queue.policy.message.clone(),
        waiting: figures.waiting,
        serving_number: line.counted(figures.serving).0,
        rate_per_second: queue.rate_at(app.clock.now_ms()),
        concerts: concerts
            .iter()
            .map(|sums| StockView {
                concert_id: sums.concert_id,
                seats_free: sums.seats_free,
                tiers: sums.tiers.clone(),
            })
            .collect(),
    };
    Ok(([(header::CACHE_CONTROL, "public, max-age=1")], Json(view)).into_response())
}
