//! Both activities against the stand-ins of their services, over HTTP.

#![expect(clippy::disallowed_methods, reason = "sockets live in real time")]

use std::sync::Arc;
use std::time::Duration;

use knarr_http::{Client, Secret, Settings};
use knarr_saga::prelude::*;
use knarr_saga::{ErasedActivity, InstanceId, chrono, serde_json, uuid};
use knarr_sandbox::Sandbox;
use knarr_testkit::clock::TokioClock;
use knarr_testkit::memory::MemoryStore;
use knarr_url_scan::{
    Finding, SafeBrowsingVersion, UrlScanSettings, Verdict, parse_quotas, url_scan,
};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

/// No call of these tests takes more attempts.
const MANY: usize = 40;

/// The stand-ins, and one node that asks them.
struct Bench {
    sandbox: Sandbox,
    store: MemoryStore,
    settings: UrlScanSettings,
    virus_total: Arc<dyn ErasedActivity>,
    safe_browsing: Arc<dyn ErasedActivity>,
}

/// How a call ended.
struct End {
    result: Result<Finding, Failure>,
    /// Attempts that ended in `Again`.
    again: usize,
    /// Attempts that ended in a transient failure.
    transient: usize,
}

impl Bench {
    async fn new(change: impl FnOnce(&mut UrlScanSettings)) -> Bench {
        Bench::with(knarr_sandbox::Settings::default(), change).await
    }

    async fn with(
        sandbox: knarr_sandbox::Settings,
        change: impl FnOnce(&mut UrlScanSettings),
    ) -> Bench {
        let address = "127.0.0.1:0".parse().expect("an address");
        let sandbox = Sandbox::start(address, sandbox).await.expect("the sandbox listens");
        let base = sandbox.url().parse().expect("a base address");
        let mut settings = UrlScanSettings::default();
        settings.virus_total.key = Some(Secret::new("premium-key"));
        settings.virus_total.base = sandbox.url().parse().expect("a base address");
        settings.virus_total.quota = Vec::new();
        settings.virus_total.poll_interval = Duration::from_millis(15);
        settings.safe_browsing.key = Some(Secret::new("ok-key"));
        settings.safe_browsing.base = base;
        change(&mut settings);
        let store = MemoryStore::new(Arc::new(TokioClock::real()));
        let (virus_total, safe_browsing) = activities(&settings);
        Bench { sandbox, store, settings, virus_total, safe_browsing }
    }

    /// A second node on the same store.
    fn other_node(&self) -> Arc<dyn ErasedActivity> {
        activities(&self.settings).0
    }

    fn attempt(&self, memo: Option<Value>) -> Attempt {
        Attempt {
            saga: "url-scan".into(),
            instance: InstanceId(uuid::Uuid::from_u128(1)),
            run: 1,
            number: 1,
            idempotency_key: uuid::Uuid::from_u128(2),
            started_at: now(),
            deadline: Duration::from_secs(60),
            token: CancellationToken::new(),
            memo,
            permits: Arc::new(self.store.clone()),
        }
    }

    async fn ask_virus_total(&self, url: &str) -> End {
        self.ask(&self.virus_total, url).await
    }

    async fn ask_safe_browsing(&self, url: &str) -> End {
        self.ask(&self.safe_browsing, url).await
    }

    /// Runs attempts as the engine does, but for the waits between failures.
    async fn ask(&self, activity: &Arc<dyn ErasedActivity>, url: &str) -> End {
        let call = call(url);
        let (mut memo, mut again, mut transient) = (None, 0, 0);
        loop {
            let result = activity.run(&call, &self.attempt(memo.clone())).await;
            let result = result.map(|text| serde_json::from_str(text.get()).expect("a finding"));
            match result {
                Err(failure) if failure.kind == FailureKind::Again && again < MANY => {
                    again += 1;
                    memo = failure.memo;
                    let wait = failure.after.expect("a time");
                    tokio::time::sleep(wait.min(Duration::from_millis(50))).await;
                }
                Err(failure) if failure.kind == FailureKind::Transient && transient < 4 => {
                    transient += 1;
                }
                result => return End { result, again, transient },
            }
        }
    }

    /// The requests so far, as `POST /api/v3/urls`; ids are left out.
    fn requests(&self) -> Vec<String> {
        let short = |request: knarr_sandbox::Request| {
            let path = request.path.split('?').next().unwrap_or_default().to_owned();
            let parts: Vec<_> = path.split('/').take(4).collect();
            format!("{} {}", request.method, parts.join("/"))
        };
        self.sandbox.requests().into_iter().map(short).collect()
    }
}

impl End {
    fn verdict(&self) -> Verdict {
        self.result.as_ref().expect("an answer").verdict
    }

