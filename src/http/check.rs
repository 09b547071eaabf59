//! The books, checked on demand: the operators' view of `sql/check.rs`.

use axum::Json;
use axum::extract::State;

use super::extract::Operator;
use crate::app::App;
use crate::error::Error;
use crate::sql::check::Report;

/// Check every promise that the database can prove: no seat sold twice, no debit without its booking, the cap kept.
#[utoipa::path(get, path = "/admin/check", operation_id = "check_books", tag = "operators",
    responses((status = 200, description = "What was found", body = Report)))]
pub async fn check(State(app): State<App>, _: Operator) -> Result<Json<Report>, Error> {
    Ok(Json(app.sql.check(app.clock.now_ms()).await?))
}
