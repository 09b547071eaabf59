//! The OpenAPI 3.1 document, from the handlers themselves. What the edge does to every request is added here, so that
//! a handler says only what is its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::http::HeaderMap;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::server::{Server, ServerBuilder, ServerVariableBuilder};
use utoipa::openapi::{
    AllOfBuilder, ContentBuilder, Header, HeaderBuilder, ObjectBuilder, Ref, RefOr, Required,
    Response, ResponseBuilder, Schema, Type,
};
use utoipa::{Modify, OpenApi};

use super::links::links;
use super::page::Page;
use super::refusals::refusals;
use super::reply::{status, status_for_proxy};
use super::{check, figures, health};
use crate::{booking, concert, payment, queue};

/// Every route of both listeners.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Usher",
        description = "A virtual waiting room and box office. Every error is RFC 9457 problem JSON with a stable `code`. \
            Paths under `/admin` and `/metrics` are served on the operators' listener. Where security has an empty \
            alternative, or the queue token stands alone, `USHER_AUTH=open` is meant; in `jwt` mode the alternative with \
            an identity holds."
    ),
    paths(
        queue::http::join, queue::http::poll, queue::http::events::events, booking::http::leave, queue::http::look,
        queue::http::verify::verify,
        concert::http::list, concert::http::show, concert::http::seats,
        booking::http::hold, booking::http::show, booking::http::cancel, booking::http::of_user,
        payment::http::pay, payment::http::balance, payment::http::top_up, payment::http::history,
        health::livez, health::readyz, health::metrics, figures::events, document,
        queue::http::operators::list, queue::http::operators::show, queue::http::operators::create,
        queue::http::operators::show_policy, queue::http::operators::tune, queue::http::operators::tune_by_patch,
        queue::http::operators::admit, queue::http::operators::audit,
        queue::http::schedule::list, queue::http::schedule::add, queue::http::schedule::change,
        queue::http::schedule::cancel,
        queue::http::draw::look, queue::http::draw::show, queue::http::draw::announce,
        concert::http::admin_list, concert::http::admin_show, concert::http::create, concert::http::change,
        check::check, health::health,
    ),
    components(schemas(super::reply::Problem)),
    servers((url = "/", description = "Buyers: `USHER_LISTEN`")),
    modifiers(&Schemes, &Defaults, &Edge),
    tags(
        (name = "queue", description = "The line"),
        (name = "concert", description = "The catalogue"),
        (name = "booking", description = "Seats"),
        (name = "payment", description = "Money"),
        (name = "operators", description = "On the operators' listener"),
        (name = "health", description = "For probes and tools"),
    )
)]
pub struct Document;

/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "health", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object),
        (status = 304, description = "Nothing changed")))]
pub async fn document(headers: HeaderMap) -> axum::response::Response {
    static PAGE: LazyLock<Page> =
        LazyLock::new(|| Page::of(&Document::openapi()).expect("names and texts are always JSON"));
    PAGE.answer(&headers)
}

/// Who may ask.
struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = |description| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
            SecurityScheme::Http(scheme.description(Some(description)).build())
        };
        let operator = bearer(
            "`USHER_ADMIN_KEY`. The desk's pages have the cookie `usher_desk` instead, and send `X-Usher-Desk: 1` with every \
             change.",
        );
        components.add_security_scheme("operator", operator);
        let identity = bearer("in `jwt` mode: a token of the identity provider");
        components.add_security_scheme("identity", identity);
        let token = ApiKeyValue::with_description("Token-Auth", "`token_id` of a join");
        components
            .add_security_scheme("queue_token", SecurityScheme::ApiKey(ApiKey::Header(token)));
    }
}

/// What a request may leave out has no default of its own: least of all `null`, which is refused.
struct Defaults;

impl Modify for Defaults {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        for schema in components.schemas.values_mut() {
            let RefOr::T(Schema::Object(object)) = schema else { continue };
            for property in object.properties.values_mut() {
                let default = match property {
                    RefOr::Ref(property) => &mut property.default,
                    RefOr::T(Schema::Object(property)) => &mut property.default,
                    RefOr::T(_) => continue,
                };
                default.take_if(|default| default.is_null());
            }
        }
    }
}

/// What the edge adds to each operation: whose listener, which headers, which problems, and what may come next.
struct Edge;

