//! The catalogue over HTTP, for buyers and for operators.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::hall::ConcertDetail;
use super::listing::{ConcertsView, SeatLetters};
use super::sql::ConcertSums;
use super::{ChangeConcert, CreateConcert};
use crate::app::App;
use crate::error::{Code, Error};
use crate::http::extract::{AdminJson, Body, Operator, Path, Query};
use crate::ids::{ConcertId, QueueName};

/// Concerts that have not started, with their seats.
#[utoipa::path(get, path = "/concerts", operation_id = "list_concerts", tag = "concert", security(()),
    params(("concert_id" = Option<i64>, Query, description = "only this one", minimum = 1, maximum = 9007199254740991_i64)),
    responses((status = 200, description = "The concerts", body = ConcertsView), (status = 304, description = "Nothing changed")))]
pub async fn list(
    State(app): State<App>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let concert = query.concert()?;
    let listing = app.concert.listing().await?;
    match concert {
        None => Ok(listing.all.answer(&headers)),
        Some(id) => {
            listing.each.get(&id).map(|page| page.answer(&headers)).ok_or_else(|| not_on_sale(id))
        }
    }
}

/// A concert: what does not change. Also after its start.
#[utoipa::path(get, path = "/concerts/{id}", operation_id = "get_concert", tag = "concert", security(()),
    params(("id" = ConcertId, Path)),
    responses((status = 200, description = "The concert", body = ConcertDetail), (status = 304, description = "Nothing changed")))]
pub async fn show(
    State(app): State<App>,
    Path(id): Path<ConcertId>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let concert = app.concert.concert(id).await?;
    let hall = app.concert.hall(id).await?;
    Ok(hall.page(&concert)?.answer(&headers))
}

/// One letter a seat: what a seat map asks for again and again.
#[utoipa::path(get, path = "/concerts/{id}/seats", operation_id = "get_seats", tag = "concert", security(()),
    params(("id" = ConcertId, Path)),
    responses((status = 200, description = "The seats", body = SeatLetters), (status = 304, description = "Nothing changed")))]
pub async fn seats(
    State(app): State<App>,
    Path(id): Path<ConcertId>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let listing = app.concert.listing().await?;
    listing.letters.get(&id).map(|page| page.answer(&headers)).ok_or_else(|| not_on_sale(id))
}

fn not_on_sale(id: ConcertId) -> Error {
    Error::refused(Code::ConcertNotFound, format!("no concert {id} is on sale"))
}

impl Body for CreateConcert {}
impl Body for ChangeConcert {}

/// Every concert, for operators.
#[derive(Serialize, ToSchema)]
pub struct ConcertList {
    pub concerts: Vec<ConcertSums>,
}

/// A concert that was made.
#[derive(Serialize, ToSchema)]
pub struct Created {
    pub concert_id: ConcertId,
}

/// Every concert with its sums, started or not.
#[utoipa::path(get, path = "/admin/concerts", operation_id = "list_all_concerts", tag = "operators",
    responses((status = 200, description = "All of them", body = ConcertList)))]
pub async fn admin_list(State(app): State<App>, _: Operator) -> Result<Json<ConcertList>, Error> {
    Ok(Json(ConcertList { concerts: app.concert.all().await? }))
}

/// A concert with its sums.
#[utoipa::path(get, path = "/admin/concerts/{id}", operation_id = "get_concert_sums", tag = "operators",
    params(("id" = ConcertId, Path)),
    responses((status = 200, description = "The concert", body = ConcertSums)))]
pub async fn admin_show(
    State(app): State<App>,
    _: Operator,
    Path(id): Path<ConcertId>,
) -> Result<Json<ConcertSums>, Error> {
    Ok(Json(app.concert.sums(id).await?))
}

/// Sell a new concert.
#[utoipa::path(post, path = "/admin/concerts", operation_id = "create_concert", tag = "operators", request_body = CreateConcert,
    responses((status = 201, description = "The new concert", body = Created)))]
pub async fn create(
    State(app): State<App>,
    operator: Operator,
    AdminJson(wish): AdminJson<CreateConcert>,
) -> Result<(StatusCode, Json<Created>), Error> {
    let name = queue_name(wish.queue.as_deref())?.unwrap_or_else(QueueName::main);
    let queue = app.queue.line(&name).await?.queue();
    let concert_id = app.concert.create(wish, (queue.id, &name), operator.0).await?;
    Ok((StatusCode::CREATED, Json(Created { concert_id })))
}

/// Change what is announced. Seats and prices stay as they were sold.
#[utoipa::path(put, path = "/admin/concerts/{id}", operation_id = "change_concert", tag = "operators",
    params(("id" = ConcertId, Path)), request_body = ChangeConcert,
    responses((status = 200, description = "The concert as it is", body = ConcertSums)))]
pub async fn change(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<ConcertId>,
    AdminJson(wish): AdminJson<ChangeConcert>,
) -> Result<Json<ConcertSums>, Error> {
    let queue_id = match queue_name(wish.queue.as_deref())? {
        Some(name) => Some(app.queue.line(&name).await?.queue().id),
        None => None,
    };
    app.concert.change(id, &wish, queue_id, operator.0).await?;
    Ok(Json(app.concert.sums(id).await?))
}

fn queue_name(text: Option<&str>) -> Result<Option<QueueName>, Error> {
    let bad = |_| Error::field(Code::InvalidField, "/queue", "is 1 to 32 of a-z, 0-9 and `-`");
    text.map(QueueName::parse).transpose().map_err(bad)
}
