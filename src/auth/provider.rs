//! Identity tokens of a provider: its keys, as a file holds them, and what its tokens must say.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::desk::DESK_TOKEN_TYPE;
use super::rotation::Rotating;
use super::{QUEUE_TOKEN_TYPE, check_times, decoded, invalid, malformed};
use crate::config::Identity;
use crate::error::Error;
use crate::ids::UserId;

/// Providers add claims of their own.
const IDENTITY_BYTES_MAX: usize = 8_192;
/// How long after its end an identity token is still taken: its issuer's clock is not ours.
const IDENTITY_LEEWAY_SECONDS: i64 = 5;
/// The scope that may put money on a balance.
pub const CHARGE_SCOPE: &str = "balance:charge";

/// A person as an identity provider knows him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub user: UserId,
    pub may_charge: bool,
}

#[derive(Deserialize)]
struct IdentityClaims {
    sub: String,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
    #[serde(default)]
    scope: String,
}

/// Checks identity tokens of one provider.
pub struct Identities {
    keys: Rotating<Vec<NamedKey>>,
    /// Only keys of this algorithm are used.
    algorithm: Option<Algorithm>,
    issuer: Option<String>,
    audience: Option<String>,
}

impl Identities {
    /// Reads the provider's keys; `None` in `open` mode, where everybody is believed.
    pub fn new(config: &Identity) -> Result<Option<Self>, Error> {
        let Identity::Jwt { key_file, algorithm, issuer, audience } = config else {
            return Ok(None);
        };
        let problem = |what: String| Error::Internal {
            context: "USHER_JWT_KEY_FILE does not hold",
            source: what.into(),
        };
        let bytes = std::fs::read(key_file)
            .map_err(|error| problem(format!("{}: {error}", key_file.display())))?;
        let named = |name: &String| {
            name.parse().map_err(|_| problem(format!("there is no algorithm {name}")))
        };
        let algorithm = algorithm.as_ref().map(named).transpose()?;
        let keys = read_keys(&bytes, algorithm).map_err(problem)?;
        Ok(Some(Self {
            keys: Rotating::new(keys, Some(key_file.clone())),
            algorithm,
            issuer: issuer.clone(),
            audience: audience.clone(),
        }))
    }

    /// Reads the provider's keys again, if they changed.
    pub async fn refresh(&self) {
        self.keys.refresh(|bytes| read_keys(bytes, self.algorithm)).await;
    }

    pub fn verify(&self, token: &str, now_ms: i64) -> Result<Caller, Error> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else { return Err(malformed()) };
        if token.len() > IDENTITY_BYTES_MAX {
            return Err(malformed());
        }
        decoded(header)?;
        decoded(claims)?;
        URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed())?;
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        if matches!(header.typ.as_deref(), Some(QUEUE_TOKEN_TYPE | DESK_TOKEN_TYPE)) {
            return Err(invalid());
        }
        let fits = |(kid, _, algorithm): &&NamedKey| {
            *algorithm == header.alg
                && (kid.is_none() || header.kid.is_none() || *kid == header.kid)
        };
        let keys = self.keys.load();
        let (_, key, algorithm) = keys.iter().find(fits).ok_or_else(invalid)?;
        let mut validation = Validation::new(*algorithm);
        // Times are judged below, by the house's clock.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        match &self.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".to_owned());
            }
            None => validation.validate_aud = false,
        }
        let claims = jsonwebtoken::decode::<IdentityClaims>(token, key, &validation)
            .map_err(|_| invalid())?
            .claims;
        let not_before = claims.nbf.unwrap_or(0).max(claims.iat.unwrap_or(0));
        check_times((claims.exp, IDENTITY_LEEWAY_SECONDS), not_before, now_ms / 1_000)?;
        let user = UserId::parse(&claims.sub).map_err(|_| invalid())?;
        Ok(Caller { user, may_charge: claims.scope.split(' ').any(|scope| scope == CHARGE_SCOPE) })
    }
}

type NamedKey = (Option<String>, DecodingKey, Algorithm);

/// The keys of the file that may be used.
fn read_keys(bytes: &[u8], algorithm: Option<Algorithm>) -> Result<Vec<NamedKey>, String> {
    let mut keys = all_keys(bytes)?;
    keys.retain(|(_, _, of_key)| algorithm.is_none_or(|named| *of_key == named));
    if keys.is_empty() {
        return Err("no key for an accepted algorithm (HS256, RS256, ES256, EdDSA)".to_owned());
    }
    Ok(keys)
}