impl Modify for Edge {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut document.paths.paths {
            let of_operators = path.starts_with("/admin/") || path == "/metrics";
            if of_operators {
                item.servers = Some(vec![operators()]);
            }
            for (operation, writes) in operations(item) {
                if of_operators {
                    let key = SecurityRequirement::new("operator", [""; 0]);
                    operation.security = Some(vec![key]);
                }
                cacheable(operation);
                refuse(path, operation, writes);
                named(operation);
                lead_on(operation);
            }
        }
    }
}

fn operators() -> Server {
    let listen = ServerVariableBuilder::new()
        .default_value("127.0.0.1:8081")
        .description(Some("`USHER_ADMIN_LISTEN`"));
    ServerBuilder::new()
        .url("http://{listen}")
        .description(Some("Operators"))
        .parameter("listen", listen)
        .build()
}

/// The operations of a path, and whether they change anything.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&mut Operation, bool)> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    let writes =
        [put, post, delete, patch].into_iter().flatten().map(|operation| (operation, true));
    get.iter_mut().map(|operation| (operation, false)).chain(writes)
}

/// An operation that may answer 304 gives a tag and takes it back.
fn cacheable(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    if !responses.contains_key("304") {
        return;
    }
    for response in responses.values_mut().filter_map(value) {
        response.headers.insert("ETag".to_owned(), header("for `If-None-Match`"));
        response.headers.insert("Cache-Control".to_owned(), header("how long it may be kept"));
    }
    add_header(operation, "If-None-Match", "answer 304 if this is still the tag");
}

/// A problem for each status of the codes that the operation can give, with the headers that it adds to them itself.
fn refuse(path: &str, operation: &mut Operation, writes: bool) {
    let status_of = if path == "/verify" { status_for_proxy } else { status };
    let mut codes: BTreeMap<u16, BTreeSet<String>> = BTreeMap::new();
    for code in refusals(path, operation, writes) {
        codes.entry(status_of(code).as_u16()).or_default().insert(code.to_string());
    }
    let responses = &mut operation.responses.responses;
    for (status, codes) in codes {
        let mut problem = problem(status, &codes);
        if let Some(own) = responses.get_mut(&status.to_string()).and_then(value) {
            problem.headers.append(&mut own.headers);
        }
        responses.insert(status.to_string(), problem.into());
    }
}

/// The shape of every problem, narrowed to the codes that are possible here.
fn problem(status: u16, codes: &BTreeSet<String>) -> Response {
    let narrowed = ObjectBuilder::new()
        .property(
            "status",
            ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status])),
        )
        .property(
            "code",
            ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes.clone())),
        );
    let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(narrowed);
    let names = codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>();
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let mut response = ResponseBuilder::new()
        .description(names.join(", "))
        .content("application/problem+json", content)
        .build();
    if matches!(status, 429 | 503) || codes.contains("not_admitted") {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let description = "seconds until it is worth trying again";
        let header = HeaderBuilder::new().schema(Some(seconds)).description(Some(description));
        response.headers.insert("Retry-After".to_owned(), RefOr::T(header.build()));
    }
    if status == 401 {
        response.headers.insert("WWW-Authenticate".to_owned(), header("`Bearer`"));
    }
    response
}

/// Every request may have a name, and every answer has it.
fn named(operation: &mut Operation) {
    add_header(operation, "X-Request-Id", "1 to 64 of `A-Z a-z 0-9 . _ -`; any other is replaced");
    for response in operation.responses.responses.values_mut().filter_map(value) {
        response.headers.insert("X-Request-Id".to_owned(), header("the name of the request"));
    }
}

/// What may come next, from the answers that are no refusals.
fn lead_on(operation: &mut Operation) {
    let next: Vec<_> = links(operation.operation_id.as_deref().unwrap_or_default()).collect();
    let responses = operation.responses.responses.iter_mut();
    let successes = responses.filter(|(status, _)| status.starts_with('2'));
    for response in successes.filter_map(|(_, response)| value(response)) {
        response
            .links
            .extend(next.iter().map(|(name, link)| ((*name).to_owned(), link.clone().into())));
    }
}

fn add_header(operation: &mut Operation, name: &str, description: &str) {
    let parameter: Parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build();
    operation.parameters.get_or_insert_default().push(parameter.into());
}

fn header(description: &str) -> RefOr<Header> {
    let text = ObjectBuilder::new().schema_type(Type::String);
    RefOr::T(HeaderBuilder::new().schema(Some(text)).description(Some(description)).build())
}

fn value<T>(of: &mut RefOr<T>) -> Option<&mut T> {
    match of {
        RefOr::T(value) => Some(value),
        RefOr::Ref(_) => None,
    }
}