    fn failure(&self) -> &Failure {
        self.result.as_ref().expect_err("no answer")
    }
}

fn activities(settings: &UrlScanSettings) -> (Arc<dyn ErasedActivity>, Arc<dyn ErasedActivity>) {
    let allow = "127.0.0.0/8".parse().expect("a range");
    let web = Client::new(Settings { allow, ..Settings::default() }).expect("a client");
    let (_, activities) = url_scan(settings, &web);
    let [virus_total, safe_browsing] = activities.try_into().ok().expect("two activities");
    (virus_total, safe_browsing)
}

fn call(url: &str) -> Box<RawValue> {
    to_raw_value(&json!({ "url": url })).expect("JSON")
}

fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

#[tokio::test]
async fn s0_07_a_fresh_report_is_enough_and_costs_one_request() {
    let bench = Bench::new(|_| ()).await;
    for (url, verdict) in [
        ("http://clean.test/", Verdict::Clean),
        ("https://malicious.test/a?b=c", Verdict::Malicious),
        ("http://suspicious.test/", Verdict::Suspicious),
    ] {
        let before = bench.requests().len();
        let end = bench.ask_virus_total(url).await;
        assert_eq!((end.verdict(), end.again, end.transient), (verdict, 0, 0), "{url}");
        assert_eq!(bench.requests()[before..], ["GET /api/v3/urls"], "{url}");
        assert_eq!(bench.sandbox.requests()[before].about.as_deref(), Some(url));
    }
}

#[tokio::test]
async fn s0_07_an_unknown_url_is_submitted_and_its_analysis_polled_without_waiting_in_memory() {
    let bench = Bench::new(|_| ()).await;
    let end = bench.ask_virus_total("http://unknown.test/").await;
    assert_eq!((end.verdict(), end.again), (Verdict::Clean, 1));
    let first = ["GET /api/v3/urls", "POST /api/v3/urls", "GET /api/v3/analyses"];
    assert_eq!(bench.requests(), first);
    // Queued twice, in progress once, then completed: four polls.
    let end = bench.ask_virus_total("http://slow.test/").await;
    assert_eq!((end.verdict(), end.again), (Verdict::Clean, 4));
    assert_eq!(bench.requests()[3..5], first[..2]);
    assert_eq!(bench.requests()[5..], ["GET /api/v3/analyses"; 4]);
}

#[tokio::test]
async fn a_report_that_is_too_old_is_followed_by_an_analysis() {
    let old = Duration::from_secs(3 * 86_400);
    let sandbox = knarr_sandbox::Settings {
        now: Arc::new(move || now() - old),
        ..knarr_sandbox::Settings::default()
    };
    let bench = Bench::with(sandbox, |_| ()).await;
    let end = bench.ask_virus_total("http://malicious.test/").await;
    assert_eq!((end.verdict(), end.again), (Verdict::Malicious, 1));
    let all = ["GET /api/v3/urls", "POST /api/v3/urls", "GET /api/v3/analyses"];
    assert_eq!(bench.requests(), all);
    let lenient = Bench::with(
        knarr_sandbox::Settings {
            now: Arc::new(move || now() - old),
            ..knarr_sandbox::Settings::default()
        },
        |settings| settings.virus_total.fresh_for = days(4),
    )
    .await;
    assert_eq!(lenient.ask_virus_total("http://malicious.test/").await.again, 0);
}

#[tokio::test]
async fn an_analysis_that_never_ends_is_polled_until_somebody_withdraws_the_call() {
    let bench = Bench::new(|_| ()).await;
    let end = bench.ask_virus_total("http://never.test/").await;
    assert_eq!(end.failure().kind, FailureKind::Again);
    assert_eq!((end.again, end.transient), (MANY, 0));
    assert_eq!(bench.requests().iter().filter(|text| text.starts_with("POST")).count(), 1);
}

#[tokio::test]
async fn services_that_stumble_are_transient_and_answer_in_the_end() {
    let bench = Bench::new(|_| ()).await;
    let end = bench.ask_virus_total("http://boom.test/").await;
    assert_eq!((end.verdict(), end.transient), (Verdict::Clean, 2));
    let end = bench.ask_safe_browsing("http://boom.test/").await;
    assert_eq!((end.verdict(), end.transient), (Verdict::Clean, 2));
    for (url, class) in
        [("http://deadline.test/", "DeadlineExceededError"), ("http://html.test/", "http-502")]
    {
        let end = bench.ask_virus_total(url).await;
        let failure = end.failure();
        assert_eq!((failure.kind, failure.class.as_str()), (FailureKind::Transient, class));
        let end = bench.ask_safe_browsing(url).await;
        assert_eq!(end.failure().kind, FailureKind::Transient, "{url}");
    }
}

