//! The operators' desk over HTTP: the page itself, and the session that opens it. What can be done at the desk, the API
//! of operators does.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Visit, filled, scheme};
use crate::app::App;
use crate::auth::{DESK_SECONDS, same_secret};
use crate::error::{Code, Error};
use crate::http::extract::{Form, InPath, Operator, Path, Query};
use crate::http::operator::DESK_COOKIE;
use crate::http::page::packed_for;

/// In the order in which the desk has them.
const TABS: [&str; 5] = ["queues", "concerts", "schedules", "audit", "health"];

#[derive(Debug)]
pub struct Tab(&'static str);

impl InPath for Tab {
    fn from_path(text: &str) -> Result<Self, Error> {
        let known = TABS.into_iter().find(|tab| *tab == text).map(Self);
        known.ok_or_else(|| Error::refused(Code::NotFound, "the desk has no such tab"))
    }
}

/// `GET /admin`: the desk for whoever has a session, else the way to one.
pub async fn show(
    State(app): State<App>,
    operator: Result<Operator, Error>,
    query: Query,
    (uri, headers): (Uri, HeaderMap),
) -> Response {
    let visit = Visit::of(&app, &query, (&uri, &headers));
    let page = match operator {
        Ok(_) => visit.page("desk.html", json!({"tabs": TABS})),
        Err(_) => door(&visit, false),
    };
    packed(&visit, page, &headers)
}

/// `GET /admin/desk/{tab}`: a tab, for the desk that shows it. Whoever shows another does not wait for this one.
pub async fn tab(
    State(app): State<App>,
    _: Operator,
    Path(Tab(tab)): Path<Tab>,
    query: Query,
    (uri, headers): (Uri, HeaderMap),
) -> Response {
    let visit = Visit::of(&app, &query, (&uri, &headers));
    packed(&visit, visit.page("desk/tab.html", json!({"tab": tab})), &headers)
}

fn packed(visit: &Visit<'_>, page: Result<String, Error>, headers: &HeaderMap) -> Response {
    let packed = page.as_ref().ok().and_then(|html| packed_for(headers, html.as_bytes()));
    let mut response = visit.answer(page);
    if let Some(packed) = packed {
        *response.body_mut() = packed.into();
        let gzip = HeaderValue::from_static("gzip");
        response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
    }
    response
}

/// `POST /admin/session`: whoever types the operators' key is given a session.
pub async fn sign_in(
    State(app): State<App>,
    query: Query,
    (uri, headers): (Uri, HeaderMap),
    form: Result<Form, Error>,
) -> Response {
    let mut visit = Visit::of(&app, &query, (&uri, &headers));
    visit.address = format!("/admin{}", query_of(&uri));
    let session = form.and_then(|form| {
        let key = form.get("key").unwrap_or_default();
        if !same_secret(key, app.config.auth.admin_key.expose()) {
            return Err(Error::refused(Code::Unauthenticated, "this is not the operators' key"));
        }
        app.desk.sign(app.clock.now_ms())
    });
    match session {
        Ok(session) => {
            let cookie = cookie(&session, DESK_SECONDS, &headers);
            let headers = [(header::LOCATION, visit.address), (header::SET_COOKIE, cookie)];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Err(error) if error.code() == Code::Unauthenticated => match door(&visit, true) {
            Ok(html) => filled(error.into_response(), html),
            broken => visit.answer(broken),
        },
        Err(error) => visit.answer(Err(error)),
    }
}

/// `DELETE /admin/session`: this browser forgets its session. No server knows of it: what ends every session at once is
/// another key.
pub async fn sign_out(_: Operator, headers: HeaderMap) -> Response {
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie("", 0, &headers))]).into_response()
}

fn door(visit: &Visit<'_>, wrong: bool) -> Result<String, Error> {
    let query = visit.address.strip_prefix("/admin").unwrap_or_default();
    visit.page("desk/sign-in.html", json!({"query": query, "wrong": wrong}))
}

fn query_of(uri: &Uri) -> String {
    uri.query().map(|query| format!("?{query}")).unwrap_or_default()
}

/// Only the desk's own pages send it, and no script reads it.
fn cookie(session: &str, seconds: i64, headers: &HeaderMap) -> String {
    let secure = if scheme(headers) == "https" { "; Secure" } else { "" };
    format!(
        "{DESK_COOKIE}={session}; Path=/admin; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    )
}
