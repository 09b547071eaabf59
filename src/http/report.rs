//! The report of a sale: the operators' view of `sql/report/`, with the line's own figures and the books beside it.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Operator, Path};
use crate::app::App;
use crate::clock::rfc3339;
use crate::error::Error;
use crate::ids::QueueName;
use crate::queue::LineState;
use crate::sql::check::Report;
use crate::sql::report::Sale;

/// What became of a sale.
#[derive(Debug, Serialize, ToSchema)]
pub struct SaleReport {
    pub queue: QueueName,
    #[schema(format = DateTime)]
    pub as_of: String,
    /// `rebuilding` while the state in Redis is in doubt: then `waiting` is old.
    pub state: LineState,
    /// Numbers handed out: those who wait, who left the line, and whose turn was opened.
    #[schema(minimum = 0)]
    pub joined: i64,
    #[schema(minimum = 0)]
    pub waiting: i64,
    #[serde(flatten)]
    #[schema(inline)]
    pub sale: Sale,
    /// The books, as `GET /admin/check` has them.
    pub check: Report,
}

/// What became of the sale of a queue: people, turns, holds, money, and the rate that was set and reached, by the minute.
#[utoipa::path(get, path = "/admin/queues/{name}/report", operation_id = "get_report", tag = "operators",
    params(("name" = QueueName, Path)),
    responses((status = 200, description = "The sale up to now", body = SaleReport)))]
pub async fn report(
    State(app): State<App>,
    _: Operator,
    Path(name): Path<QueueName>,
) -> Result<Json<SaleReport>, Error> {
    let line = app.queue.line(&name).await?;
    let detail = app.queue.detail(&line).await?;
    let now = app.clock.now_ms();
    let sale = app.sql.sale(line.queue().id, now).await?;
    Ok(Json(SaleReport {
        queue: name,
        as_of: rfc3339(now),
        state: detail.state,
        joined: detail.waiting + sale.left_line + sale.turns.opened,
        waiting: detail.waiting,
        sale,
        check: app.sql.check(now).await?,
    }))
}
