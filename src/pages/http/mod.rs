//! The pages over HTTP. A page looks like anybody who asks the API does: what it may show, the token decides.

pub mod desk;

use axum::extract::{Path as Name, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::QueueToken;
use crate::chance;
use crate::clock::rfc3339;
use crate::concert::ConcertSums;
use crate::error::{Code, Error};
use crate::http::extract::{Cookied, Path, Query};
use crate::http::reply::status;
use crate::ids::{ConcertId, QueueName, UserId};
use crate::queue::{Place, Status};

/// Everything from ourselves, and nothing inline: what a page says can never become a script.
const CONTENT: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";
/// A page without a script asks again no sooner, and no later.
const REFRESH_SECONDS: std::ops::RangeInclusive<i64> = 3..=30;

/// `GET /wait/{queue}`: the waiting room.
pub async fn wait(
    State(app): State<App>,
    Path(name): Path<QueueName>,
    query: Query,
    Cookied(token): Cookied,
    (uri, headers): (Uri, HeaderMap),
) -> Response {
    let visit = Visit::of(&app, &query, (&uri, &headers));
    let token = token.map(|(token, _)| token).filter(|token| token.queue == name);
    let values = waiting_room(&app, &name, &query, token).await;
    visit.answer(values.and_then(|values| visit.page("wait.html", values)))
}

async fn waiting_room(
    app: &App,
    name: &QueueName,
    query: &Query,
    token: Option<QueueToken>,
) -> Result<Value, Error> {
    let line = app.queue.look(name).await?;
    let target = match query.single("target")? {
        Some(wanted) => Some(app.pages.target(wanted).ok_or_else(|| {
            let detail = "`target` leads to an address that is not on the operator's list";
            Error::refused(Code::InvalidQuery, detail)
        })?),
        None => None,
    };
    let concerts = app.concert.tiers_of(name).await?;
    let only = concerts.first().filter(|_| concerts.len() == 1);
    let target = target.or_else(|| only.map(|concert| format!("/buy/{}", concert.concert_id)));
    let user = query.single("user")?.map(UserId::parse).transpose()?;
    let place = match &token {
        Some(token) => {
            app.queue.poll(name, token.user, token.number, token.confirmed).await.map(Some)
        }
        None => Ok(None),
    };
    let ended = place.as_ref().is_err_and(|error| error.code() == Code::TurnEnded);
    let place = if ended { None } else { place? };
    Ok(json!({
        "queue": name,
        "user": user.map(|user| user.0.to_string()),
        "target": target,
        "ended": ended,
        "message": line.queue().policy.message,
        "may_join": app.identities.is_none(),
        "refresh_seconds": place.as_ref().map_or(*REFRESH_SECONDS.end(), refresh_seconds),
        "place": place.as_ref().map(seen),
        "concerts": concerts.iter().map(shown).collect::<Vec<_>>(),
    }))
}

/// `POST /wait/{queue}`: takes a place for somebody whose browser runs no script.
pub async fn join(
    State(app): State<App>,
    Path(name): Path<QueueName>,
    query: Query,
    (uri, headers): (Uri, HeaderMap),
) -> Response {
    let visit = Visit::of(&app, &query, (&uri, &headers));
    match joined(&app, &name, &query, &headers).await {
        Ok(token) => {
            let secure = if scheme(&headers) == "https" { "; Secure" } else { "" };
            let cookie =
                format!("usher_token={token}; Path=/; Max-Age=86400; SameSite=Strict{secure}");
            let headers = [(header::LOCATION, visit.address), (header::SET_COOKIE, cookie)];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Err(error) => visit.answer(Err(error)),
    }
}

async fn joined(
    app: &App,
    name: &QueueName,
    query: &Query,
    headers: &HeaderMap,
) -> Result<String, Error> {
    // Another site's form would give this browser another place than the one it has.
    let foreign = headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin");
    if foreign || app.identities.is_some() {
        return Err(Error::refused(Code::Forbidden, "a place is taken on the page itself"));
    }
    let user = query.single("user")?.map(UserId::parse).transpose()?;
    let user = user.unwrap_or_else(|| UserId(chance::person()));
    app.limits.check_user(user)?;
    let place = app.queue.join(name, user).await?;
    app.sign(user, &place)
}

/// `GET /wait/{queue}/carry.svg`: the link that takes a place to another device, as a QR code. The token stands behind
/// its `#`, where no server sees it.
pub async fn carry(
    Path(name): Path<QueueName>,
    Cookied(token): Cookied,
    (uri, headers): (Uri, HeaderMap),
) -> Result<Response, Error> {
    let missing = || Error::refused(Code::TokenMissing, "send the queue token in `usher_token`");
    let (_, text) = token.filter(|(token, _)| token.queue == name).ok_or_else(missing)?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let scheme = scheme(&headers);
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let link = format!("{scheme}://{host}/wait/{name}{query}#token={text}");
    let code = qrcode::QrCode::with_error_correction_level(link, qrcode::EcLevel::L);
    let code = code
        .map_err(|_| Error::refused(Code::UriTooLong, "this address is too long for a QR code"))?;
    let drawn = code.render::<qrcode::render::svg::Color<'_>>().min_dimensions(220, 220).build();
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], drawn).into_response())
}