#[tokio::test]
async fn s0_06_wrong_keys_are_permanent_and_no_key_asks_nobody() {
    for key in ["bad-key", "inactive-key"] {
        let bench = Bench::new(|settings| {
            settings.virus_total.key = Some(Secret::new(key));
            settings.safe_browsing.key = Some(Secret::new(key));
        })
        .await;
        for end in [
            bench.ask_virus_total("http://clean.test/").await,
            bench.ask_safe_browsing("http://clean.test/").await,
        ] {
            let failure = end.failure();
            let shown = (failure.kind, failure.class.as_str());
            assert_eq!(shown, (FailureKind::Permanent, "wrong-key"), "{failure}");
            assert!(!format!("{failure:?}").contains(key), "{failure:?}");
        }
        assert_eq!(bench.requests().len(), 2, "nothing is tried again");
    }
    let bench = Bench::new(|settings| {
        settings.virus_total.key = None;
        settings.safe_browsing.key = None;
    })
    .await;
    let end = bench.ask_virus_total("http://clean.test/").await;
    assert_eq!(end.failure().class, "no-key");
    assert!(end.failure().reason.contains("VIRUSTOTAL_API_KEY"));
    let end = bench.ask_safe_browsing("http://clean.test/").await;
    assert_eq!(
        (end.failure().class.as_str(), end.failure().kind),
        ("no-key", FailureKind::Permanent)
    );
    assert_eq!(bench.requests().len(), 0);
}

#[tokio::test]
async fn a_service_that_refuses_this_url_is_permanent() {
    let bench = Bench::new(|_| ()).await;
    let end = bench.ask_virus_total("http://refused.test/").await;
    assert_eq!(end.failure().kind, FailureKind::Permanent);
    assert!(end.failure().reason.contains("ForbiddenError"), "{}", end.failure());
    let end = bench.ask_safe_browsing("http://refused.test/").await;
    assert_eq!(end.failure().kind, FailureKind::Permanent);
    assert!(end.failure().reason.contains("API_KEY_SERVICE_BLOCKED"), "{}", end.failure());
}

#[tokio::test]
async fn an_exceeded_quota_waits_its_window_and_uses_no_attempt() {
    let bench = Bench::new(|settings| {
        settings.virus_total.key = Some(Secret::new("no-quota-key"));
        settings.safe_browsing.key = Some(Secret::new("no-quota-key"));
    })
    .await;
    let url = call("http://clean.test/");
    let failure = bench.virus_total.run(&url, &bench.attempt(None)).await.expect_err("no quota");
    assert_eq!(failure.kind, FailureKind::Again);
    assert_eq!(failure.after, Some(Duration::from_secs(60)));
    assert_eq!(failure.memo, Some(json!({ "next": "report" })));
    let failure = bench.safe_browsing.run(&url, &bench.attempt(None)).await.expect_err("no quota");
    assert_eq!((failure.kind, failure.after), (FailureKind::Again, Some(Duration::from_secs(41))));
}

#[tokio::test]
async fn the_quota_is_one_purse_for_all_nodes_and_a_call_goes_on_where_it_stood() {
    let bench = Bench::new(|settings| {
        settings.virus_total.quota = parse_quotas("3/day").expect("a quota");
    })
    .await;
    let url = call("http://unknown.test/");
    let other = bench.other_node();
    let first = bench.virus_total.run(&url, &bench.attempt(None)).await.expect_err("submitted");
    assert_eq!(first.kind, FailureKind::Again);
    assert_eq!(bench.requests().len(), 2);
    let done = other.run(&url, &bench.attempt(first.memo)).await;
    assert!(done.is_ok(), "the other node ends what this one began: {done:?}");
    let spent = bench.virus_total.run(&url, &bench.attempt(None)).await.expect_err("spent");
    assert_eq!(spent.kind, FailureKind::Again);
    assert!(spent.after.is_some_and(|wait| wait <= Duration::from_secs(86_400)));
    let memo = json!({ "next": "poll", "analysis": "u-1" });
    let spent = other.run(&url, &bench.attempt(Some(memo.clone()))).await.expect_err("spent");
    assert_eq!(spent.memo, Some(memo), "it comes back to where it stood");
    assert_eq!(bench.requests().len(), 3, "nobody asked without a permit");
}

