//! From a request to domain types: the permission is the extractor. Everything that does not fit is refused here, with
//! the code of the contract, before a handler runs.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::app::App;
use crate::auth::{Caller, QueueToken, same_secret};
use crate::error::{Code, Error};
use crate::ids::{BookingId, ConcertId, IdempotencyKey, QueueName, UserId};

/// Bodies of buyers are tiny; operators send whole seat plans.
const BODY_BYTES_MAX: usize = 4 * 1_024;
const ADMIN_BODY_BYTES_MAX: usize = 4 * 1_024 * 1_024;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Entries of one page of a list, and the default.
const LIMIT_MAX: u64 = 500;
const LIMIT_DEFAULT: u64 = 50;

/// Something that stands in a path.
pub trait InPath: Sized {
    fn from_path(text: &str) -> Result<Self, Error>;
}

impl InPath for UserId {
    fn from_path(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl InPath for ConcertId {
    fn from_path(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl InPath for BookingId {
    fn from_path(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl InPath for QueueName {
    fn from_path(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// The one parameter of a path.
pub struct Path<T>(pub T);

impl<T: InPath, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match RawPathParams::from_request_parts(parts, state).await {
            Ok(params) => {
                T::from_path(params.iter().next().map_or("", |(_, value)| value)).map(Self)
            }
            // Not UTF-8 once decoded: it fits no grammar.
            Err(_) => T::from_path("").map(Self),
        }
    }
}

/// A query, read leniently: names that nobody knows are ignored, one that is known must fit.
pub struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let query =
            axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        query
            .map(|query| Self(query.0))
            .map_err(|_| Error::refused(Code::InvalidQuery, "this query cannot be read"))
    }
}

impl Query {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn queue(&self) -> Result<Option<QueueName>, Error> {
        self.get("queue").map(QueueName::parse).transpose()
    }

    pub fn concert(&self) -> Result<Option<ConcertId>, Error> {
        let concert = self.get("concert_id").map(ConcertId::parse).transpose();
        concert.map_err(|_| Error::refused(Code::InvalidQuery, "`concert_id` is a whole number"))
    }

    /// `limit` and `before`: a page of a list, newest first.
    pub fn page(&self) -> Result<(u64, Option<i64>), Error> {
        let bad = || {
            Error::refused(
                Code::InvalidQuery,
                format!("`limit` is 1 to {LIMIT_MAX}, `before` an id"),
            )
        };
        let number =
            |name| self.get(name).map(|text| UserId::parse(text).map(|id| id.0)).transpose();
        let limit = number("limit").map_err(|_| bad())?.map_or(LIMIT_DEFAULT, i64::unsigned_abs);
        let before = number("before").map_err(|_| bad())?;
        if limit > LIMIT_MAX { Err(bad()) } else { Ok((limit, before)) }
    }
}

/// A JSON body, and the code by which its wrong fields are known.
pub trait Body: DeserializeOwned {
    fn code_of(_pointer: &str) -> Code {
        Code::InvalidField
    }
}

/// A body of the public API.
pub struct Json<T>(pub T);

/// A body of the operators' API.
pub struct AdminJson<T>(pub T);

impl<T: Body, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        read_json(request, BODY_BYTES_MAX).await.map(Self)
    }
}

impl<T: Body, S: Send + Sync> FromRequest<S> for AdminJson<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        read_json(request, ADMIN_BODY_BYTES_MAX).await.map(Self)
    }
}

async fn read_json<T: Body>(request: Request, bytes_max: usize) -> Result<T, Error> {
    check_media_type(request.headers())?;
    let too_large =
        || Error::refused(Code::PayloadTooLarge, format!("a body is at most {bytes_max} bytes"));
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > bytes_max) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), bytes_max).collect();
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Err(_) => {
            return Err(Error::refused(Code::RequestTimeout, "the body did not arrive in time"));
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(Error::refused(Code::InvalidJson, "the body broke off")),
        Ok(Ok(body)) => body.to_bytes(),
    };
    parse_json(&bytes)
}

/// First whether it is JSON at all, then whether it is what was asked for.
pub fn parse_json<T: Body>(bytes: &[u8]) -> Result<T, Error> {
    let not_json = || Error::refused(Code::InvalidJson, "the body is not JSON");
    let text = std::str::from_utf8(bytes).map_err(|_| not_json())?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| not_json())?;
    let from = &mut serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(from).map_err(|error| {
        let (pointer, reason) = explain(&error);
        Error::field(T::code_of(&pointer), &pointer, reason)
    })
}