/// `GET /buy/{concert}`: the seat map.
pub async fn buy(
    State(app): State<App>,
    Path(id): Path<ConcertId>,
    query: Query,
    (uri, headers): (Uri, HeaderMap),
) -> Response {
    let visit = Visit::of(&app, &query, (&uri, &headers));
    let page = app.concert.sums(id).await.and_then(|sums| {
        let values = json!({"concert": shown(&sums), "queue": sums.queue, "tiers": sums.tiers});
        visit.page("buy.html", values)
    });
    visit.answer(page)
}

/// `GET /assets/{*name}`: what pages are drawn with. Its address changes with it, so that it may be kept for ever.
pub async fn asset(
    State(app): State<App>,
    Name(name): Name<String>,
    headers: HeaderMap,
) -> Response {
    match app.pages.file(&name) {
        Some(file) => file.answer(&headers),
        None => Error::refused(Code::NotFound, "there is nothing here").into_response(),
    }
}

/// How the visitor came, as the browser itself sees it: behind a proxy that says so, over https.
fn scheme(headers: &HeaderMap) -> &'static str {
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    if secure { "https" } else { "http" }
}

/// Somebody who looks at a page: in which language, and at what address.
struct Visit<'a> {
    app: &'a App,
    lang: String,
    address: String,
}

impl<'a> Visit<'a> {
    fn of(app: &'a App, query: &Query, (uri, headers): (&Uri, &HeaderMap)) -> Self {
        let preferred = headers.get(header::ACCEPT_LANGUAGE).and_then(|list| list.to_str().ok());
        let asked = query.single("lang").ok().flatten();
        let lang = app.pages.language(asked, preferred.unwrap_or_default().split(',')).to_owned();
        let address = uri.path_and_query().map_or("/", |address| address.as_str()).to_owned();
        Self { app, lang, address }
    }

    fn page(&self, page: &str, mut values: Value) -> Result<String, Error> {
        values["languages"] = self.app.pages.languages(&self.address).into();
        self.app.pages.render(page, &self.lang, values)
    }

    /// A page, or what went wrong as one. The edge logs the error, and adds when to come again.
    fn answer(&self, page: Result<String, Error>) -> Response {
        match page {
            Ok(html) => filled(StatusCode::OK.into_response(), html),
            Err(error) => {
                let code = error.code();
                let html = self.page("problem.html", json!({"code": code}));
                let html = html.unwrap_or_else(|_| status(code).to_string());
                filled(error.into_response(), html)
            }
        }
    }
}

/// A response that is a page.
fn filled(mut response: Response, html: String) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-language, cookie"));
    *response.body_mut() = html.into();
    response
}

fn refresh_seconds(place: &Place) -> i64 {
    let (Status::Waiting { poll_after_ms, .. } | Status::Active { poll_after_ms, .. }) =
        place.status;
    (poll_after_ms / 1_000).clamp(*REFRESH_SECONDS.start(), *REFRESH_SECONDS.end())
}

/// A place as a page without a script shows it.
fn seen(place: &Place) -> Value {
    match place.status {
        Status::Active { .. } => json!({"status": "active"}),
        Status::Waiting { position, eta, .. } => json!({
            "status": "waiting",
            "position": position,
            "reason": place.reason,
            "minutes": eta.map(|eta| [eta.low / 60, (eta.high + 59) / 60]),
        }),
    }
}

fn shown(sums: &ConcertSums) -> serde_json::Value {
    json!({
        "id": sums.concert_id, "title": sums.title, "place": sums.place,
        "starts_at": rfc3339(sums.starts_at * 1_000), "tiers": sums.tiers,
    })
}
