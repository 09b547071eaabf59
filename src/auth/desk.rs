//! Sessions at the operators' desk: whoever showed their key is given a token of it, so that a browser need not keep the
//! key itself. It opens the desk and nothing else: no queue token and no identity has its type, its audience and its key.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{check_times, invalid};
use crate::config::Secret;
use crate::error::Error;

/// A working day. It ends earlier when the key is changed.
pub const DESK_SECONDS: i64 = 12 * 3_600;
pub(super) const DESK_TOKEN_TYPE: &str = "desk+jwt";
const AUDIENCE: &str = "usher:desk";

#[derive(Serialize, Deserialize)]
struct DeskClaims {
    aud: String,
    iat: i64,
    exp: i64,
}

/// Signs and checks sessions, with the operators' key: every instance that has it knows them.
pub struct Desk {
    signing: EncodingKey,
    checking: DecodingKey,
}

impl Desk {
    pub fn new(admin_key: &Secret) -> Self {
        let secret = admin_key.expose().as_bytes();
        Self {
            signing: EncodingKey::from_secret(secret),
            checking: DecodingKey::from_secret(secret),
        }
    }

    pub fn sign(&self, now_ms: i64) -> Result<String, Error> {
        let header = Header { typ: Some(DESK_TOKEN_TYPE.to_owned()), ..Header::default() };
        let now = now_ms / 1_000;
        let claims = DeskClaims { aud: AUDIENCE.to_owned(), iat: now, exp: now + DESK_SECONDS };
        jsonwebtoken::encode(&header, &claims, &self.signing).map_err(|error| Error::Internal {
            context: "a session cannot be signed",
            source: error.into(),
        })
    }

    pub fn verify(&self, token: &str, now_ms: i64) -> Result<(), Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["aud"]);
        // Times are judged below, by the house's clock.
        validation.validate_exp = false;
        let read = jsonwebtoken::decode::<DeskClaims>(token, &self.checking, &validation)
            .map_err(|_| invalid())?;
        if read.header.typ.as_deref() != Some(DESK_TOKEN_TYPE) {
            return Err(invalid());
        }
        check_times((read.claims.exp, 0), read.claims.iat, now_ms / 1_000)
    }
}
