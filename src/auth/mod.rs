//! Who is asking: queue tokens that we sign ourselves, identity tokens of a provider, the operators' key and the sessions
//! that it opens.
//! The only folder that knows `jsonwebtoken`. It reads no header and asks no machine.

mod desk;
mod provider;
mod rotation;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::config::{self, AuthConfig, KeyState, TokenKey};
use crate::error::{Code, Error};
use crate::ids::{Epoch, QueueName, QueueNumber, UserId};

pub use desk::{DESK_SECONDS, Desk};
pub use provider::{CHARGE_SCOPE, Caller, Identities};
use rotation::Rotating;

/// Ours are under 300 bytes.
const TOKEN_BYTES_MAX: usize = 1_024;
/// How far ahead of us the signer's clock may be.
const FUTURE_SECONDS_MAX: i64 = 5;
/// The type of a queue token: it can never be taken for an identity, nor the other way round.
const QUEUE_TOKEN_TYPE: &str = "queue+jwt";
const AUDIENCE_PREFIX: &str = "usher:queue:";

/// Signed proof of a place in line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueToken {
    pub queue: QueueName,
    pub user: UserId,
    pub number: QueueNumber,
    /// The epoch in which Redis last confirmed the place.
    pub confirmed: Epoch,
    /// Until when it is good, in milliseconds since 1970.
    pub expires_at: i64,
    /// Whether it should be signed anew: its key is no longer the active one, or half of its life is over.
    pub stale: bool,
}

impl QueueToken {
    /// Whose place it is, which, and when it was last confirmed.
    pub fn place(&self) -> (UserId, QueueNumber, Epoch) {
        (self.user, self.number, self.confirmed)
    }
}

#[derive(Serialize, Deserialize)]
struct QueueClaims<'a> {
    aud: &'a str,
    sub: &'a str,
    seq: i64,
    g: i64,
    iat: i64,
    exp: i64,
}

/// Signs and checks queue tokens.
pub struct Tokens {
    keys: Rotating<Keys>,
    life_seconds: i64,
}

/// The keys that are in force together.
struct Keys {
    all: Vec<Key>,
    active: usize,
}

struct Key {
    /// The header segment of every token of this key. Comparing it byte for byte pins `alg`, `typ` and `kid`.
    header: String,
    hmac: hmac::Key,
    state: KeyState,
}

impl Keys {
    fn new(keys: &[TokenKey]) -> Self {
        let key = |key: &TokenKey| Key {
            header: URL_SAFE_NO_PAD.encode(format!(
                r#"{{"alg":"HS256","kid":"{}","typ":"{QUEUE_TOKEN_TYPE}"}}"#,
                key.kid
            )),
            hmac: hmac::Key::new(hmac::HMAC_SHA256, &key.secret),
            state: key.state,
        };
        let active = keys.iter().position(|key| key.state == KeyState::Active).unwrap_or(0);
        Self { all: keys.iter().map(key).collect(), active }
    }
}

impl Tokens {
    pub fn new(config: &AuthConfig) -> Self {
        let keys = Keys::new(&config.token_keys);
        let keys = Rotating::new(keys, config.token_key_file.clone());
        Self { keys, life_seconds: config.token_seconds }
    }

    /// Reads the file of keys again, if there is one and it changed.
    pub async fn refresh(&self) {
        self.keys.refresh(|text| config::token_key_list(text).map(|keys| Keys::new(&keys))).await;
    }

    /// The same place gives the same token until half of its life is over: it counts as issued when the present half
    /// life began.
    pub fn sign(
        &self,
        queue: &QueueName,
        user: UserId,
        (number, confirmed): (QueueNumber, Epoch),
        now_ms: i64,
    ) -> Result<String, Error> {
        let (now, half) = (now_ms / 1_000, self.life_seconds / 2);
        let issued_at = now - now % half;
        let claims = QueueClaims {
            aud: &format!("{AUDIENCE_PREFIX}{queue}"),
            sub: &user.to_string(),
            seq: number.0,
            g: confirmed,
            iat: issued_at,
            exp: issued_at + self.life_seconds,
        };
        let json = serde_json::to_vec(&claims).map_err(|_| Error::bug("claims have no JSON"))?;
        let keys = self.keys.load();
        let key = &keys.all[keys.active];
        let message = format!("{}.{}", key.header, URL_SAFE_NO_PAD.encode(json));
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key.hmac, message.as_bytes()));
        Ok(format!("{message}.{signature}"))
    }

    /// Checks a token: form, header, signature, claims, times. Costs one HMAC and one parse.
    pub fn verify(&self, token: &str, now_ms: i64) -> Result<QueueToken, Error> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(malformed());
        }
        let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = message.split_once('.').ok_or_else(malformed)?;
        let claims = decoded(claims)?;
        // `alg: none` comes without a signature: it is a token, and not one for us.
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed())?;
        let keys = self.keys.load();
        let Some(key) = keys.all.iter().find(|key| key.header == header) else {
            decoded(header)?;
            return Err(invalid());
        };
        let is_genuine = hmac::verify(&key.hmac, message.as_bytes(), &signature).is_ok();
        if key.state == KeyState::Revoked || !is_genuine {
            return Err(invalid());
        }
        let claims: QueueClaims<'_> = serde_json::from_slice(&claims).map_err(|_| invalid())?;
        let now = now_ms / 1_000;
        check_times((claims.exp, 0), claims.iat, now)?;
        Ok(QueueToken {
            queue: claims
                .aud
                .strip_prefix(AUDIENCE_PREFIX)
                .and_then(|name| QueueName::parse(name).ok())
                .ok_or_else(invalid)?,
            user: UserId::parse(claims.sub).map_err(|_| invalid())?,
            number: QueueNumber(claims.seq),
            confirmed: claims.g,
            expires_at: claims.exp.saturating_mul(1_000),
            stale: key.state != KeyState::Active
                || now.saturating_sub(claims.iat) >= claims.exp.saturating_sub(claims.iat) / 2,
        })
    }
}

