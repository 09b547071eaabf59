//! Bodies: bounded in size, time and depth, strictly JSON, strictly of the shape that is asked for, or a form of a page.
//! No header decides here who somebody is; that is `extract.rs`.

use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::{Code, Error};

/// Bodies of buyers are tiny; operators send whole seat plans.
const BODY_BYTES_MAX: usize = 4 * 1_024;
const ADMIN_BODY_BYTES_MAX: usize = 4 * 1_024 * 1_024;
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How deep JSON may nest: as deep as `serde_json` follows it.
const DEPTH_MAX: usize = 128;

/// A JSON body, and the code by which its wrong fields are known. It can be written again, to be held against what was
/// sent.
pub trait Body: DeserializeOwned + Serialize {
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

/// Nothing at all is the wish of somebody who wants the defaults.
impl<T: Body, S: Send + Sync> OptionalFromRequest<S> for AdminJson<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Option<Self>, Error> {
        if request.body().is_end_stream() {
            return Ok(None);
        }
        read_json(request, ADMIN_BODY_BYTES_MAX).await.map(Self).map(Some)
    }
}

/// What a page's form sent.
pub struct Form(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let bytes = read(request, BODY_BYTES_MAX).await?;
        Ok(Self(url::form_urlencoded::parse(&bytes).into_owned().collect()))
    }
}

impl Form {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

async fn read_json<T: Body>(request: Request, bytes_max: usize) -> Result<T, Error> {
    check_media_type(request.headers())?;
    parse_json(&read(request, bytes_max).await?)
}

async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Error> {
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
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Err(_) => Err(Error::refused(Code::RequestTimeout, "the body did not arrive in time")),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Error::refused(Code::InvalidJson, "the body broke off")),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

/// First whether it is JSON at all, then whether it is what was asked for.
pub fn parse_json<T: Body>(bytes: &[u8]) -> Result<T, Error> {
    let not_json = || Error::refused(Code::InvalidJson, "the body is not JSON");
    let text = std::str::from_utf8(bytes).map_err(|_| not_json())?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| not_json())?;
    let depth = depth(text);
    if depth > DEPTH_MAX {
        return Err(not_json());
    }
    // Serde alone would read `[7, 100]` as the fields of an object in their order.
    if !text.trim_start().starts_with('{') {
        return Err(Error::field(Code::InvalidField, "", "is an object"));
    }
    let from = &mut serde_json::Deserializer::from_str(text);
    let read: T = serde_path_to_error::deserialize(from).map_err(|error| {
        let (pointer, reason) = explain(&error);
        let of_object = is_of_object(&reason);
        let code = if of_object { Code::InvalidField } else { T::code_of(&pointer) };
        Error::field(code, &pointer, reason)
    })?;
    // Deeper inside, too, it takes lists for objects, and `{"open": null}` for `"open"`.
    if depth > 1
        && let (Ok(sent), Ok(read)) = (serde_json::from_str(text), serde_json::to_value(&read))
        && let Some((pointer, reason)) = other_kind(&sent, &read)
    {
        return Err(Error::field(T::code_of(&pointer), &pointer, reason));
    }
    Ok(read)
}

/// Where a value was taken for one of another kind, and what it should have been.
fn other_kind(sent: &Value, read: &Value) -> Option<(String, &'static str)> {
    let below = |step: String, sent: &Value, read: &Value| {
        other_kind(sent, read).map(|(pointer, reason)| (format!("/{step}{pointer}"), reason))
    };
    match (sent, read) {
        (Value::Array(sent), Value::Array(read)) => {
            let mut pairs = sent.iter().zip(read).enumerate();
            pairs.find_map(|(index, (sent, read))| below(index.to_string(), sent, read))
        }
        (Value::Object(sent), Value::Object(read)) => {
            sent.iter().find_map(|(key, sent)| below(escaped(key), sent, read.get(key)?))
        }
        (Value::Array(_), Value::Object(_)) => Some((String::new(), "is an object")),
        (Value::Array(_) | Value::Object(_), _) => {
            Some((String::new(), "is neither list nor object"))
        }
        _ => None,
    }
}

/// Reads a field that may be left out, and is what it says when it is there: `null` only where `T` takes it.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// How deep a text nests that is known to be JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Whether a field is missing, unknown or repeated: the reason names it, the path leads to its object.
fn is_of_object(reason: &str) -> bool {
    ["missing", "unknown", "duplicate"]
        .iter()
        .any(|what| reason.starts_with(&format!("{what} field `")))
}

/// A key as a step of a JSON pointer (RFC 6901).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The place of a mistake as a JSON pointer, and a reason without line numbers.
fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> (String, String) {
    use serde_path_to_error::Segment;
    let segments = error.path().iter().map(|segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", escaped(key)),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    });
    let mut pointer: String = segments.collect();
    let said = error.inner().to_string();
    let reason = said.split(" at line ").next().unwrap_or_default();
    if let Some(field) = reason.split('`').nth(1).filter(|_| is_of_object(reason)) {
        let whole = format!("/{}", escaped(field));
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