/// One key from a PEM file or a secret, or every usable key of a JWKS file.
fn all_keys(bytes: &[u8]) -> Result<Vec<NamedKey>, String> {
    if let Ok(set) = serde_json::from_slice::<JwkSet>(bytes) {
        let key = |jwk: &jsonwebtoken::jwk::Jwk| {
            let algorithm = algorithm_of(jwk)?;
            Some((jwk.common.key_id.clone(), DecodingKey::from_jwk(jwk).ok()?, algorithm))
        };
        return Ok(set.keys.iter().filter_map(key).collect());
    }
    // Whatever looks like a public key must never become a secret: everybody knows it.
    let bytes = bytes.trim_ascii();
    if bytes.starts_with(b"{") || bytes.starts_with(b"[") {
        return Err("the JSON file is no key set (`{\"keys\": [...]}`)".to_owned());
    }
    if bytes.windows(10).any(|part| part == b"-----BEGIN") {
        let candidates = [
            (DecodingKey::from_rsa_pem(bytes), Algorithm::RS256),
            (DecodingKey::from_ec_pem(bytes), Algorithm::ES256),
            (DecodingKey::from_ed_pem(bytes), Algorithm::EdDSA),
        ];
        let key =
            candidates.into_iter().find_map(|(key, algorithm)| Some((None, key.ok()?, algorithm)));
        return Ok(vec![key.ok_or("the PEM file holds no public key of RSA, P-256 or Ed25519")?]);
    }
    let decoded = STANDARD.decode(bytes).unwrap_or_default();
    let is_public =
        [b"ssh-".as_slice(), b"ecdsa-", b"sk-"].iter().any(|kind| bytes.starts_with(kind));
    if is_public || is_der(bytes) || is_der(&decoded) {
        return Err("a public key comes as a PEM file or in a key set".to_owned());
    }
    let secret = bytes;
    if secret.len() < 32 {
        return Err("an HMAC secret has at least 32 bytes".to_owned());
    }
    Ok(vec![(None, DecodingKey::from_secret(secret), Algorithm::HS256)])
}

/// Whether these bytes are one whole structure of ASN.1, as keys are.
fn is_der(bytes: &[u8]) -> bool {
    let length = match bytes {
        [0x30, short @ 0..=0x7f, ..] => 2 + usize::from(*short),
        [0x30, 0x81, length, ..] => 3 + usize::from(*length),
        [0x30, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => return false,
    };
    length == bytes.len()
}

fn algorithm_of(jwk: &jsonwebtoken::jwk::Jwk) -> Option<Algorithm> {
    match (jwk.common.key_algorithm, &jwk.algorithm) {
        (Some(KeyAlgorithm::HS256), _) => Some(Algorithm::HS256),
        (Some(KeyAlgorithm::RS256) | None, AlgorithmParameters::RSA(_)) => Some(Algorithm::RS256),
        (Some(KeyAlgorithm::ES256) | None, AlgorithmParameters::EllipticCurve(curve)) => {
            (curve.curve == EllipticCurve::P256).then_some(Algorithm::ES256)
        }
        (Some(KeyAlgorithm::EdDSA) | None, AlgorithmParameters::OctetKeyPair(_)) => {
            Some(Algorithm::EdDSA)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A public key that served as an HMAC secret would let everybody sign.
    #[test]
    fn a_public_key_never_becomes_a_secret() {
        let body = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
        for before in ["", "\n", " \r\n\n", "a comment\n"] {
            let pem =
                format!("{before}-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
            let algorithms = all_keys(pem.as_bytes())
                .map(|keys| keys.iter().map(|(_, _, algorithm)| *algorithm).collect::<Vec<_>>());
            assert!(algorithms.is_err() || algorithms == Ok(vec![Algorithm::EdDSA]), "{before:?}");
        }
        let jwk =
            r#"{"kty":"OKP","crv":"Ed25519","x":"Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"}"#;
        for lone in [jwk.to_owned(), format!("\n {jwk}"), format!("[{jwk}]")] {
            assert!(all_keys(lone.as_bytes()).is_err(), "{lone}");
        }
        let der = STANDARD.decode(body).unwrap();
        let ssh =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBm/RAlphM3+hUG6wWfcO5bIUIaqMLa2ywxcOK1wMWbh ann";
        for key in [der.as_slice(), body.as_bytes(), ssh.as_bytes()] {
            assert!(all_keys(key).is_err(), "{key:?}");
        }
        assert_eq!(all_keys(&[b'x'; 32]).unwrap()[0].2, Algorithm::HS256);
    }
}
