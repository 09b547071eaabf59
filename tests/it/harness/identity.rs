//! An identity provider in a file: it signs who somebody is, honestly or as a story asks for.

use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Database, Stage, TestApp};

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "usher-tests";
const KEY_ID: &str = "tests-1";
const HMAC_SECRET: &[u8] = b"sixty-four bytes that only the tests and their server know, and!";
/// This pair is made for these tests alone.
const ED25519_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIPg2zaGiQQUycSrN8ds4tBCykcanswuhQmcECTOUhDN5
-----END PRIVATE KEY-----
";
pub const ED25519_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAHpiLZJ6I3Md86pljQ6CC1Zy0j8Te58fIGdMiB+yuE6I=
-----END PUBLIC KEY-----
";
const ED25519_X: &str = "HpiLZJ6I3Md86pljQ6CC1Zy0j8Te58fIGdMiB-yuE6I";

/// The kinds of key that `USHER_JWT_KEY_FILE` may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Idp {
    Hmac,
    Pem,
    Jwks,
}

impl Idp {
    fn key_file(self) -> (&'static str, Vec<u8>) {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": KEY_ID, "use": "sig", "alg": "EdDSA",
            "x": ED25519_X});
        match self {
            Idp::Hmac => ("idp.key", HMAC_SECRET.to_vec()),
            Idp::Pem => ("idp.pem", ED25519_PUBLIC.into()),
            Idp::Jwks => ("idp.json", json!({"keys": [jwk]}).to_string().into_bytes()),
        }
    }
}

/// The provider itself; its key file lives as long as somebody may read it again.
pub struct Identity {
    idp: Idp,
    _keys: TempDir,
}

impl Identity {
    /// What an honest provider says of this person, for an hour.
    pub fn claims(&self, user_id: i64, now: i64) -> Value {
        json!({"iss": ISSUER, "aud": AUDIENCE, "sub": user_id.to_string(), "iat": now, "nbf": now,
            "exp": now + 3_600, "scope": "balance:charge"})
    }

    pub fn of(&self, user_id: i64, now: i64) -> String {
        self.sign(&self.claims(user_id, now))
    }

    pub fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(match self.idp {
            Idp::Hmac => Algorithm::HS256,
            Idp::Pem | Idp::Jwks => Algorithm::EdDSA,
        });
        header.kid = (self.idp == Idp::Jwks).then(|| KEY_ID.to_owned());
        let key = match self.idp {
            Idp::Hmac => EncodingKey::from_secret(HMAC_SECRET),
            Idp::Pem | Idp::Jwks => EncodingKey::from_ed_pem(ED25519_PRIVATE.as_bytes()).unwrap(),
        };
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}

/// A token of any header, signed with any secret by HMAC, or not at all: the work of a forger.
pub fn forge(header: &Value, claims: &Value, secret: Option<&[u8]>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = secret.map(|secret| {
        let key = EncodingKey::from_secret(secret);
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap()
    });
    format!("{message}.{}", signature.unwrap_or_default())
}

/// The queue number in a token, for everybody to read; only its signature is a secret's work.
pub fn number_of(token: &str) -> i64 {
    let claims = token.split('.').nth(1).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["seq"].as_i64().unwrap()
}

impl TestApp {
    /// A server that believes nobody without a signed identity. A story asks faster than any person, so nobody is
    /// limited.
    pub async fn with_identity(on: Database, idp: Idp) -> TestApp {
        TestApp::that_knows(on, idp, "off").await
    }

    /// The same with its limits.
    pub async fn with_limits(on: Database) -> TestApp {
        TestApp::that_knows(on, Idp::Hmac, "on").await
    }

    async fn that_knows(on: Database, idp: Idp, rate_limits: &str) -> TestApp {
        let keys = tempfile::tempdir().unwrap();
        let (name, key) = idp.key_file();
        let path = keys.path().join(name);
        std::fs::write(&path, key).unwrap();
        let settings = [
            ("USHER_AUTH", "jwt"),
            ("USHER_RATE_LIMITS", rate_limits),
            ("USHER_JWT_KEY_FILE", path.to_str().unwrap()),
            ("USHER_JWT_ISSUER", ISSUER),
            ("USHER_JWT_AUDIENCE", AUDIENCE),
        ];
        let mut app = TestApp::with(on, settings).await;
        app.identity = Some(Identity { idp, _keys: keys });
        app
    }
}

/// The stage of most identity stories: `jwt` with an HMAC secret.
pub struct JwtApp(TestApp);

impl Deref for JwtApp {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.0
    }
}

impl Stage for JwtApp {
    async fn begin(on: Database) -> JwtApp {
        JwtApp(TestApp::with_identity(on, Idp::Hmac).await)
    }

    async fn finish(self) {
        self.0.finish().await;
    }
}
