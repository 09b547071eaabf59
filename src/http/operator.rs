//! Who may tune: whoever has the operators' key, or a session of the desk that it opened. What he does then is a
//! feature's affair.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::extract::{bearer, cookie};
use crate::app::App;
use crate::auth::same_secret;
use crate::error::{Code, Error};

pub const DESK_COOKIE: &str = "usher_desk";
/// What a page of another site cannot send, even where a browser would send the cookie along.
const DESK_HEADER: &str = "x-usher-desk";

/// Somebody who may tune: he has the operators' key.
pub struct Operator(pub &'static str);

impl FromRequestParts<App> for Operator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let stranger = || {
            let detail = "send the operators' key in `Authorization: Bearer`";
            Error::refused(Code::Unauthenticated, detail)
        };
        if let Some(key) = bearer(&parts.headers)? {
            let knows = same_secret(key, app.config.auth.admin_key.expose());
            return if knows { Ok(Self("operator")) } else { Err(stranger()) };
        }
        let session = cookie(&parts.headers, DESK_COOKIE).ok_or_else(stranger)?;
        app.desk.verify(&session, app.clock.now_ms()).map_err(|_| stranger())?;
        let comes_from_the_desk = parts.method.is_safe()
            || parts.headers.get(DESK_HEADER).is_some_and(|sent| sent == "1");
        if comes_from_the_desk {
            Ok(Self("operator"))
        } else {
            let detail = "with a session of the desk, a change needs the header `X-Usher-Desk: 1`";
            Err(Error::refused(Code::Forbidden, detail))
        }
    }
}
