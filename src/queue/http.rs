//! The line over HTTP: join, poll, look; and the operators' side of it.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::operators::{Granted, QueueDetail};
use super::policy::{Mode, PolicyView, TunePolicy};
use super::sql::{Expected, Queue};
use super::{Place, Reason, Status};
use crate::app::App;
use crate::auth::QueueToken;
use crate::clock::rfc3339;
use crate::concert::TierSums;
use crate::error::{Code, Error};
use crate::http::extract::{
    AdminJson, Body, MaybeKey, Operator, PageQuery, Path, Query, TokenAuth, User, single,
};
use crate::ids::{ConcertId, QueueName, UserId};
use crate::sql::audit::AuditEntry;

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
    /// 1 is next. Absent while the queue is rebuilt, and when active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    pub position: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    pub eta_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    pub eta_low_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    pub eta_high_seconds: Option<i64>,
    /// Why it does not move.
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
    fn new(place: &Place, token_id: Option<String>) -> Self {
        let mut view = Self {
            token_id,
            status: PlaceStatus::Waiting,
            queue: place.queue.clone(),
            position: None,
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
    if let Some((token, sent)) = own_token(&app, &headers, user, &queue)? {
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
    let queues = app.queue.clone();
    let place = app.detached(async move { queues.join(&queue, user).await }).await?;
    let token_id = app.sign(user, &place)?;
    Ok(Json(PlaceView::new(&place, Some(token_id))))
}

/// The token that came with a join, if it is this person's, of this queue, and still good. Any other is ignored: the
/// join does not depend on it.
fn own_token(
    app: &App,
    headers: &HeaderMap,
    user: UserId,
    queue: &QueueName,
) -> Result<Option<(QueueToken, String)>, Error> {
    let Some(sent) = single(headers, "token-auth")? else { return Ok(None) };
    let token = app.tokens.verify(sent, app.clock.now_ms()).ok();
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
        serving_number: figures.serving.0,
        rate_per_second: queue.policy.rate_per_second,
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

impl Body for TunePolicy {}

/// How many turns to grant by hand.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdmitByHand {
    #[schema(minimum = 1, maximum = 100_000)]
    pub count: i64,
}

impl Body for AdmitByHand {}

/// Every queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueList {
    pub queues: Vec<QueueDetail>,
}

/// Every queue with its policy and figures.
#[utoipa::path(get, path = "/admin/queues", operation_id = "list_queues", tag = "operators",
    responses((status = 200, description = "All of them", body = QueueList)))]
pub async fn list(State(app): State<App>, _: Operator) -> Result<Json<QueueList>, Error> {
    let mut queues = Vec::new();
    for line in app.queue.lines() {
        queues.push(app.queue.detail(&line).await?);
    }
    Ok(Json(QueueList { queues }))
}

/// Make a queue. What its policy does not name has the default; the body may be left out, too.
#[utoipa::path(post, path = "/admin/queues/{name}", operation_id = "create_queue", tag = "operators",
    params(("name" = QueueName, Path)), request_body = TunePolicy,
    responses((status = 201, description = "The new queue", body = QueueDetail)))]
pub async fn create(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<QueueName>,
    policy: Option<AdminJson<TunePolicy>>,
) -> Result<(StatusCode, Json<QueueDetail>), Error> {
    let policy = policy.map(|AdminJson(policy)| policy).unwrap_or_default();
    let line = app.queue.create(&name, policy, operator.0).await?;
    Ok((StatusCode::CREATED, Json(app.queue.detail(&line).await?)))
}

/// A queue with its policy and figures.
#[utoipa::path(get, path = "/admin/queues/{name}", operation_id = "get_queue", tag = "operators", params(("name" = QueueName, Path)),
    responses((status = 200, description = "The queue", body = QueueDetail)))]
pub async fn show(
    State(app): State<App>,
    _: Operator,
    Path(name): Path<QueueName>,
) -> Result<Json<QueueDetail>, Error> {
    let line = app.queue.line(&name).await?;
    Ok(Json(app.queue.detail(&line).await?))
}