/// The place of a mistake as a JSON pointer, and a reason without line numbers.
fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> (String, String) {
    use serde_path_to_error::Segment;
    let segments = error.path().iter().map(|segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{key}"),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    });
    let mut pointer: String = segments.collect();
    let said = error.inner().to_string();
    let reason = said.split(" at line ").next().unwrap_or_default();
    // A missing, unknown or repeated field is named in the reason, not in the path to the object that lacks it.
    if let Some(field) = reason.split('`').nth(1).filter(|_| reason.contains(" field `")) {
        let whole = format!("/{field}");
        if !pointer.ends_with(&whole) {
            pointer.push_str(&whole);
        }
    }
    let brief = |text: &str| text.chars().take(160).collect::<String>();
    (brief(&pointer), brief(reason))
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Error> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Error::refused(
            Code::UnsupportedEncoding,
            "send the body without Content-Encoding",
        ));
    }
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Error::refused(Code::UnsupportedMediaType, "send `Content-Type: application/json`"))
    }
}

/// A header that may come once at most.
pub fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Error::refused(Code::DuplicateHeader, format!("`{name}` was sent twice")));
    }
    let text = first.map(|value| value.to_str());
    text.transpose()
        .map_err(|_| Error::refused(Code::InvalidHeader, format!("`{name}` is not visible ASCII")))
}

/// A checked queue token, from `Token-Auth`.
pub struct TokenAuth(pub QueueToken);

impl FromRequestParts<App> for TokenAuth {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let missing = || Error::refused(Code::TokenMissing, "send the queue token in `Token-Auth`");
        MaybeTokenAuth::from_request_parts(parts, app).await?.0.map(Self).ok_or_else(missing)
    }
}

/// A checked queue token, if one was sent.
pub struct MaybeTokenAuth(pub Option<QueueToken>);

impl FromRequestParts<App> for MaybeTokenAuth {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let sent = match single(&parts.headers, "token-auth") {
            // Bytes that are no text are no token either.
            Err(error) if error.code() == Code::InvalidHeader => Some(""),
            sent => sent?,
        };
        let token = sent.map(|token| app.tokens.verify(token, app.clock.now_ms())).transpose()?;
        if let Some(token) = &token {
            app.limits.check_user(token.user)?;
        }
        Ok(Self(token))
    }
}

/// The identity behind the request; in `open` mode everybody is who he says.
pub struct User(Option<Caller>);

impl FromRequestParts<App> for User {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let Some(identities) = app.identities.as_ref() else { return Ok(Self(None)) };
        let bearer = bearer(&parts.headers)?.ok_or_else(|| {
            Error::refused(
                Code::Unauthenticated,
                "send an identity token in `Authorization: Bearer`",
            )
        })?;
        let caller = identities.verify(bearer, app.clock.now_ms())?;
        app.limits.check_user(caller.user)?;
        Ok(Self(Some(caller)))
    }
}

impl User {
    /// Refuses to act for another person.
    pub fn acts_for(&self, user: UserId) -> Result<(), Error> {
        match &self.0 {
            Some(caller) if caller.user != user => {
                Err(Error::refused(Code::UserMismatch, "this identity cannot act for another user"))
            }
            _ => Ok(()),
        }
    }

    /// Another person's object looks like a missing one.
    pub fn reads(&self, user: UserId) -> Result<(), Error> {
        self.acts_for(user).map_err(|_| Error::refused(Code::NotFound, "there is nothing here"))
    }

    /// Refuses a caller without the scope that puts money on balances.
    pub fn may_charge(&self) -> Result<(), Error> {
        match &self.0 {
            Some(caller) if !caller.may_charge => Err(Error::refused(
                Code::Forbidden,
                "this identity lacks the scope `balance:charge`",
            )),
            _ => Ok(()),
        }
    }

    /// Whether a provider vouches for the caller.
    pub fn is_identified(&self) -> bool {
        self.0.is_some()
    }
}

/// The person a booking belongs to: by the queue token, or by identity.
pub struct Owner(pub UserId);

impl FromRequestParts<App> for Owner {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        if let Some(token) = MaybeTokenAuth::from_request_parts(parts, app).await?.0 {
            return Ok(Self(token.user));
        }
        match User::from_request_parts(parts, app).await? {
            User(Some(caller)) => Ok(Self(caller.user)),
            User(None) => {
                Err(Error::refused(Code::TokenMissing, "send the queue token in `Token-Auth`"))
            }
        }
    }
}

/// Somebody who may tune: he has the operators' key.
pub struct Operator(pub &'static str);

impl FromRequestParts<App> for Operator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let key = bearer(&parts.headers)?.unwrap_or_default();
        if same_secret(key, app.config.auth.admin_key.expose()) {
            Ok(Self("operator"))
        } else {
            Err(Error::refused(
                Code::Unauthenticated,
                "send the operators' key in `Authorization: Bearer`",
            ))
        }
    }
}

/// The client's name for what it intends, if it gave one.
pub struct MaybeKey(pub Option<IdempotencyKey>);

impl<S: Send + Sync> FromRequestParts<S> for MaybeKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        match single(&parts.headers, "idempotency-key") {
            Err(error) if error.code() == Code::InvalidHeader => {
                IdempotencyKey::parse("").map(|key| Self(Some(key)))
            }
            sent => sent?.map(IdempotencyKey::parse).transpose().map(Self),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let sent = single(headers, "authorization")?;
    Ok(sent
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim()))
}
