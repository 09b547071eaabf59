//! Keys: given as settings, or made once and kept in the data directory for the owner's eyes only.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// HMAC-SHA-256 is as strong as its output: a shorter key would be the weakest part.
const TOKEN_KEY_BYTES: usize = 32;
const ADMIN_KEY_CHARS_MIN: usize = 16;

/// Text that never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A key that signs or checks queue tokens.
#[derive(Clone)]
pub struct TokenKey {
    /// Names the key in a token's header.
    pub kid: String,
    pub secret: Vec<u8>,
    pub state: KeyState,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({}, {:?})", self.kid, self.state)
    }
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Signs new tokens and checks old ones; exactly one key is active.
    Active,
    /// Checks only.
    Verify,
    /// Its tokens are refused.
    Revoked,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    kid: String,
    secret: String,
    state: KeyState,
}

/// What becomes of a key that is neither given nor kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// It is made and kept.
    Make,
    /// It is made, and forgotten: somebody only looks.
    Look,
}

/// The keys of `USHER_TOKEN_KEY` and the file they are in, or the one kept in the data directory.
pub(super) fn token_keys(
    written: Option<&str>,
    data_dir: &Path,
    missing: Keys,
) -> Result<(Vec<TokenKey>, Option<PathBuf>), String> {
    let text = match written {
        Some(text) => text.to_owned(),
        None => kept(&data_dir.join("token.key"), missing)?,
    };
    let Some(file) = text.strip_prefix('@').map(PathBuf::from) else {
        return Ok((vec![single_key(&text)?], None));
    };
    let problem =
        |error: &dyn fmt::Display| format!("USHER_TOKEN_KEY: {}: {error}", file.display());
    let list = std::fs::read(&file).map_err(|error| problem(&error))?;
    Ok((token_key_list(&list).map_err(|error| problem(&error))?, Some(file)))
}

/// The operators' key of `USHER_ADMIN_KEY`, or the one kept in the data directory.
pub(super) fn admin_key(
    written: Option<&str>,
    data_dir: &Path,
    missing: Keys,
) -> Result<Secret, String> {
    let text = match written {
        Some(text) => text.to_owned(),
        None => kept(&data_dir.join("admin.key"), missing)?,
    };
    if text.len() < ADMIN_KEY_CHARS_MIN || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!(
            "USHER_ADMIN_KEY is at least {ADMIN_KEY_CHARS_MIN} visible ASCII characters"
        ));
    }
    Ok(Secret::new(text))
}

fn single_key(text: &str) -> Result<TokenKey, String> {
    let secret = decode(text)
        .ok_or_else(|| format!("USHER_TOKEN_KEY is base64 of {TOKEN_KEY_BYTES} bytes, or @FILE"))?;
    Ok(TokenKey { kid: "1".to_owned(), secret, state: KeyState::Active })
}

/// The keys of a file that `USHER_TOKEN_KEY` names.
pub fn token_key_list(text: &[u8]) -> Result<Vec<TokenKey>, String> {
    let written: Vec<WrittenKey> =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut keys = Vec::with_capacity(written.len());
    for WrittenKey { kid, secret, state } in written {
        let plain = !kid.is_empty()
            && kid.len() <= 16
            && kid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !plain || keys.iter().any(|key: &TokenKey| key.kid == kid) {
            return Err("each kid is 1 to 16 of A-Z, a-z, 0-9 and `-`, and occurs once".to_owned());
        }
        let secret = decode(&secret)
            .ok_or_else(|| format!("the secret of `{kid}` is base64 of {TOKEN_KEY_BYTES} bytes"))?;
        keys.push(TokenKey { kid, secret, state });
    }
    if keys.iter().filter(|key| key.state == KeyState::Active).count() != 1 {
        return Err("exactly one key has the state `active`".to_owned());
    }
    Ok(keys)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.trim()).ok().filter(|bytes| bytes.len() == TOKEN_KEY_BYTES)
}

/// Reads a key file, or makes it: two starts at once agree on whichever file was made first.
fn kept(file: &Path, missing: Keys) -> Result<String, String> {
    let problem = |error: std::io::Error| format!("USHER_DATA_DIR: {}: {error}", file.display());
    let fresh = STANDARD.encode(crate::chance::bytes::<TOKEN_KEY_BYTES>());
    if missing == Keys::Look && !file.exists() {
        return Ok(fresh);
    }
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).map_err(problem)?;
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut made) => {
            made.write_all(fresh.as_bytes()).and_then(|()| made.sync_all()).map_err(problem)?;
            Ok(fresh)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok(std::fs::read_to_string(file).map_err(problem)?.trim().to_owned())
        }
        Err(error) => Err(problem(error)),
    }
}
