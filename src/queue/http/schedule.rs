//! The schedule of a queue over HTTP: list, add, change, cancel.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::error::Error;
use crate::http::extract::{AdminJson, Body, Operator, PageQuery, Path, Query};
use crate::ids::{EntryId, QueueName};
use crate::queue::schedule::{Entry, ScheduleTune};

impl Body for ScheduleTune {}

/// The schedule of a queue.
#[derive(Serialize, ToSchema)]
pub struct ScheduleView {
    /// In the order in which they will be made.
    pub pending: Vec<Entry>,
    /// A page of those that are done, the newest entry first.
    pub done: Vec<Entry>,
    /// The `before` of the next page; `null` when this was the last.
    #[schema(required)]
    pub next: Option<i64>,
}

/// What is planned for a queue, and what became of earlier plans.
#[utoipa::path(get, path = "/admin/queues/{name}/schedule", operation_id = "list_schedule", tag = "operators",
    params(("name" = QueueName, Path), PageQuery),
    responses((status = 200, description = "What is pending, and a page of what is done", body = ScheduleView)))]
pub async fn list(
    State(app): State<App>,
    _: Operator,
    Path(name): Path<QueueName>,
    query: Query,
) -> Result<Json<ScheduleView>, Error> {
    let page = query.page()?;
    let (pending, done) = app.queue.schedule(&name, page.limit, page.before).await?;
    let next = page.next(&done, |entry| entry.entry_id.0);
    Ok(Json(ScheduleView { pending, done, next }))
}

/// Plan a change of the policy.
#[utoipa::path(post, path = "/admin/queues/{name}/schedule", operation_id = "add_to_schedule", tag = "operators",
    params(("name" = QueueName, Path)), request_body = ScheduleTune,
    responses((status = 201, description = "The new entry", body = Entry)))]
pub async fn add(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<QueueName>,
    AdminJson(plan): AdminJson<ScheduleTune>,
) -> Result<(StatusCode, Json<Entry>), Error> {
    let entry = app.queue.add_to_schedule(&name, plan, operator.0).await?;
    Ok((StatusCode::CREATED, Json(entry)))
}

/// Put another plan in the place of a pending one.
#[utoipa::path(put, path = "/admin/queues/{name}/schedule/{id}", operation_id = "change_schedule", tag = "operators",
    params(("name" = QueueName, Path), ("id" = EntryId, Path)), request_body = ScheduleTune,
    responses((status = 200, description = "The entry as it is now", body = Entry)))]
pub async fn change(
    State(app): State<App>,
    operator: Operator,
    Path((name, id)): Path<(QueueName, EntryId)>,
    AdminJson(plan): AdminJson<ScheduleTune>,
) -> Result<Json<Entry>, Error> {
    Ok(Json(app.queue.change_schedule((&name, id), plan, operator.0).await?))
}

/// Cancel a pending entry; twice is once.
#[utoipa::path(delete, path = "/admin/queues/{name}/schedule/{id}", operation_id = "cancel_schedule", tag = "operators",
    params(("name" = QueueName, Path), ("id" = EntryId, Path)),
    responses((status = 204, description = "It will not be made")))]
pub async fn cancel(
    State(app): State<App>,
    operator: Operator,
    Path((name, id)): Path<(QueueName, EntryId)>,
) -> Result<StatusCode, Error> {
    app.queue.cancel_schedule((&name, id), operator.0).await?;
    Ok(StatusCode::NO_CONTENT)
}
