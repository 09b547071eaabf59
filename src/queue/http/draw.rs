//! The draw of a queue over HTTP: announce it, and see it.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::clock::rfc3339;
use crate::error::Error;
use crate::http::extract::{Operator, Path};
use crate::ids::{Epoch, QueueName};

/// How the order follows from the seed; `docs/DRAW.md` has it at length.
const ALGORITHM: &str = "usher-draw-1: draw number n takes part in the order as F(n), a four-round Feistel network \
    over 39 bits whose rounds are HMAC-SHA256 under the seed; the places are the draw numbers 1 to size in ascending \
    order of F(n). `scripts/verify-draw` recomputes them.";

/// Whether a draw can still be joined.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrawState {
    Announced,
    Opened,
}

/// A draw, as everybody may know it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DrawView {
    pub queue: QueueName,
    pub state: DrawState,
    /// SHA-256 of the seed's 32 bytes, in hex.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub commitment: String,
    #[schema(format = DateTime)]
    pub announced_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    pub opened_at: Option<String>,
    /// In hex, once nobody can join the draw any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^[0-9a-f]{64}$")]
    pub seed: Option<String>,
    /// How many were drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    pub size: Option<i64>,
    #[schema(minimum = 1, maximum = 8_191)]
    pub epoch: Epoch,
    /// How the order follows from the seed.
    pub algorithm: &'static str,
}

/// The draw that a queue opens with: its commitment, and after the opening the seed. Cacheable for a second.
#[utoipa::path(get, path = "/queues/{name}/draw", operation_id = "look_at_draw", tag = "queue", security(()),
    params(("name" = QueueName, Path)),
    responses((status = 200, description = "The draw", body = DrawView, headers(("Cache-Control" = String)))))]
pub async fn look(State(app): State<App>, Path(name): Path<QueueName>) -> Result<Response, Error> {
    let view = view(&app, name).await?;
    Ok(([(header::CACHE_CONTROL, "public, max-age=1")], Json(view)).into_response())
}

/// The draw of a queue: what everybody may know of it, and no more.
#[utoipa::path(get, path = "/admin/queues/{name}/draw", operation_id = "get_draw", tag = "operators",
    params(("name" = QueueName, Path)),
    responses((status = 200, description = "The draw", body = DrawView)))]
pub async fn show(
    State(app): State<App>,
    _: Operator,
    Path(name): Path<QueueName>,
) -> Result<Json<DrawView>, Error> {
    view(&app, name).await.map(Json)
}

/// Announce the draw of a queue that is paused and that nobody has ever joined.
///
/// The seed is made now and revealed when the queue opens. Publish the commitment before people join.
#[utoipa::path(post, path = "/admin/queues/{name}/draw", operation_id = "announce_draw", tag = "operators",
    params(("name" = QueueName, Path)),
    responses((status = 201, description = "The draw", body = DrawView)))]
pub async fn announce(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<QueueName>,
) -> Result<(StatusCode, Json<DrawView>), Error> {
    app.queue.announce_draw(&name, operator.0).await?;
    Ok((StatusCode::CREATED, Json(view(&app, name).await?)))
}

async fn view(app: &App, queue: QueueName) -> Result<DrawView, Error> {
    let (draw, size) = app.queue.draw(&queue).await?;
    Ok(DrawView {
        queue,
        state: if size.is_some() { DrawState::Opened } else { DrawState::Announced },
        commitment: draw.seed.commitment(),
        announced_at: rfc3339(draw.announced_at),
        opened_at: draw.opened_at.filter(|_| size.is_some()).map(rfc3339),
        seed: size.map(|_| draw.seed.hex()),
        size,
        epoch: draw.epoch,
        algorithm: ALGORITHM,
    })
}