/// The whole policy of a queue.
#[utoipa::path(get, path = "/admin/queues/{name}/policy", operation_id = "get_policy", tag = "operators",
    params(("name" = QueueName, Path)),
    responses((status = 200, description = "The policy", body = PolicyView, headers(("ETag" = String, description = "for `If-Match`")))))]
pub async fn show_policy(
    State(app): State<App>,
    _: Operator,
    Path(name): Path<QueueName>,
) -> Result<Response, Error> {
    Ok(policy(&app.queue.reread_line(&name).await?.queue()))
}

/// Change any of the policy's fields. With `If-Match`, only if nobody changed it since.
#[utoipa::path(put, path = "/admin/queues/{name}/policy", operation_id = "tune_policy", tag = "operators",
    params(("name" = QueueName, Path), ("If-Match" = Option<String>, Header, nullable = false, description = "change only the policy with this tag")),
    request_body = TunePolicy,
    responses((status = 200, description = "The whole policy", body = PolicyView, headers(("ETag" = String, description = "for `If-Match`")))))]
pub async fn tune(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<QueueName>,
    headers: HeaderMap,
    AdminJson(change): AdminJson<TunePolicy>,
) -> Result<Response, Error> {
    let expected = expected(&headers)?;
    let queue = app.queue.tune(&name, change, expected, operator.0).await?;
    Ok(policy(&queue))
}

/// The same as `PUT`.
#[utoipa::path(patch, path = "/admin/queues/{name}/policy", operation_id = "patch_policy", tag = "operators",
    params(("name" = QueueName, Path), ("If-Match" = Option<String>, Header, nullable = false, description = "change only the policy with this tag")),
    request_body = TunePolicy,
    responses((status = 200, description = "The whole policy", body = PolicyView, headers(("ETag" = String, description = "for `If-Match`")))))]
pub async fn tune_by_patch(
    state: State<App>,
    operator: Operator,
    name: Path<QueueName>,
    headers: HeaderMap,
    change: AdminJson<TunePolicy>,
) -> Result<Response, Error> {
    tune(state, operator, name, headers, change).await
}

/// Grant turns by hand: rate and mode do not apply, the cap does.
#[utoipa::path(post, path = "/admin/queues/{name}/admit", operation_id = "admit_by_hand", tag = "operators",
    params(("name" = QueueName, Path), MaybeKey), request_body = AdmitByHand,
    responses((status = 200, description = "What was granted", body = Granted)))]
pub async fn admit(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<QueueName>,
    MaybeKey(key): MaybeKey,
    AdminJson(wish): AdminJson<AdmitByHand>,
) -> Result<Json<Granted>, Error> {
    Ok(Json(app.queue.grant_by_hand(&name, wish.count, key, operator.0).await?))
}

/// What operators did, newest first.
#[utoipa::path(get, path = "/admin/audit", operation_id = "list_audit", tag = "operators",
    params(("queue" = Option<String>, Query, description = "only this queue", pattern = "^[a-z0-9-]{1,32}$"), PageQuery),
    responses((status = 200, description = "A page of the trail", body = AuditPage)))]
pub async fn audit(
    State(app): State<App>,
    _: Operator,
    query: Query,
) -> Result<Json<AuditPage>, Error> {
    let page = query.page()?;
    let entries = app.queue.audit(query.queue()?.as_ref(), page.limit, page.before).await?;
    let next = page.next(&entries, |entry| entry.audit_id);
    Ok(Json(AuditPage { entries, next }))
}

/// A page of the audit.
#[derive(Serialize, ToSchema)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// The `before` of the next page; `null` when this was the last.
    #[schema(required)]
    pub next: Option<i64>,
}

/// The whole policy, with the tag that `If-Match` wants.
fn policy(queue: &Queue) -> Response {
    ([(header::ETAG, format!("\"v{}\"", queue.version))], Json(PolicyView::from(&queue.policy)))
        .into_response()
}

fn expected(headers: &HeaderMap) -> Result<Expected, Error> {
    match single(headers, "if-match")? {
        None | Some("*") => Ok(Expected::Any),
        Some(tag) => {
            let version =
                tag.trim_matches('"').strip_prefix('v').and_then(|version| version.parse().ok());
            // A tag that we never gave matches no version.
            Ok(Expected::Version(version.unwrap_or(0)))
        }
    }
}
