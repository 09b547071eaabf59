//! What operators do to queues, over HTTP: make, tune, admit by hand, read the audit.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::error::Error;
use crate::http::extract::{AdminJson, Body, MaybeKey, Operator, PageQuery, Path, Query, single};
use crate::ids::QueueName;
use crate::queue::operators::{Granted, QueueDetail};
use crate::queue::policy::{PolicyView, TunePolicy};
use crate::queue::sql::{Expected, Queue};
use crate::sql::audit::AuditEntry;

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
    Ok(Json(QueueList { queues: app.queue.details().await? }))
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
