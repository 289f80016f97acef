//! Who may do what: tokens give a name and a role, routes want one.

use reqwest::Method;
use serde_json::{Value, json};

use crate::desk::{ADMIN, ANNA, Bench, OTTO, refused};
use crate::doors::told;
use crate::ids::id;

/// Method, path with made-up names, and the smallest role, of everything behind a token.
async fn routes(bench: &Bench) -> Vec<(Method, String, String)> {
    let (_, described) = told(bench.bare(Method::GET, "/api/openapi.json")).await;
    let mut routes = Vec::new();
    for (path, methods) in described["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let Some(role) = operation["security"][0]["token"][0].as_str() else { continue };
            let path = path.replace("{saga}", "url-scan").replace("{name}", "nobody");
            let path = path.replace("{id}", &id(99).to_string());
            let method: Method = method.to_uppercase().parse().expect("a method");
            routes.push((method, path, role.to_owned()));
        }
    }
    assert_eq!(routes.len(), 26, "{routes:?}");
    routes
}

fn size(role: &str) -> usize {
    ["read", "operate", "admin"].iter().position(|it| *it == role).expect("a role")
}

#[tokio::test]
async fn s0_01_each_route_lets_in_its_role_and_larger_ones_and_nobody_else() {
    let bench = Bench::start().await;
    for (method, path, wanted) in routes(&bench).await {
        for (token, role) in [(OTTO, "read"), (ANNA, "operate"), (ADMIN, "admin")] {
            let request = bench.request(token, method.clone(), &path);
            let what = format!("{role} at {method} {path}");
            if size(role) < size(&wanted) {
                let body = refused(&bench, request, 403, &format!("wants {wanted}")).await;
                assert!(body["detail"].to_string().contains(role), "{what}: {body}");
            } else {
                let (status, body) = told(request).await;
                assert!(![401, 403].contains(&status), "{what}: {status} {body}");
            }
        }
        for token in ["", "nope", "anna-is-on-call-tonigh"] {
            let request = bench.request(token, method.clone(), &path);
            refused(&bench, request, 401, "KNARR_TOKENS").await;
        }
        refused(&bench, bench.bare(method, &path), 401, "KNARR_TOKENS").await;
    }
}

#[tokio::test]
async fn s0_01_the_damage_that_an_order_can_do_decides_on_its_role() {
    let bench = Bench::start().await;
    let routes = routes(&bench).await;
    let of = |role: &str| {
        let own = routes.iter().filter(|(.., wanted)| wanted == role);
        let mut told: Vec<String> = own.map(|(method, path, _)| told_as(method, path)).collect();
        told.sort();
        told
    };
    assert!(of("read").iter().all(|route| route.starts_with("GET ")));
    assert_eq!(
        of("admin"),
        [
            "DELETE /quarantine/ID",
            "POST /incidents/ID/discard",
            "POST /quarantine/discard",
            "POST /sagas/url-scan/instances/ID/purge",
            "PUT /quarantine/ID/message",
        ],
        "what removes for good or changes what was said"
    );
    assert_eq!(of("operate").len(), 11);
}

fn told_as(method: &Method, path: &str) -> String {
    format!("{method} {}", path.replace("/api/v1", "").replace(&id(99).to_string(), "ID"))
}

#[tokio::test]
async fn s0_01_a_front_end_asks_whose_token_it_is_and_whether_it_may_enter_a_page() {
    let bench = Bench::start().await;
    let ask = |token: &str, query: &str| {
        told(bench.request(token, Method::GET, &format!("/api/v1/whoami{query}")))
    };
    let known = json!({ "name": "anna", "role": "operate", "roles": ["read", "operate"] });
    assert_eq!(ask(ANNA, "").await, (200, known.clone()));
    assert_eq!(ask(ANNA, "?role=operate").await, (200, known));
    assert_eq!(ask(ADMIN, "").await.1["name"], "admin");
    assert_eq!(ask(OTTO, "?role=read").await.0, 200);
    let forbidden = |(status, body): (u16, Value)| {
        assert_eq!(status, 403, "{body}");
        assert_eq!(body["title"], "The token may not do this");
    };
    forbidden(ask(OTTO, "?role=operate").await);
    forbidden(ask(ANNA, "?role=admin").await);
    assert_eq!(ask(ANNA, "?role=boss").await.0, 400);
    assert_eq!(ask("somebody-elses-token", "").await.0, 401);
}

#[tokio::test]
async fn s0_01_the_audit_holds_the_name_of_whoever_did_it_and_no_token() {
    let bench = Bench::start().await;
    for token in [ANNA, ADMIN] {
        let halt = bench.request(token, Method::POST, "/api/v1/endpoints/url-scan/halt");
        assert_eq!(told(halt).await.0, 200);
    }
    let names: Vec<String> = bench.audit().into_iter().map(|line| line.who).collect();
    assert_eq!(names, ["anna", "admin"]);
    let shown = bench.get("/api/v1/audit").await.to_string();
    for secret in [ANNA, ADMIN] {
        assert!(!shown.contains(secret) && !bench.everything().contains(secret));
    }
}
