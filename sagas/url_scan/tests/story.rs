//! The contract of url-scan, told rule by rule.

use knarr_http::{Client, Settings};
use knarr_saga::prelude::*;
use knarr_testkit::story::Story;
use knarr_url_scan::{
    AskSafeBrowsing, AskVirusTotal, CancelScan, Finding, Step, SubmitUrl, UrlScanFailed,
    UrlScanSettings, UrlScanned, Verdict, url_scan,
};
use serde_json::{Value, json};
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(0x5ca4);
const URL: &str = "https://shop.test/basket?item=7";

fn story() -> Story {
    let web = Client::new(Settings::default()).expect("a client");
    let (definition, _) = url_scan(&UrlScanSettings::default(), &web);
    Story::of(definition)
}

fn submit(url: &str) -> SubmitUrl {
    SubmitUrl { scan_id: ID, url: url.try_into().expect("a readable text") }
}

fn cancel() -> CancelScan {
    CancelScan { scan_id: ID, reason: "not needed any more".to_owned() }
}

fn found(verdict: Verdict) -> Result<Finding, Failure> {
    Ok(Finding { verdict, detail: format!("{verdict:?}") })
}

fn no_answer(class: &str) -> Result<Finding, Failure> {
    Err(Failure::permanent(class, "it will not do"))
}

/// The verdict that was published, and those of its sources in their order.
fn said(scanned: &UrlScanned) -> (Verdict, Vec<(&str, Verdict)>) {
    let sources = scanned.sources.iter().map(|source| (source.name.as_str(), source.verdict));
    (scanned.verdict, sources.collect())
}

#[test]
fn the_table_has_no_findings_and_takes_what_the_contract_says() {
    let web = Client::new(Settings::default()).expect("a client");
    let (definition, activities) = url_scan(&UrlScanSettings::default(), &web);
    assert_eq!(definition.findings(), []);
    assert_eq!(&**definition.name(), "url-scan");
    let exchanges: Vec<_> = definition.subscriptions().into_iter().map(|s| s.exchange).collect();
    assert_eq!(exchanges, ["Knarr.UrlScan:SubmitUrl", "Knarr.UrlScan:CancelScan"]);
    let mut answered: Vec<_> = activities.iter().map(|one| one.call().to_owned()).collect();
    answered.sort();
    assert_eq!(answered, ["AskSafeBrowsing", "AskVirusTotal"]);
}

#[test]
fn s0_03_both_services_are_asked_at_once_and_one_verdict_is_published() {
    story()
        .given(submit(URL))
        .then_state(Step::Scanning)
        .then_asked::<AskVirusTotal>(|call| call.url == URL)
        .then_asked::<AskSafeBrowsing>(|call| call.url == URL)
        .answer::<AskVirusTotal>(found(Verdict::Clean))
        .then_state(Step::Scanning)
        .then_nothing_more_published()
        .answer::<AskSafeBrowsing>(found(Verdict::Clean))
        .then_published::<UrlScanned>(|scanned| {
            scanned.scan_id == ID && scanned.url == URL && scanned.verdict == Verdict::Clean
        })
        .then_finished()
        .then_nothing_more_published()
        .run();
}

#[test]
fn the_worst_of_both_answers_is_the_verdict_in_whichever_order_they_come() {
    use Verdict::{Clean, Malicious, Suspicious, Unknown};
    for (virus_total, safe_browsing, verdict) in [
        (Clean, Clean, Clean),
        (Clean, Malicious, Malicious),
        (Malicious, Clean, Malicious),
        (Malicious, Malicious, Malicious),
        (Suspicious, Clean, Suspicious),
        (Clean, Suspicious, Suspicious),
        (Suspicious, Malicious, Malicious),
        (Malicious, Suspicious, Malicious),
        (Unknown, Clean, Unknown),
        (Unknown, Suspicious, Suspicious),
        (Unknown, Malicious, Malicious),
    ] {
        let expected = move |scanned: &UrlScanned| {
            let sources = vec![("virus-total", virus_total), ("safe-browsing", safe_browsing)];
            said(scanned) == (verdict, sources)
        };
        story()
            .given(submit(URL))
            .answer::<AskVirusTotal>(found(virus_total))
            .answer::<AskSafeBrowsing>(found(safe_browsing))
            .then_published::<UrlScanned>(expected)
            .then_finished()
            .run();
        story()
            .given(submit(URL))
            .answer::<AskSafeBrowsing>(found(safe_browsing))
            .answer::<AskVirusTotal>(found(virus_total))
            .then_published::<UrlScanned>(expected)
            .then_finished()
            .run();
    }
}