#[tokio::test]
async fn s0_08_safe_browsing_is_asked_by_prefixes_and_never_told_the_url() {
    let bench = Bench::new(|_| ()).await;
    for (url, verdict) in [
        ("http://clean.test/private/page?token=abc", Verdict::Clean),
        ("http://malicious.test/", Verdict::Malicious),
        ("https://user.cdn.MALICIOUS.test:8443/deep/er/page.html?x", Verdict::Malicious),
        ("http://testsafebrowsing.appspot.com/s/malware.html", Verdict::Malicious),
        ("http://testsafebrowsing.appspot.com/s/other.html", Verdict::Clean),
        ("http://suspicious.test/", Verdict::Clean),
        ("http://future.test/", Verdict::Clean),
        ("http://collide.test/", Verdict::Clean),
    ] {
        let end = bench.ask_safe_browsing(url).await;
        assert_eq!(end.verdict(), verdict, "{url}");
    }
    for request in bench.sandbox.requests() {
        assert!(request.path.starts_with("/v5/hashes:search?hashPrefixes="), "{}", request.path);
        assert_eq!(request.about, None);
    }
}

#[tokio::test]
async fn what_safe_browsing_said_is_not_asked_again_before_it_ends() {
    let sandbox = knarr_sandbox::Settings {
        cache_duration: Duration::from_secs(300),
        ..knarr_sandbox::Settings::default()
    };
    let bench = Bench::with(sandbox, |_| ()).await;
    for _ in 0..3 {
        let end = bench.ask_safe_browsing("http://malicious.test/a").await;
        assert_eq!(end.verdict(), Verdict::Malicious);
        let end = bench.ask_safe_browsing("http://clean.test/").await;
        assert_eq!(end.verdict(), Verdict::Clean);
    }
    assert_eq!(bench.requests().len(), 2);
    // Another page of a known host asks only for what is new about it.
    assert_eq!(
        bench.ask_safe_browsing("http://malicious.test/b").await.verdict(),
        Verdict::Malicious
    );
    let asked = bench.sandbox.requests().pop().expect("a request").path;
    assert_eq!(asked.matches("hashPrefixes=").count(), 1, "{asked}");
    let later = Attempt { started_at: now() + Duration::from_secs(301), ..bench.attempt(None) };
    let url = call("http://malicious.test/a");
    bench.safe_browsing.run(&url, &later).await.expect("an answer");
    assert_eq!(bench.requests().len(), 4, "its time is over");
}

#[tokio::test]
async fn s0_08_the_older_interface_is_a_setting() {
    let bench = Bench::new(|settings| {
        settings.safe_browsing.version = SafeBrowsingVersion::V4;
    })
    .await;
    for (url, verdict) in [
        ("http://clean.test/", Verdict::Clean),
        ("http://malicious.test/x", Verdict::Malicious),
        ("http://future.test/", Verdict::Clean),
    ] {
        assert_eq!(bench.ask_safe_browsing(url).await.verdict(), verdict, "{url}");
    }
    assert!(bench.requests().iter().all(|text| text == "POST /v4/threatMatches:find"));
    let end = bench.ask_safe_browsing("http://html.test/").await;
    assert_eq!(end.failure().kind, FailureKind::Transient);
}

#[tokio::test]
async fn urls_with_credentials_reach_nobody_even_if_a_call_was_made() {
    let bench = Bench::new(|_| ()).await;
    for end in [
        bench.ask_virus_total("https://ann:secret@clean.test/").await,
        bench.ask_safe_browsing("https://ann:secret@clean.test/").await,
    ] {
        assert_eq!(
            (end.failure().kind, end.failure().class.as_str()),
            (FailureKind::Permanent, "refused")
        );
    }
    assert_eq!(bench.requests().len(), 0);
}

#[tokio::test]
async fn a_url_too_long_for_an_id_is_submitted_at_once() {
    let bench = Bench::new(|_| ()).await;
    let url = format!("http://malicious.test/{}", "a".repeat(8_000));
    let end = bench.ask_virus_total(&url).await;
    assert_eq!((end.verdict(), end.again), (Verdict::Malicious, 1));
    assert_eq!(bench.requests(), ["POST /api/v3/urls", "GET /api/v3/analyses"]);
    assert_eq!(bench.sandbox.requests()[0].about.as_deref(), Some(url.as_str()));
    assert_eq!(bench.ask_safe_browsing(&url).await.verdict(), Verdict::Malicious);
}

#[tokio::test]
async fn s0_10_a_cancelled_attempt_closes_the_request_in_flight() {
    let sandbox = knarr_sandbox::Settings {
        latency: Duration::from_secs(600),
        ..knarr_sandbox::Settings::default()
    };
    let bench = Bench::with(sandbox, |_| ()).await;
    let attempt = bench.attempt(None);
    let url = call("http://clean.test/");
    let begun = async {
        while bench.sandbox.open() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        biased;
        () = begun => {}
        _ = bench.virus_total.run(&url, &attempt) => panic!("it cannot be answered yet"),
    }
    // What lost the race was dropped, as the engine drops an attempt whose token is cancelled.
    for _ in 0..200 {
        if bench.sandbox.gone() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((bench.sandbox.open(), bench.sandbox.gone()), (0, 1));
}
