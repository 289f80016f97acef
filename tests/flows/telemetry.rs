//! Traces and metrics at a collector; and one that hangs, which holds nothing up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use knarr_testkit::collector::{Collector, Mood, SeenSpan};
use knarr_url_scan::Verdict;
use serde_json::json;

use crate::house::{House, app, sandbox};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Asks until the answer is there.
async fn until<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answered = tokio::time::timeout(Duration::from_secs(60), asked).await;
    answered.unwrap_or_else(|_| panic!("never: {what}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn mt_369_a_scan_is_one_trace_from_its_message_to_the_services_and_its_verdict() {
    let (folder, sandbox) = (tempfile::tempdir().expect("a folder"), sandbox().await);
    let collector = Collector::start(Mood::Takes).await;
    let app = app(folder.path(), &sandbox)
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .set("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter%202")
        .set("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        .set("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .set("OTEL_BSP_SCHEDULE_DELAY", "50");
    let mut house = House::open(app).await.expect("it starts");
    let headers = json!({ "traceparent": PARENT });
    let scan = uuid::Uuid::new_v4();
    let message = json!({ "scanId": scan, "url": "https://malicious.test/" });
    house.send_with("Knarr.UrlScan:SubmitUrl", message, headers).await;
    let scanned = house.verdicts.next().await.expect("a verdict");
    assert_eq!(scanned.message.verdict, Verdict::Malicious);
    let trace = &PARENT[3..35];
    let ended = |spans: &[SeenSpan]| {
        spans.iter().any(|span| span.name == "send Knarr.UrlScan:UrlScanned")
            && spans.iter().filter(|span| span.name.starts_with("done ")).count() == 2
    };
    let spans = until("the whole trace", || {
        let spans: Vec<_> =
            collector.spans().into_iter().filter(|span| span.trace == trace).collect();
        ended(&spans).then_some(spans)
    })
    .await;
    assert_eq!(collector.wrong(), Vec::<String>::new());
    let one = |name: &str| {
        let named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(named.len(), 1, "{name}: {spans:#?}");
        named[0]
    };
    let process = one("process url-scan");
    assert_eq!(process.parent, &PARENT[36..52]);
    assert_eq!((process.kind.as_str(), process.get("knarr.outcome")), ("Consumer", "applied"));
    assert_eq!(process.get("knarr.instance.id"), scan.to_string());
    assert_eq!(process.get("knarr.state.to"), "Scanning");
    assert!(process.time.0 > 0 && process.time.1 >= process.time.0);
    assert_eq!(process.resource["service.name"], "flows");
    assert_eq!(process.resource["deployment.environment"], "test");
    assert!(process.resource.contains_key("service.instance.id"));

    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    let requests: Vec<_> = spans.iter().filter(|span| span.kind == "Client").collect();
    assert!(requests.len() >= 2, "{spans:#?}");
    for request in &requests {
        let call = by_id[request.parent.as_str()];
        assert!(call.name.starts_with("call Ask"), "{call:?}");
        assert_eq!(by_id[call.parent.as_str()].id, process.id);
        assert!(request.get("url.full").starts_with(&sandbox.url()), "{request:?}");
        assert!(!format!("{request:?}").contains("premium-key"), "{request:?}");
    }
    // The services saw exactly these requests, each under its span.
    let seen: BTreeSet<_> = sandbox.requests().into_iter().map(|it| it.traceparent).collect();
    let told: BTreeSet<_> =
        requests.iter().map(|it| Some(format!("00-{}-{}-01", it.trace, it.id))).collect();
    assert_eq!(seen, told);
    let sent = one("send Knarr.UrlScan:UrlScanned");
    assert!(by_id[sent.parent.as_str()].name.starts_with("done "), "{sent:?}");

    let metrics = until("metrics", || {
        Some(collector.metrics()).filter(|it| it.get("knarr_published_total") == Some(&1))
    })
    .await;
    assert!(metrics["knarr_applied_total"] >= 3, "{metrics:?}");
    assert_eq!(metrics["knarr_ready"], 1);
    assert!(collector.head().to_lowercase().contains("api-key: hunter 2"), "{}", collector.head());
    house.close().await;
}

/// The value of a metric at `/metrics`.
async fn metric(house: &House, name: &str) -> u64 {
    let text = house.text("/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn row_063_a_collector_that_never_answers_holds_nothing_up_and_what_is_lost_is_counted() {
    const SCANS: usize = 40;
    let (folder, sandbox) = (tempfile::tempdir().expect("a folder"), sandbox().await);
    let collector = Collector::start(Mood::Silent).await;
    let app = app(folder.path(), &sandbox)
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .set("OTEL_BSP_MAX_QUEUE_SIZE", "16")
        .set("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
        .set("OTEL_BSP_SCHEDULE_DELAY", "1")
        // Longer than any test waits: only the queue's bound can help.
        .set("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000");
    let mut house = House::open(app).await.expect("it starts");
    for n in 0..SCANS {
        house.submit(&format!("https://clean.test/{n}")).await;
    }
    let mut ended = BTreeSet::new();
    for _ in 0..SCANS {
        ended.insert(house.verdict().await.scan_id);
    }
    assert_eq!(ended.len(), SCANS, "every scan ends while the collector hangs");
    let asked = |collector: &Collector| collector.requests().iter().any(|it| it == "/v1/traces");
    until("the collector is asked", || asked(&collector).then_some(())).await;
    // Each scan is far more than one span; 16 wait, 8 are on their way, all others are counted.
    let dropped = metric(&house, "knarr_spans_dropped_total").await;
    assert!(dropped >= SCANS as u64, "{dropped}");
    assert_eq!(metric(&house, "knarr_spans_sent_total").await, 0);
    assert_eq!(collector.spans().len(), 0);
    // The stop does not wait for it either; it would wait an hour.
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_063_a_collector_that_is_down_gets_what_still_waits_when_it_is_back() {
    let (folder, sandbox) = (tempfile::tempdir().expect("a folder"), sandbox().await);
    let collector = Collector::start(Mood::Refuses(503)).await;
    let app = app(folder.path(), &sandbox)
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .set("OTEL_METRICS_EXPORTER", "none")
        .set("OTEL_BSP_SCHEDULE_DELAY", "1");
    let mut house = House::open(app).await.expect("it starts");
    let scan = house.submit("https://clean.test/").await;
    assert_eq!(house.verdict().await.scan_id, scan);
    until("it is asked", || (!collector.requests().is_empty()).then_some(())).await;
    assert_eq!(metric(&house, "knarr_spans_sent_total").await, 0);
    collector.set(Mood::Takes);
    let name = "send Knarr.UrlScan:UrlScanned";
    until(name, || collector.spans().into_iter().find(|span| span.name == name)).await;
    assert_eq!(metric(&house, "knarr_spans_dropped_total").await, 0);
    house.close().await;
    let (sent, asked) = (collector.spans().len(), collector.requests());
    assert!(sent > 5 && asked.iter().all(|path| path == "/v1/traces"), "{sent} {asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_traces_that_begin_here_the_share_that_is_asked_for_is_told() {
    let (folder, sandbox) = (tempfile::tempdir().expect("a folder"), sandbox().await);
    let collector = Collector::start(Mood::Takes).await;
    let app = app(folder.path(), &sandbox)
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .set("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        .set("OTEL_TRACES_SAMPLER_ARG", "0");
    let mut house = House::open(app).await.expect("it starts");
    let left_out = house.submit("https://clean.test/").await;
    assert_eq!(house.verdict().await.scan_id, left_out);
    let message = json!({ "scanId": uuid::Uuid::new_v4(), "url": "https://clean.test/kept" });
    let headers = json!({ "traceparent": PARENT });
    house.send_with("Knarr.UrlScan:SubmitUrl", message, headers).await;
    house.verdict().await;
    house.close().await;
    let kept = |span: &SeenSpan| span.trace == PARENT[3..35] || span.name.starts_with("batch ");
    let spans = collector.spans();
    assert!(spans.len() > 5 && spans.iter().all(kept), "{spans:#?}");
    // Those of the trace that is left out know it, and the services hear of it too.
    let asked = sandbox.requests().into_iter().filter_map(|request| request.traceparent);
    let flags: BTreeSet<_> = asked.map(|parent| parent[52..].to_owned()).collect();
    assert_eq!(flags, BTreeSet::from(["-00".to_owned(), "-01".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_waits_at_a_stop_is_sent_before_it() {
    let (folder, sandbox) = (tempfile::tempdir().expect("a folder"), sandbox().await);
    let collector = Collector::start(Mood::Takes).await;
    let app = app(folder.path(), &sandbox)
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        // Nothing is sent before the stop.
        .set("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
        .set("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let mut house = House::open(app).await.expect("it starts");
    house.submit("https://clean.test/").await;
    house.verdict().await;
    assert_eq!(collector.requests(), Vec::<String>::new());
    house.close().await;
    let names: BTreeSet<String> = collector.spans().into_iter().map(|span| span.name).collect();
    assert!(names.contains("process url-scan"), "{names:?}");
    assert!(names.contains("send Knarr.UrlScan:UrlScanned"), "{names:?}");
    assert_eq!(collector.metrics()["knarr_published_total"], 1);
}