#[test]
fn s0_18_one_service_failing_for_good_is_a_source_without_an_answer() {
    use Verdict::{Clean, Malicious, Unknown};
    for (answered, verdict) in [(Clean, Unknown), (Malicious, Malicious)] {
        story()
            .given(submit(URL))
            .answer::<AskVirusTotal>(no_answer("wrong-key"))
            .then_state(Step::Scanning)
            .answer::<AskSafeBrowsing>(found(answered))
            .then_published::<UrlScanned>(move |scanned| {
                let sources = vec![("virus-total", Unknown), ("safe-browsing", answered)];
                said(scanned) == (verdict, sources)
                    && scanned.sources[0].detail == "no answer: wrong-key: it will not do"
            })
            .then_finished()
            .run();
        story()
            .given(submit(URL))
            .answer::<AskVirusTotal>(found(answered))
            .answer::<AskSafeBrowsing>(no_answer("exhausted"))
            .then_published::<UrlScanned>(move |scanned| {
                let sources = vec![("virus-total", answered), ("safe-browsing", Unknown)];
                said(scanned) == (verdict, sources)
            })
            .then_finished()
            .run();
    }
}

#[test]
fn s0_18_both_services_failing_for_good_is_a_failed_run() {
    story()
        .given(submit(URL))
        .answer::<AskSafeBrowsing>(no_answer("exhausted"))
        .answer::<AskVirusTotal>(no_answer("wrong-key"))
        .then_set_aside(knarr_testkit::story::Class::Failed)
        .then_nothing_more_published()
        .run();
}

/// Each answer is one row of the saga's own table, written with the answer.
#[test]
fn each_source_that_answers_is_one_finding_in_the_sagas_own_table() {
    let is = |source: &'static str, verdict: &'static str, detail: &'static str| {
        move |row: &[Value]| {
            row.len() == 5
                && row[0] == json!(ID)
                && row[1..4] == [json!(source), json!(verdict), json!(detail)]
                && row[4].as_str().is_some_and(|at| at.ends_with('Z'))
        }
    };
    story()
        .given(submit(URL))
        .then_no_more_sql()
        .answer::<AskVirusTotal>(Ok(Finding {
            verdict: Verdict::Suspicious,
            detail: "1 of 70\0".to_owned(),
        }))
        .then_sql("insert_finding", is("virus-total", "suspicious", "1 of 70"))
        .then_no_more_sql()
        .answer::<AskSafeBrowsing>(no_answer("exhausted"))
        .then_sql(
            "insert_finding",
            is("safe-browsing", "unknown", "no answer: exhausted: it will not do"),
        )
        .then_published::<UrlScanned>(|scanned| scanned.verdict == Verdict::Suspicious)
        .then_finished()
        .then_no_more_sql()
        .run();
    story()
        .given(submit(URL))
        .answer::<AskVirusTotal>(Ok(Finding {
            verdict: Verdict::Clean, detail: "ä".repeat(5_000)
        }))
        .then_sql("insert_finding", |row| {
            row[3].as_str().is_some_and(|detail| detail.chars().count() == 2_000)
        })
        .run();
}

#[test]
fn s0_13_a_failed_scan_takes_its_findings_out_of_the_sagas_own_table() {
    let web = Client::new(Settings::default()).expect("a client");
    let (definition, _) = url_scan(&UrlScanSettings::default(), &web);
    assert_eq!(definition.failures().on_failure, OnFailure::Contain);
    let steps = definition.purge_steps(knarr_saga::InstanceId(ID), 3);
    assert_eq!(steps.len(), 1);
    assert_eq!((steps[0].name.as_str(), &steps[0].parameters), ("scan_findings", &vec![json!(ID)]));
    for text in [&steps[0].text.postgres, &steps[0].text.sqlite] {
        assert!(text.starts_with("DELETE FROM scan_findings WHERE scan_id = "), "{text}");
    }
    let scripts = definition.migrations();
    assert_eq!(scripts.len(), 1);
    assert_eq!((&*scripts[0].saga, scripts[0].name.as_str()), ("url-scan", "0001_scan_findings"));
}

