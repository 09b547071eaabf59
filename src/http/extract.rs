//! From a request to domain types: the permission is the extractor. Everything that does not fit is refused here, with
//! the code of the contract, before a handler runs.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use cookie::Cookie;
use utoipa::IntoParams;

use crate::app::App;
use crate::auth::{Caller, QueueToken};
use crate::error::{Code, Error};
use crate::ids::{BookingId, ConcertId, EntryId, IdempotencyKey, QueueName, UserId, whole_number};

use super::reply::status;

pub use super::json::{AdminJson, Body, Form, Json, parse_json};
pub use super::operator::Operator;

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

impl InPath for EntryId {
    fn from_path(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl InPath for QueueName {
    fn from_path(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// The one parameter of a path, or both in their order.
pub struct Path<T>(pub T);

impl<T: InPath, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let [text] = texts(parts, state).await;
        T::from_path(&text).map(Self)
    }
}

impl<A: InPath, B: InPath, S: Send + Sync> FromRequestParts<S> for Path<(A, B)> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let [first, second] = texts(parts, state).await;
        Ok(Self((A::from_path(&first)?, B::from_path(&second)?)))
    }
}

/// The texts of a path's parameters. Those that are not UTF-8 once decoded are empty, which fits no grammar.
async fn texts<const N: usize, S: Send + Sync>(parts: &mut Parts, state: &S) -> [String; N] {
    let params = RawPathParams::from_request_parts(parts, state).await.ok();
    let mut texts = params.iter().flatten().map(|(_, text)| text.to_owned());
    std::array::from_fn(|_| texts.next().unwrap_or_default())
}

/// A query, read leniently: names that nobody knows are ignored, one that is known must fit.
pub struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let unreadable = || Error::refused(Code::InvalidQuery, "this query cannot be read");
        // The reader takes a `%` that encodes nothing for itself.
        let mut encoded = parts.uri.query().unwrap_or_default().split('%').skip(1);
        let is_byte = |code: &str| {
            code.len() >= 2 && code.bytes().take(2).all(|digit| digit.is_ascii_hexdigit())
        };
        if !encoded.all(is_byte) {
            return Err(unreadable());
        }
        let query =
            axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|_| unreadable())
    }
}

impl Query {
    /// A parameter that may come once at most.
    pub fn single(&self, name: &str) -> Result<Option<&str>, Error> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        let first = values.next().map(|(_, value)| value.as_str());
        match values.next() {
            Some(_) => Err(Error::refused(Code::InvalidQuery, format!("`{name}` was sent twice"))),
            None => Ok(first),
        }
    }

    pub fn queue(&self) -> Result<Option<QueueName>, Error> {
        self.single("queue")?.map(QueueName::parse).transpose()
    }

    pub fn concert(&self) -> Result<Option<ConcertId>, Error> {
        let concert = self.single("concert_id")?.map(ConcertId::parse).transpose();
        concert.map_err(|_| Error::refused(Code::InvalidQuery, "`concert_id` is a whole number"))
    }

    pub fn page(&self) -> Result<PageQuery, Error> {
        let bad = || {
            Error::refused(
                Code::InvalidQuery,
                format!("`limit` is 1 to {LIMIT_MAX}, `before` an id"),
            )
        };
        let number = |name| {
            let text = self.single(name)?;
            text.map(|text| whole_number(text).ok_or_else(bad)).transpose()
        };
        let limit = number("limit")?.map_or(LIMIT_DEFAULT, i64::unsigned_abs);
        let before = number("before")?;
        if limit > LIMIT_MAX { Err(bad()) } else { Ok(PageQuery { limit, before }) }
    }
}

/// Which part of a list is asked for, newest first.
#[derive(Clone, Copy, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Entries of the page.
    #[param(required = false, minimum = 1, maximum = 500, default = 50)]
    pub limit: u64,
    /// Only what is older than this: the `next` of the page before.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    pub before: Option<i64>,
}

impl PageQuery {
    /// From where the next page goes on, unless this was the last.
    pub fn next<T>(self, items: &[T], id: impl Fn(&T) -> i64) -> Option<i64> {
        items.last().filter(|_| items.len() as u64 == self.limit).map(id)
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

/// The person for whom a request has been counted.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counted(UserId);

/// A request counts once for a person, also when queue token and identity both name him.
fn count(parts: &mut Parts, app: &App, user: UserId) -> Result<(), Error> {
    match parts.extensions.insert(Counted(user)) {
        Some(Counted(before)) if before == user => Ok(()),
        _ => app.limits.check_user(user),
    }
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
        let Some(sent) = sent else { return Ok(Self(None)) };
        let token = app.verify(sent).await?;
        count(parts, app, token.user)?;
        Ok(Self(Some(token)))
    }
}

/// A checked queue token: from `Token-Auth`, else from the cookie, because a browser's event source sends no headers of
/// ours. Never from the query, which proxies write down.
pub struct TokenOrCookie(pub QueueToken);

const TOKEN_COOKIE: &str = "usher_token";

impl FromRequestParts<App> for TokenOrCookie {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        if let Some(token) = MaybeTokenAuth::from_request_parts(parts, app).await?.0 {
            return Ok(Self(token));
        }
        let token = cookie(&parts.headers, TOKEN_COOKIE).ok_or_else(|| {
            let detail = "send the queue token in `Token-Auth` or in the cookie `usher_token`";
            Error::refused(Code::TokenMissing, detail)
        })?;
        let token = app.verify(&token).await?;
        count(parts, app, token.user)?;
        Ok(Self(token))
    }
}

/// What the browser of a page has in its cookie, as it is and as it was checked. One that is good no longer is none.
pub struct Cookied(pub Option<(QueueToken, String)>);

impl FromRequestParts<App> for Cookied {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let Some(sent) = cookie(&parts.headers, TOKEN_COOKIE) else { return Ok(Self(None)) };
        match app.verify(&sent).await {
            Ok(token) => {
                count(parts, app, token.user)?;
                Ok(Self(Some((token, sent))))
            }
            Err(error) if status(error.code()) == StatusCode::UNAUTHORIZED => Ok(Self(None)),
            Err(error) => Err(error),
        }
    }
}

/// What a browser has under this name.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let sent = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = sent.flat_map(Cookie::split_parse).filter_map(Result::ok);
    let found = cookies.find(|cookie| cookie.name() == name)?;
    Some(found.value().to_owned())
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
        count(parts, app, caller.user)?;
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

/// The client's name for what it intends, if it gave one.
#[derive(IntoParams)]
#[into_params(names("Idempotency-Key"), parameter_in = Header)]
pub struct MaybeKey(
    /// The client's name for one intention: what was done under it is not done twice.
    #[param(value_type = Option<String>, nullable = false, pattern = "^[ -~]{1,255}$")]
    pub Option<IdempotencyKey>,
);

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

pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let sent = single(headers, "authorization")?;
    Ok(sent
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim()))
}
