//! The line before somebody else's shop: a proxy asks here, for each request that it would pass on, whether whoever sent
//! it has a turn. No turn is judged here: it is a poll, and its outcome is told in a status and headers.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::{Code, Error};
use crate::http::extract::{Query, TokenOrCookie};
use crate::http::reply::status_for_proxy;
use crate::ids::{QueueName, UserId};
use crate::queue::{Place, Reason};

/// What the shop may believe, because the proxy writes it over whatever the client sent.
const USER: HeaderName = HeaderName::from_static("usher-user");
const QUEUE: HeaderName = HeaderName::from_static("usher-queue");
const NUMBER: HeaderName = HeaderName::from_static("usher-number");
/// The code of a refusal, for proxies that throw bodies away.
const CODE: HeaderName = HeaderName::from_static("usher-code");
/// Where to line up.
const WAIT: HeaderName = HeaderName::from_static("usher-wait");
/// What was asked of the proxy.
const ASKED: &str = "x-forwarded-uri";
/// Three times as long when it is encoded, it still fits into an address.
const TARGET_BYTES_MAX: usize = 2_048;

/// Whether I have a turn: for the proxy before a shop that is not ours.
///
/// The token comes from `Token-Auth`, else from the cookie `usher_token`. The first request of whoever was admitted claims
/// the turn, as a poll does. A turn that is over is 403 `turn_ended` here: proxies know no other refusals than 401 and 403.
/// Whatever is not 204 has to be refused by the proxy, also no answer at all.
#[utoipa::path(get, path = "/verify", operation_id = "verify_turn", tag = "queue", security(("queue_token" = [])),
    params(("queue" = Option<String>, Query, description = "another queue than `main`", pattern = "^[a-z0-9-]{1,32}$"),
        ("X-Forwarded-Uri" = Option<String>, Header, nullable = false,
            description = "what was asked of the proxy: `Usher-Wait` leads back to it")),
    responses(
        (status = 204, description = "The turn goes on", headers(
            ("Usher-User" = UserId, description = "whose turn it is"),
            ("Usher-Queue" = QueueName, description = "in which queue"),
            ("Usher-Number" = i64, description = "which one: the queue number"))),
        (status = 401, description = "", headers(("Usher-Code" = Code, description = "the code again"),
            ("Usher-Wait" = String, description = "the waiting room, from the root"))),
        (status = 403, description = "", headers(("Usher-Code" = Code, description = "the code again"),
            ("Usher-Wait" = String, description = "the waiting room, from the root")))))]
pub async fn verify(
    State(app): State<App>,
    query: Query,
    headers: HeaderMap,
    token: Result<TokenOrCookie, Error>,
) -> Result<Response, Error> {
    let queue = query.queue()?.unwrap_or_else(QueueName::main);
    Ok(match turn(&app, &queue, token).await {
        Ok(trusted) => (StatusCode::NO_CONTENT, trusted).into_response(),
        Err(error) => refusal(error, &queue, headers.get(ASKED)),
    })
}

/// Who has the turn, in the words of the headers.
async fn turn(
    app: &App,
    queue: &QueueName,
    token: Result<TokenOrCookie, Error>,
) -> Result<[(HeaderName, HeaderValue); 3], Error> {
    let TokenOrCookie(token) = token?;
    if token.queue != *queue {
        return Err(Error::WrongQueue { queue: queue.clone() });
    }
    let place = app.queue.poll(queue, token.user, token.number, token.confirmed).await?;
    let Place { number, reason, .. } = place;
    // SQL knows of no turn, and what Redis knows cannot be had: he may be let in a moment from now.
    if reason == Some(Reason::Rebuilding) {
        return Err(Error::queue_rebuilding());
    }
    place.admitted()?;
    let name = HeaderValue::from_str(queue.as_str());
    let name = name.map_err(|_| Error::bug("the name of a queue is no header"))?;
    Ok([(USER, token.user.0.into()), (QUEUE, name), (NUMBER, number.0.into())])
}

fn refusal(error: Error, queue: &QueueName, asked: Option<&HeaderValue>) -> Response {
    let code = error.code();
    let status = status_for_proxy(code);
    let mut response = error.into_response();
    *response.status_mut() = status;
    // Lower case and `_`: always a header.
    let code = HeaderValue::try_from(code.to_string()).ok();
    code.map(|code| response.headers_mut().insert(CODE, code));
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        // Letters, digits, `-`, `%` and the like: always a header.
        let wait = HeaderValue::try_from(way_to_wait(queue, asked)).ok();
        wait.map(|wait| response.headers_mut().insert(WAIT, wait));
    }
    response
}

/// The waiting room, which leads back to what was asked for.
fn way_to_wait(queue: &QueueName, asked: Option<&HeaderValue>) -> String {
    let mut way = format!("/wait/{queue}");
    if let Some(target) = asked.and_then(own_target) {
        way.push_str("?target=");
        for byte in target.bytes() {
            match byte {
                b'/' | b'-' | b'.' | b'_' | b'~' => way.push(byte.into()),
                _ if byte.is_ascii_alphanumeric() => way.push(byte.into()),
                _ => way.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    way
}

/// A path on the proxy's own site, as the proxy has it. Browsers take `//other` and `/\other` for another site.
fn own_target(asked: &HeaderValue) -> Option<&str> {
    let target = asked.to_str().ok()?;
    let is_path = target.starts_with('/') && !target[1..].starts_with(['/', '\\']);
    let is_plain = target.bytes().all(|byte| byte.is_ascii_graphic());
    (is_path && is_plain && target.len() <= TARGET_BYTES_MAX).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(asked: &str) -> String {
        way_to_wait(&QueueName::main(), Some(&HeaderValue::from_str(asked).unwrap()))
    }

    #[test]
    fn the_waiting_room_leads_back_to_all_of_what_was_asked_for() {
        assert_eq!(way("/shop/a-b.html"), "/wait/main?target=/shop/a-b.html");
        assert_eq!(way("/shop?a=1&b=%20#c"), "/wait/main?target=/shop%3Fa%3D1%26b%3D%2520%23c");
        assert_eq!(way_to_wait(&QueueName::main(), None), "/wait/main");
    }

    #[test]
    fn the_waiting_room_leads_to_no_other_site() {
        let long = format!("/{}", "a".repeat(TARGET_BYTES_MAX));
        for other in ["//evil", "/\\evil", "https://evil", "/\t/evil", "", "evil", &*long] {
            assert_eq!(way(other), "/wait/main", "{other:?}");
        }
    }
}
