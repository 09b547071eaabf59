//! The OpenAPI document as a judge: every answer of every story is held against it. It knows the keywords that our
//! document uses and stops at any other, so that nothing is passed over in silence; patterns are the parsers' affair.

use std::sync::LazyLock;

use serde_json::{Map, Value};
use utoipa::OpenApi;

/// The document that the server shows.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::to_value(usher::http::openapi::Document::openapi()).expect("the document is JSON")
});

/// What is checked below, then what says nothing about a value by itself.
const KEYWORDS: [&str; 12] = [
    "$ref",
    "type",
    "enum",
    "required",
    "properties",
    "items",
    "allOf",
    "oneOf",
    "minimum",
    "maximum",
    "maxLength",
    "format",
];
const ANNOTATIONS: [&str; 7] = [
    "description",
    "default",
    "deprecated",
    "pattern",
    "minLength",
    "additionalProperties",
    "example",
];

/// What the document objects to in an answer; nothing when it does not describe the request.
pub fn objection(method: &str, path: &str, (status, body): (u16, &str)) -> Option<String> {
    let operation = operation(method, path)?;
    let Some(response) = operation["responses"].get(status.to_string()) else {
        return Some(format!("no status {status} is promised"));
    };
    let Some((media_type, content)) =
        response["content"].as_object().and_then(|all| all.iter().next())
    else {
        return (!body.is_empty()).then(|| "no body is promised".to_owned());
    };
    if media_type == "text/plain" {
        return None;
    }
    let value = serde_json::from_str(body).unwrap_or_default();
    fits(&content["schema"], &value, "").err()
}

/// The operation that a request asks for.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let matches = |template: &str| {
        let known: Vec<&str> = template.split('/').collect();
        known.len() == parts.len()
            && known
                .iter()
                .zip(&parts)
                .all(|(known, part)| known == part || known.starts_with('{') && !part.is_empty())
    };
    let paths = DOCUMENT["paths"].as_object()?;
    let (_, item) = paths.iter().find(|(template, _)| matches(template))?;
    item.get(method.to_ascii_lowercase())
}

/// The schema itself, wherever it stands.
fn resolved(schema: &'static Value) -> &'static Value {
    let Some(reference) = schema["$ref"].as_str() else { return schema };
    let pointer = reference.strip_prefix('#').expect("references stay in the document");
    DOCUMENT.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

/// Whether a value is what a schema says, and no field of it is unknown to the schema.
fn fits(schema: &'static Value, value: &Value, at: &str) -> Result<(), String> {
    holds(schema, value, at)?;
    let Some(fields) = value.as_object() else { return Ok(()) };
    let known = fields_of(schema);
    if let Some(name) =
        fields.keys().find(|name| !known.is_empty() && !known.contains(&name.as_str()))
    {
        return Err(format!("{at}/{name} is not in the document"));
    }
    Ok(())
}

/// The fields that a schema names; none for one that lets everything in.
fn fields_of(schema: &'static Value) -> Vec<&'static str> {
    let schema = resolved(schema);
    let own = schema["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str);
    own.chain(parts(schema, "allOf").flat_map(fields_of)).collect()
}

fn parts(schema: &'static Value, keyword: &str) -> impl Iterator<Item = &'static Value> {
    schema[keyword].as_array().into_iter().flatten()
}

fn holds(schema: &'static Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolved(schema);
    for keyword in schema.as_object().expect("a schema is an object").keys() {
        let known = KEYWORDS.contains(&&**keyword) || ANNOTATIONS.contains(&&**keyword);
        assert!(known, "{keyword} is not understood here");
    }
    let unless = |wrong: bool, what: &str| {
        if wrong { Err(format!("{at} is {value}: {what} {schema}")) } else { Ok(()) }
    };
    let types = &schema["type"];
    let of_type = |name: &str| is_of_type(name, value);
    let any =
        types.as_array().is_none_or(|types| types.iter().filter_map(Value::as_str).any(of_type));
    unless(!any || !types.as_str().is_none_or(of_type), "not of the type of")?;
    unless(schema["enum"].as_array().is_some_and(|all| !all.contains(value)), "none of")?;
    let number = value.as_f64();
    let beyond = |bound: &str, outside: fn(&f64, &f64) -> bool| {
        number.zip(schema[bound].as_f64()).is_some_and(|(number, bound)| outside(&number, &bound))
    };
    unless(beyond("minimum", f64::lt) || beyond("maximum", f64::gt), "out of the bounds of")?;
    if let Some(text) = value.as_str() {
        let longest = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
        unless(text.chars().count() as u64 > longest, "longer than")?;
        unless(schema["format"] == "date-time" && !is_instant(text), "no instant as in")?;
    }
    for name in parts(schema, "required").filter_map(Value::as_str) {
        unless(value.get(name).is_none(), &format!("without the `{name}` of"))?;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        value.get(name).map_or(Ok(()), |field| fits(property, field, &format!("{at}/{name}")))?;
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (index, item) in values.iter().enumerate() {
            fits(items, item, &format!("{at}/{index}"))?;
        }
    }
    for part in parts(schema, "allOf") {
        holds(part, value, at)?;
    }
    let alternatives = parts(schema, "oneOf").filter(|one| fits(one, value, at).is_ok()).count();
    unless(schema.get("oneOf").is_some() && alternatives != 1, "not exactly one of")
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => panic!("{name} is no type of JSON"),
    }
}

/// `2030-03-17T17:51:40.000Z`
fn is_instant(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}
