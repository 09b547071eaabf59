//! The OpenAPI 3.1 document, from the handlers themselves.

use axum::Json;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{check, health};
use crate::{booking, concert, payment, queue};

/// Every route of both listeners.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Usher",
        description = "A virtual waiting room and box office. Every error is RFC 9457 problem JSON with a stable `code`. \
            Paths under `/admin` and `/metrics` are served on the operators' listener."
    ),
    paths(
        queue::http::join, queue::http::poll, booking::http::leave, queue::http::look,
        concert::http::list, concert::http::show, concert::http::seats,
        booking::http::hold, booking::http::show, booking::http::cancel, booking::http::of_user,
        payment::http::pay, payment::http::balance, payment::http::top_up, payment::http::history,
        health::livez, health::readyz, health::metrics, document,
        queue::http::list, queue::http::show, queue::http::create, queue::http::show_policy, queue::http::tune,
        queue::http::tune_by_patch, queue::http::admit, queue::http::audit,
        concert::http::admin_list, concert::http::admin_show, concert::http::create, concert::http::change,
        check::check,
    ),
    modifiers(&Security),
    tags((name = "queue"), (name = "concert"), (name = "booking"), (name = "payment"), (name = "operators"), (name = "health"))
)]
pub struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        let bearer =
            || SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        components.add_security_scheme("operator", bearer());
        components.add_security_scheme("identity", bearer());
        let token = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("Token-Auth")));
        components.add_security_scheme("queue_token", token);
    }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "health", responses((status = 200, content_type = "application/json")))]
pub async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