/// One part of a token: base64 without padding, and not nothing.
fn decoded(part: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD.decode(part).ok().filter(|bytes| !bytes.is_empty()).ok_or_else(malformed)
}

fn malformed() -> Error {
    Error::refused(Code::TokenMalformed, "this is not a token")
}

fn invalid() -> Error {
    Error::refused(Code::TokenInvalid, "this token was not signed for this use")
}

fn check_times((expires_at, leeway): (i64, i64), not_before: i64, now: i64) -> Result<(), Error> {
    if expires_at < 0 {
        return Err(invalid());
    }
    if now >= expires_at.saturating_add(leeway) {
        return Err(Error::refused(Code::TokenExpired, "this token has expired"));
    }
    if not_before > now + FUTURE_SECONDS_MAX {
        return Err(invalid());
    }
    Ok(())
}

/// Whether two secrets are equal, in a time that does not tell where they differ.
pub fn same_secret(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Identity, Secret};

    const NOW: i64 = 1_800_000_000_000;
    const LIFE_MS: i64 = 86_400_000;
    /// When the half life began in which `NOW` lies.
    const HALF_BEGAN: i64 = NOW - NOW % (LIFE_MS / 2);

    fn tokens(states: &[(&str, u8, KeyState)]) -> Tokens {
        let key = |(kid, byte, state): &(&str, u8, KeyState)| TokenKey {
            kid: (*kid).to_owned(),
            secret: vec![*byte; 32],
            state: *state,
        };
        Tokens::new(&AuthConfig {
            identity: Identity::Open,
            token_keys: states.iter().map(key).collect(),
            token_key_file: None,
            token_seconds: 86_400,
            admin_key: Secret::new("x".repeat(16)),
        })
    }

    fn sign(tokens: &Tokens) -> String {
        tokens.sign(&QueueName::main(), UserId(7), (QueueNumber(9), 1), NOW).unwrap()
    }

    #[test]
    fn a_token_comes_back_as_it_was_signed_until_it_expires() {
        let tokens = tokens(&[("1", 1, KeyState::Active)]);
        let token = sign(&tokens);
        assert!(token.len() < 300, "{}", token.len());
        let read = tokens.verify(&token, NOW).unwrap();
        assert_eq!(
            (read.user, read.number, read.queue.as_str()),
            (UserId(7), QueueNumber(9), "main")
        );
        let refused = |at| tokens.verify(&token, at).unwrap_err().code();
        assert_eq!(refused(HALF_BEGAN + LIFE_MS), Code::TokenExpired);
        assert_eq!(refused(HALF_BEGAN - 6_000), Code::TokenInvalid);
    }

    #[test]
    fn a_token_is_the_same_until_half_a_life_is_over() {
        let tokens = tokens(&[("1", 1, KeyState::Active)]);
        let signed =
            |at| tokens.sign(&QueueName::main(), UserId(7), (QueueNumber(9), 1), at).unwrap();
        let (first, half) = (signed(HALF_BEGAN), LIFE_MS / 2);
        assert_eq!(signed(HALF_BEGAN + half - 1), first);
        assert_ne!(signed(HALF_BEGAN + half), first);
        assert!(!tokens.verify(&first, HALF_BEGAN + half - 1).unwrap().stale);
        assert!(tokens.verify(&first, HALF_BEGAN + half).unwrap().stale);
    }

    #[test]
    fn a_key_that_retires_still_checks_and_a_revoked_one_does_not() {
        let token = sign(&tokens(&[("old", 1, KeyState::Active)]));
        let rotated = tokens(&[("old", 1, KeyState::Verify), ("new", 2, KeyState::Active)]);
        assert!(rotated.verify(&token, NOW).unwrap().stale);
        let revoked = tokens(&[("old", 1, KeyState::Revoked), ("new", 2, KeyState::Active)]);
        assert_eq!(revoked.verify(&token, NOW).unwrap_err().code(), Code::TokenInvalid);
    }

    #[test]
    fn no_changed_byte_survives() {
        let tokens = tokens(&[("1", 1, KeyState::Active)]);
        let token = sign(&tokens);
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(tokens.verify(&forged, NOW).is_err(), "byte {at}");
        }
    }
}
