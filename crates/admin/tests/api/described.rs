//! The description: every route stands in it, nothing else is offered, and the guide tells the same.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::desk::{ADMIN, Bench};
use crate::doors::{is_as_recorded, told};
use crate::ids::id;

const METHODS: [Method; 5] =
    [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH];

async fn described(bench: &Bench) -> Value {
    let (status, body) = told(bench.bare(Method::GET, "/api/openapi.json")).await;
    assert_eq!(status, 200);
    body
}

fn filled(path: &str) -> String {
    let path = path.replace("{saga}", "url-scan").replace("{name}", "url-scan");
    path.replace("{id}", &id(99).to_string())
}

/// Everything that is offered is in the description, and the other way round: what it names is
/// answered by its own route, and every other method there is refused.
#[tokio::test]
async fn pe_298_every_route_is_described_and_every_description_has_its_route() {
    let bench = Bench::start().await;
    let document = described(&bench).await;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in METHODS {
            let request = bench.request(ADMIN, method.clone(), &filled(path));
            let response = request.send().await.expect("an answer");
            let (status, text) = (response.status().as_u16(), response.text().await.expect("text"));
            let offered = methods.get(method.as_str().to_ascii_lowercase()).is_some();
            let what = format!("{method} {path}: {status} {text}");
            assert_eq!(status != 405, offered, "{what}");
            assert!(!text.contains("There is nothing at"), "{what}");
        }
    }
}

#[tokio::test]
async fn the_front_page_and_the_guide_tell_of_every_route_with_its_role() {
    let bench = Bench::start().await;
    let document = described(&bench).await;
    let index = bench.bare(Method::GET, "/").send().await.expect("an answer");
    let index = index.text().await.expect("text");
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/admin-api.md");
    let guide = std::fs::read_to_string(guide).expect("the guide is there");
    let mut wanted = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let Some(role) = operation["security"][0]["token"][0].as_str() else { continue };
            let method = method.to_uppercase();
            assert!(index.contains(&format!("{method:<6} {role:<7} {path}")), "{method} {path}");
            let does = operation["summary"].as_str().expect("a summary");
            wanted.insert(format!("| `{method} {path}` | {role} | {does} |"));
        }
    }
    let told: BTreeSet<String> = guide
        .lines()
        .filter(|line| line.contains("/api/v1/") && line.starts_with("| `"))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = wanted.difference(&told).cloned().collect();
    let stale: Vec<_> = told.difference(&wanted).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "missing:\n{}\nstale: {stale:#?}",
        missing.join("\n")
    );
}

#[tokio::test]
async fn the_description_is_as_recorded_and_every_reference_leads_somewhere() {
    let bench = Bench::start().await;
    let document = described(&bench).await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = Vec::new();
    gather(&document, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut ids = BTreeSet::new();
    for methods in document["paths"].as_object().expect("paths").values() {
        for operation in methods.as_object().expect("methods").values() {
            if let Some(id) = operation["operationId"].as_str() {
                assert!(ids.insert(id.to_owned()), "{id} stands twice");
            }
        }
    }
    let mut document = document;
    document["info"]["version"] = "as built".into();
    is_as_recorded("openapi", &document);
}

fn gather(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str().filter(|_| name == "$ref") {
                    Some(reference) => into.push(reference.to_owned()),
                    None => gather(member, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, into)),
        _ => {}
    }
}

/// Answers have the members that the description names, and no others.
#[tokio::test]
async fn pe_298_answers_have_the_form_that_is_described() {
    let bench = Bench::start().await;
    let document = described(&bench).await;
    let incident = bench.purged().await;
    bench.done("/api/v1/endpoints/url-scan/halt").await;
    let released = bench.done(&format!("/api/v1/quarantine/{}/release", id(20))).await;
    let first = |list: Value| list["items"][0].clone();
    let instance = format!("/api/v1/sagas/url-scan/instances/{}", id(1));
    for (form, answer) in [
        ("Done", released),
        ("Caller", bench.get("/api/v1/whoami").await),
        ("Saga", first(bench.get("/api/v1/sagas").await)),
        ("InstanceSummary", first(bench.get("/api/v1/sagas/url-scan/instances").await)),
        ("Instance", bench.get(&instance).await),
        ("Endpoint", first(bench.get("/api/v1/endpoints").await)),
        ("Stop", first(bench.get("/api/v1/endpoints").await)["stop"].clone()),
        ("IncidentSummary", first(bench.get("/api/v1/incidents").await)),
        ("Incident", bench.get(&format!("/api/v1/incidents/{incident}")).await),
        ("QuarantineSummary", first(bench.get("/api/v1/quarantine").await)),
        ("Quarantined", bench.get(&format!("/api/v1/quarantine/{}", id(21))).await),
        ("AuditLine", first(bench.get("/api/v1/audit").await)),
        ("Problem", bench.order("/api/v1/endpoints/nope/halt").await.1),
    ] {
        let described = members(&document, form);
        let got: BTreeSet<String> =
            answer.as_object().expect("an object").keys().cloned().collect();
        let strange: Vec<_> = got.difference(&described).collect();
        // Members that are left out when there is nothing to say.
        let missing: Vec<_> = described
            .difference(&got)
            .filter(|name| !["holder", "problem", "nodes"].contains(&name.as_str()))
            .collect();
        assert!(strange.is_empty() && missing.is_empty(), "{form}: {strange:?} {missing:?}");
    }
}

fn members(document: &Value, form: &str) -> BTreeSet<String> {
    let schema = &document["components"]["schemas"][form];
    let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    let mut all: BTreeSet<String> = own.collect();
    for base in schema["allOf"].as_array().into_iter().flatten() {
        let name = base["$ref"].as_str().expect("a reference").rsplit('/').next().expect("a name");
        all.extend(members(document, name));
    }
    all
}
