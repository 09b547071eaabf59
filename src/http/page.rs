//! Bytes that many ask for: made once, packed once, tagged, and not sent to those who have them. What they say is a
//! feature's affair.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::OnceLock;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::error::Error;

/// Less fits into a packet as it is.
const PACKED_BYTES_MIN: usize = 1_024;

/// How long whoever has JSON may keep it without asking, and a file whose address changes with it.
const JSON_KEPT: &str = "public, max-age=1";
const FILE_KEPT: &str = "public, max-age=31536000, immutable";

/// An answer, and the tag that changes when its meaning does.
#[derive(Debug)]
pub struct Page {
    kind: &'static str,
    kept: &'static str,
    plain: Bytes,
    /// Made when somebody first asks for it.
    packed: OnceLock<Option<Bytes>>,
    etag: String,
}

impl Page {
    /// A page that changes when its bytes do.
    pub fn of(value: &impl Serialize) -> Result<Self, Error> {
        let json = json(value)?;
        let etag = tag(&json);
        Ok(Self::new(json, etag))
    }

    /// A page that changes when `meaning` does: what that leaves out, such as the time of building, may differ
    /// between equal pages.
    pub fn meaning(value: &impl Serialize, meaning: &impl Hash) -> Result<Self, Error> {
        Ok(Self::new(json(value)?, tag(meaning)))
    }

    /// A file that never changes under its address.
    pub fn file(bytes: Vec<u8>, kind: &'static str) -> Self {
        let etag = tag(&bytes);
        Self { kind, kept: FILE_KEPT, ..Self::new(bytes, etag) }
    }

    fn new(json: Vec<u8>, etag: String) -> Self {
        let (kind, packed) = ("application/json", OnceLock::new());
        Self { kind, kept: JSON_KEPT, plain: json.into(), packed, etag }
    }

    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// The bytes, packed if the client likes them so, or 304 when it has them.
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        let cache = [
            (header::ETAG, self.etag.as_str()),
            (header::CACHE_CONTROL, self.kept),
            (header::VARY, "accept-encoding"),
        ];
        if self.is_known_by(headers) {
            return (StatusCode::NOT_MODIFIED, cache).into_response();
        }
        let kind = [(header::CONTENT_TYPE, self.kind)];
        match self.packed().filter(|_| takes_gzip(headers)) {
            Some(packed) => {
                (kind, cache, [(header::CONTENT_ENCODING, "gzip")], packed).into_response()
            }
            None => (kind, cache, self.plain.clone()).into_response(),
        }
    }

    /// Whether the client has a page of the same meaning, in whatever encoding: the comparison is weak.
    fn is_known_by(&self, headers: &HeaderMap) -> bool {
        let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
        listed(headers, &header::IF_NONE_MATCH)
            .any(|tag| tag == "*" || opaque(tag) == opaque(&self.etag))
    }

    fn packed(&self) -> Option<Bytes> {
        self.packed.get_or_init(|| pack(&self.plain)).clone()
    }
}

/// Bytes that are made for one client, packed if it likes them so.
pub fn packed_for(headers: &HeaderMap, plain: &[u8]) -> Option<Bytes> {
    takes_gzip(headers).then(|| pack(plain)).flatten()
}

fn pack(plain: &[u8]) -> Option<Bytes> {
    if plain.len() < PACKED_BYTES_MIN {
        return None;
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(plain).ok()?;
    packed.finish().ok().map(Bytes::from)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value)
        .map_err(|error| Error::Internal { context: "a page has no JSON", source: error.into() })
}

/// Weak: pages of one meaning need not be the same bytes.
fn tag(meaning: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    meaning.hash(&mut hasher);
    format!("W/\"{:016x}\"", hasher.finish())
}

/// The items of a header that is a list.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lists = headers.get_all(name).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// Whether gzip is named, or meant by `*`, and not with a weight of 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let weight_of = |coding: &str| {
        listed(headers, &header::ACCEPT_ENCODING).find_map(|item| {
            let (name, weight) = item.split_once(';').unwrap_or((item, "q=1"));
            let weight = weight.trim().to_ascii_lowercase();
            let weight = weight.strip_prefix("q=").and_then(|weight| weight.parse().ok());
            name.trim().eq_ignore_ascii_case(coding).then_some(weight.unwrap_or(0.0))
        })
    };
    weight_of("gzip").or_else(|| weight_of("*")).is_some_and(|weight: f32| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_packed_is_packed_once_and_unpacks() {
        let page = Page::of(&"seats ".repeat(1_000)).unwrap();
        let (packed, again) = (page.packed().unwrap(), page.packed().unwrap());
        assert_eq!(packed.as_ptr(), again.as_ptr());
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, page.plain);
        assert!(packed.len() < plain.len() / 10, "{}", packed.len());
        assert!(Page::of(&"seats").unwrap().packed().is_none());
    }

    fn takes(accepted: &str) -> bool {
        takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, accepted.parse().unwrap())]))
    }

    #[test]
    fn who_names_gzip_gets_it() {
        for accepted in
            ["gzip", "GZIP", "br, gzip;q=0.5", "deflate,gzip ; q=1.0", "*", "br,*;q=0.1"]
        {
            assert!(takes(accepted), "{accepted}");
        }
        let none =
            ["", "br", "identity", "gzip;q=0", "gzip; Q=0.000, *", "*;q=0", "gzipped", "gzip;q=x"];
        for accepted in none {
            assert!(!takes(accepted), "{accepted}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