#[test]
fn at_the_deadline_a_service_that_is_still_silent_counts_as_unknown() {
    story()
        .given(submit(URL))
        .answer::<AskSafeBrowsing>(found(Verdict::Clean))
        .advance(minutes(29))
        .then_state(Step::Scanning)
        .then_nothing_more_published()
        .advance(minutes(1))
        .then_published::<UrlScanned>(|scanned| {
            let sources =
                vec![("virus-total", Verdict::Unknown), ("safe-browsing", Verdict::Clean)];
            said(scanned) == (Verdict::Unknown, sources)
                && scanned.sources[0].detail == "no answer before the deadline"
        })
        .then_finished()
        .then_not_asked::<AskVirusTotal>()
        .run();
    // What was said before counts all the same.
    story()
        .given(submit(URL))
        .answer::<AskSafeBrowsing>(found(Verdict::Malicious))
        .advance(minutes(30))
        .then_published::<UrlScanned>(|scanned| scanned.verdict == Verdict::Malicious)
        .then_finished()
        .run();
}

#[test]
fn the_deadline_is_the_one_that_was_set() {
    let web = Client::new(Settings::default()).expect("a client");
    let settings = UrlScanSettings { deadline: seconds(8), ..UrlScanSettings::default() };
    Story::of(url_scan(&settings, &web).0)
        .given(submit(URL))
        .advance(seconds(7))
        .then_state(Step::Scanning)
        .advance(seconds(1))
        .then_published::<UrlScanned>(|scanned| scanned.verdict == Verdict::Unknown)
        .then_finished()
        .run();
}

#[test]
fn a_poll_comes_back_after_its_time_and_the_scan_waits_for_it() {
    let poll = Failure::again(seconds(20), json!({ "next": "poll", "analysis": "u-1" }));
    story()
        .given(submit(URL))
        .answer::<AskSafeBrowsing>(found(Verdict::Clean))
        .answer::<AskVirusTotal>(Err(poll))
        .then_not_asked::<AskVirusTotal>()
        .then_state(Step::Scanning)
        .advance(seconds(19))
        .then_not_asked::<AskVirusTotal>()
        .advance(seconds(2))
        .answer::<AskVirusTotal>(found(Verdict::Suspicious))
        .then_published::<UrlScanned>(|scanned| scanned.verdict == Verdict::Suspicious)
        .then_finished()
        .run();
}

#[test]
fn a_url_that_policy_refuses_ends_without_asking_anybody() {
    for (url, why) in [
        ("ftp://files.test/a", "scheme"),
        ("https://ann:secret@shop.test/", "credentials"),
        ("no url at all", "no URL"),
    ] {
        story()
            .given(submit(url))
            .then_published::<UrlScanFailed>(move |failed| {
                failed.scan_id == ID && failed.url == url && failed.reason.contains(why)
            })
            .then_nothing_more_published()
            .then_not_asked::<AskVirusTotal>()
            .then_not_asked::<AskSafeBrowsing>()
            .then_finished()
            .run();
    }
}

#[test]
fn what_cannot_be_read_is_set_aside_and_starts_nothing() {
    for message in [
        json!({ "scanId": ID, "url": "a".repeat(8_193) }),
        json!({ "scanId": ID, "url": "http://a.test/\u{7}" }),
        json!({ "scanId": "seven", "url": URL }),
        json!({ "scanId": Uuid::nil(), "url": URL }),
        json!({ "scanId": ID }),
        json!({ "scanId": ID, "url": 7 }),
        json!({ "url": URL }),
    ] {
        story()
            .given_json::<SubmitUrl>(message)
            .then_set_aside(knarr_testkit::story::Class::BadMessage)
            .then_no_instance()
            .then_nothing_more_published()
            .run();
    }
}

#[test]
fn a_repeated_submission_changes_nothing_while_the_scan_runs_and_after_it() {
    story()
        .given(submit(URL))
        .given_again()
        .given(submit(URL))
        .given(submit("https://other.test/"))
        .answer::<AskVirusTotal>(found(Verdict::Clean))
        .answer::<AskSafeBrowsing>(found(Verdict::Clean))
        .then_published::<UrlScanned>(|scanned| scanned.url == URL)
        .then_finished()
        .given(submit(URL))
        .then_finished()
        .then_not_asked::<AskVirusTotal>()
        .then_not_asked::<AskSafeBrowsing>()
        .then_nothing_more_published()
        .run();
}

#[test]
fn s0_10_cancelling_ends_the_scan_and_withdraws_what_is_asked() {
    story()
        .given(submit(URL))
        .then_asked::<AskVirusTotal>(|_| true)
        .given(cancel())
        .then_finished()
        .then_not_asked::<AskVirusTotal>()
        .then_not_asked::<AskSafeBrowsing>()
        .advance(minutes(31))
        .then_nothing_more_published()
        .run();
}
