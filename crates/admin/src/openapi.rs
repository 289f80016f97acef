//! The API described for programs (OpenAPI 3.1): paths from the table of offers, forms by hand.

use serde_json::{Map, Value, json};

use crate::api::{Body, LONGEST_KEY, Offer};

/// Schemas, parameters and the answers that all routes share.
const COMPONENTS: &str = include_str!("openapi.json");

/// The whole description.
pub(crate) fn document(offers: &[Offer]) -> Value {
    let mut components: Value =
        serde_json::from_str(COMPONENTS).expect("a file of ours, read by every test");
    components["parameters"]["key"]["schema"]["maxLength"] = LONGEST_KEY.into();
    let mut paths = open_paths();
    for offer in offers {
        let path = paths.entry(offer.full_path()).or_insert_with(|| json!({}));
        path[offer.method.to_ascii_lowercase()] = operation(offer);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Knarr",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "See and steer: what runs, what failed, and what becomes of it. Lists are \
                `{items, next}`; `next` is given back as `cursor`. Errors are problem documents \
                (RFC 9457). Every order can be a dry run, takes an Idempotency-Key, and leaves one \
                line of the audit. `security` names the smallest role that a route takes: read, \
                operate, admin.",
        },
        "paths": paths,
        "components": components,
    })
}

/// What wants no token.
fn open_paths() -> Map<String, Value> {
    let open = |does: &str, media: &str, answers: &[(&str, &str)]| {
        let answers: Map<String, Value> = answers
            .iter()
            .map(|(status, says)| {
                ((*status).to_owned(), json!({ "description": says, "content": { media: {} } }))
            })
            .collect();
        json!({ "get": { "summary": does, "security": [], "responses": answers } })
    };
    let json = "application/json";
    let ready = [("200", "Ready"), ("503", "Not ready, with the reasons")];
    [
        ("/", open("What is offered, for people", "text/plain", &[("200", "A list")])),
        ("/health/live", open("Whether the process lives", json, &[("200", "It does")])),
        ("/health/ready", open("Whether the process is ready", json, &ready)),
        ("/metrics", open("Counts, as Prometheus reads them", "text/plain", &[("200", "Counts")])),
        ("/api/openapi.json", open("This description", json, &[("200", "OpenAPI 3.1")])),
    ]
    .into_iter()
    .map(|(path, value)| (path.to_owned(), value))
    .collect()
}

fn operation(offer: &Offer) -> Value {
    let orders = offer.method != "GET";
    let mut parameters: Vec<Value> =
        in_path(offer.path).into_iter().chain(offer.query.iter().copied()).map(parameter).collect();
    let mut responses = json!({ "200": answer(offer, "Carried out") });
    let mut problems = vec!["400", "401", "403", "503"];
    if offer.path.contains('{') || orders {
        problems.push("404");
    }
    if orders {
        parameters.push(parameter("key"));
        problems.extend(["413", "415"]);
    }
    if offer.answer == "Done" {
        problems.extend(["409", "422"]);
        let later = "It waits for its halted endpoint: resumed, it takes effect";
        responses["202"] = answer(offer, later);
    } else if !orders {
        responses["200"] = answer(offer, offer.does);
    }
    for status in problems {
        responses[status] = json!({ "$ref": format!("#/components/responses/{status}") });
    }
    let mut operation = json!({
        "operationId": operation_id(offer),
        "summary": offer.does,
        "security": [{ "token": [offer.role.as_str()] }],
        "parameters": parameters,
        "responses": responses,
    });
    let (form, needed) = match offer.body {
        Body::Nothing => return operation,
        Body::Reason => ("Reason", false),
        Body::Form(form) => (form, true),
    };
    operation["requestBody"] = json!({ "required": needed, "content": of_json(form) });
    operation
}

fn answer(offer: &Offer, says: &str) -> Value {
    json!({ "description": says, "content": of_json(offer.answer) })
}

fn of_json(form: &str) -> Value {
    json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{form}") } } })
}

fn parameter(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

/// The names between braces.
fn in_path(path: &str) -> Vec<&str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
}

/// `post-endpoints-halt`: method and the fixed parts of the path, with what is named singly.
fn operation_id(offer: &Offer) -> String {
    let parts = offer.path.split('/').filter(|part| !part.is_empty());
    let words = parts.map(|part| part.trim_matches(['{', '}']));
    let words: Vec<&str> = words.collect();
    format!("{}-{}", offer.method.to_ascii_lowercase(), words.join("-"))
}
