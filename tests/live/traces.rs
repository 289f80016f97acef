//! Traces through a real broker and a real database: MassTransit's header in, both headers out.

use std::collections::BTreeSet;

use knarr_testkit::collector::{Collector, Mood, SeenSpan};
use serde_json::{Value, json};

use crate::serving::Serving;
use crate::wire::{MASS_TRANSIT, Raw, SCANNED, SUBMIT, Wire, envelope};
use crate::world::{World, until};

/// What .NET's `Activity.Id` looks like, as MassTransit sends it (masstransit-wire, §6).
const ACTIVITY: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A scan by MassTransit's envelope and header, and one by raw JSON and the W3C's.
async fn submit(wire: &Wire) {
    let message = json!({ "scanId": uuid::Uuid::new_v4(), "url": "https://malicious.test/" });
    let from_dotnet = Raw {
        exchange: SUBMIT,
        content_type: MASS_TRANSIT,
        headers: vec![("MT-Activity-Id", ACTIVITY)],
        body: envelope(&uuid::Uuid::new_v4().to_string(), message),
        ..Raw::default()
    };
    wire.publish(&from_dotnet).await;
    // Another URL: what is known of the first is not asked for again.
    let message = json!({ "scanId": uuid::Uuid::new_v4(), "url": "https://suspicious.test/" });
    let raw = Raw {
        exchange: SUBMIT,
        content_type: "application/json",
        message_id: uuid::Uuid::new_v4().to_string(),
        headers: vec![("traceparent", PARENT)],
        body: message.to_string().into_bytes(),
        ..Raw::default()
    };
    wire.publish(&raw).await;
}

/// Everything of one trace, once its verdict has been sent.
async fn whole(collector: &Collector, parent: &str) -> Vec<SeenSpan> {
    let sent = format!("send {SCANNED}");
    until("the whole trace", async || {
        let spans: Vec<_> =
            collector.spans().into_iter().filter(|span| span.trace == parent[3..35]).collect();
        let names: Vec<_> = spans.iter().map(|span| span.name.clone()).collect();
        let done = names.iter().filter(|name| name.starts_with("done ")).count() == 2;
        if done && names.contains(&sent) { Ok(spans) } else { Err(format!("{names:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn mt_369_live_a_scan_stays_in_its_senders_trace_over_broker_store_and_services() {
    let world = World::new().await;
    let collector = Collector::start(Mood::Takes).await;
    let url = collector.url();
    let set = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_SERVICE_NAME", "scans"),
        ("KNARR_LOG_FORMAT", "json"),
        ("KNARR_LOG", "info,knarr_http=debug"),
    ];
    let serving = Serving::ready(&world, &set).await;
    let wire = Wire::open(&world).await;
    wire.tap("verdicts", SCANNED).await;
    submit(&wire).await;
    let mut of_requests = BTreeSet::new();
    for parent in [ACTIVITY, PARENT] {
        let spans = whole(&collector, parent).await;
        let process = spans.iter().find(|span| span.name == "process url-scan").expect("taken");
        assert_eq!(process.parent, parent[36..52]);
        assert_eq!(process.get("messaging.system"), "rabbitmq");
        assert_eq!(process.get("messaging.destination.name"), format!("{SUBMIT}:url-scan"));
        assert_eq!(process.resource["service.name"], "scans");
        let calls: BTreeSet<_> =
            spans.iter().filter(|span| span.name.starts_with("call ")).map(|it| &it.id).collect();
        let requests: Vec<_> = spans.iter().filter(|span| span.kind == "Client").collect();
        assert!(requests.len() >= 2 && requests.iter().all(|it| calls.contains(&it.parent)));
        of_requests.extend(requests.iter().map(|it| format!("00-{}-{}-01", it.trace, it.id)));
    }
    let seen = world.sandbox.requests().into_iter().filter_map(|it| it.traceparent);
    assert_eq!(seen.collect::<BTreeSet<_>>(), of_requests, "the services saw these requests");
    assert_eq!(collector.wrong(), Vec::<String>::new());
    verdicts_carry_both_headers(&wire, &collector).await;
    a_line_names_its_trace(&serving.log());
    wire.close().await;
    assert!(serving.stop().await.success());
}

/// On the wire and in the envelope, each the place of the span that made the verdict.
async fn verdicts_carry_both_headers(wire: &Wire, collector: &Collector) {
    let spans = collector.spans();
    let makers: BTreeSet<_> = spans
        .iter()
        .filter(|span| span.name.starts_with("done "))
        .map(|span| format!("00-{}-{}-01", span.trace, span.id))
        .collect();
    for _ in 0..2 {
        let (headers, body) = wire.take("verdicts").await.expect("a verdict for each scan");
        let body: Value = serde_json::from_slice(&body).expect("an envelope");
        for name in ["traceparent", "MT-Activity-Id"] {
            assert!(makers.contains(&headers[name]), "{name}: {headers:?}");
            assert_eq!(body["headers"][name], headers[name], "{name}");
        }
    }
}

/// What is logged during a call says in which trace.
fn a_line_names_its_trace(log: &str) {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_trace = |line: &Value| line["span"]["trace_id"] == ACTIVITY[3..35];
    let lines: Vec<_> = lines.filter(|line| of_trace(line)).collect();
    assert!(lines.iter().any(|line| line["span"]["name"] == "call"), "{log}");
}
