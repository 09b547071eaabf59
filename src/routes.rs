//! THE route table and what wraps it. Read this first.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::handler::HandlerWithoutStateExt;
use axum::routing::{delete, get, post, put};
use tower::ServiceBuilder;
use utoipa_swagger_ui::SwaggerUi;

use crate::app::App;
use crate::http::edge::EdgeLayer;
use crate::http::limits::OnRefusal;
use crate::http::{check, edge, figures, health, limits, openapi, report};
use crate::{booking, concert, pages, payment, queue};

/// Requests of one kind served at once: money has room of its own, whatever the crowd does.
const MONEY_MAX: usize = 1_024;
const SEATS_MAX: usize = 1_024;
const LINE_MAX: usize = 8_192;
const READS_MAX: usize = 2_048;
/// Streams last as long as people wait; a quarter of the connections is left for whoever polls and buys.
const STREAMS_MAX: usize = 12_288;

/// A buyer who was not answered by then asks again.
const DEADLINE: Duration = Duration::from_secs(5);
/// An operator waits for the check, which reads whole tables.
const DEADLINE_OF_OPERATORS: Duration = Duration::from_secs(30);

/// What buyers reach.
pub fn public(app: App) -> Router {
    let line = Router::new()
        .route("/token/{userId}", get(queue::http::join))
        .route("/token/", get(queue::http::join))
        .route("/queue", get(queue::http::poll).delete(booking::http::leave))
        .route("/verify", get(queue::http::verify::verify))
        .route("/queues/{name}", get(queue::http::look))
        .route("/queues/{name}/draw", get(queue::http::draw::look));
    let streams = Router::new().route("/queue/events", get(queue::http::events::events));
    let seats = Router::new()
        .route("/booking", post(booking::http::hold))
        .route("/booking/{id}", get(booking::http::show).merge(delete(booking::http::cancel)));
    let money = Router::new()
        .route("/payment", post(payment::http::pay))
        .route("/balance", post(payment::http::top_up))
        .route("/balance/{userId}", get(payment::http::balance))
        .route("/balance/", get(payment::http::balance));
    let reads = Router::new()
        .route("/users/{userId}/bookings", get(booking::http::of_user))
        .route("/balance/{userId}/history", get(payment::http::history))
        .route("/concerts", get(concert::http::list))
        .route("/concerts/{id}", get(concert::http::show))
        .route("/concerts/{id}/seats", get(concert::http::seats));
    let pages = Router::new()
        .route("/openapi.json", get(openapi::document))
        .merge(SwaggerUi::new("/docs").config(utoipa_swagger_ui::Config::from("/openapi.json")));
    let people = Router::new()
        .route("/wait/{queue}", get(pages::http::wait).merge(post(pages::http::join)))
        .route("/wait/{queue}/carry.svg", get(pages::http::carry))
        .route("/buy/{concert}", get(pages::http::buy))
        .route("/assets/{*name}", get(pages::http::asset));
    let edge = EdgeLayer::new(app.measured.clone(), app.work.clone(), DEADLINE);
    let queues = app.queue.clone();
    let from_the_line: OnRefusal = Arc::new(move || queues.refuse_unread());
    let unnoticed: OnRefusal = Arc::new(|| ());
    let gated = |requests_max, on_refusal: &OnRefusal| {
        // Together they are one layer of the router: each costs every request a box or two.
        let gate = limits::gate(app.limits.clone(), requests_max, on_refusal.clone());
        ServiceBuilder::new().layer(edge.clone()).layer(gate)
    };
    let within =
        |routes: Router<App>, requests_max| known(routes).layer(gated(requests_max, &unnoticed));
    let nowhere = ServiceBuilder::new()
        .layer(edge.clone())
        .layer(limits::gate(app.limits.clone(), READS_MAX, unnoticed.clone()))
        .service(edge::not_found.into_service());
    Router::new()
        .merge(known(line).layer(gated(LINE_MAX, &from_the_line)))
        .merge(within(streams, STREAMS_MAX))
        .merge(within(seats, SEATS_MAX))
        .merge(within(money, MONEY_MAX))
        .merge(within(reads, READS_MAX))
        .merge(within(pages, READS_MAX))
        .merge(within(people, READS_MAX))
        // A probe is answered however much its address asks for.
        .merge(known(health_routes()).layer(edge.clone()))
        .fallback_service(nowhere)
        .with_state(app)
}

/// What operators reach, on a listener of their own.
pub fn operators(app: App) -> Router {
    let router = Router::new()
        .route("/admin", get(pages::http::desk::show))
        .route("/admin/desk/{tab}", get(pages::http::desk::tab))
        .route(
            "/admin/session",
            post(pages::http::desk::sign_in).merge(delete(pages::http::desk::sign_out)),
        )
        .route("/assets/{*name}", get(pages::http::asset))
        .route("/admin/events", get(figures::events))
        .route("/admin/queues", get(queue::http::operators::list))
        .route(
            "/admin/queues/{name}",
            get(queue::http::operators::show).post(queue::http::operators::create),
        )
        .route(
            "/admin/queues/{name}/policy",
            get(queue::http::operators::show_policy)
                .put(queue::http::operators::tune)
                .patch(queue::http::operators::tune_by_patch),
        )
        .route(
            "/admin/queues/{name}/schedule",
            get(queue::http::schedule::list).post(queue::http::schedule::add),
        )
        .route(
            "/admin/queues/{name}/schedule/{id}",
            put(queue::http::schedule::change).delete(queue::http::schedule::cancel),
        )
        .route(
            "/admin/queues/{name}/draw",
            get(queue::http::draw::show).post(queue::http::draw::announce),
        )
        .route("/admin/queues/{name}/admit", post(queue::http::operators::admit))
        .route("/admin/queues/{name}/report", get(report::report))
        .route("/admin/concerts", get(concert::http::admin_list).post(concert::http::create))
        .route("/admin/concerts/{id}", get(concert::http::admin_show).put(concert::http::change))
        .route("/admin/audit", get(queue::http::operators::audit))
        .route("/admin/check", get(check::check))
        .route("/admin/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .merge(health_routes());
    let edge = EdgeLayer::new(Arc::default(), app.work.clone(), DEADLINE_OF_OPERATORS);
    known(router).fallback(edge::not_found).layer(edge).with_state(app)
}

fn health_routes() -> Router<App> {
    Router::new().route("/livez", get(health::livez)).route("/readyz", get(health::readyz))
}

/// No other methods than these routes know.
fn known(routes: Router<App>) -> Router<App> {
    routes.method_not_allowed_fallback(edge::method_not_allowed)
}
