//! The table of url-scan: both services are asked at once, one verdict comes out.

use std::time::Duration;

use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::messages::{
    AskSafeBrowsing, AskVirusTotal, CancelScan, Finding, Source, SubmitUrl, UrlScanFailed,
    UrlScanned, Verdict,
};
use crate::policy::refusal;
use crate::tables;

/// How long a scan waits for its services where nothing else is set.
const PATIENCE: Duration = minutes(30);

/// The sources by the names under which they are told.
const VIRUS_TOTAL: &str = "virus-total";
const SAFE_BROWSING: &str = "safe-browsing";

/// Characters of a source's detail that the saga's table keeps.
const MAX_DETAIL: usize = 2_000;

#[derive(Timer)]
struct Deadline;

/// The states of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, States)]
pub enum Step {
    /// The services are asked.
    Scanning,
}

/// One scan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UrlScan {
    scan_id: Uuid,
    url: String,
    virus_total: Answer,
    safe_browsing: Answer,
}

/// What is known of one service's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Waiting,
    Found(Finding),
    /// For good; why.
    None(String),
}

impl Machine for UrlScan {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        table(m, PATIENCE);
    }
}

/// The whole table.
#[rustfmt::skip]
pub(crate) fn table(m: &mut Table<UrlScan>, deadline: Duration) {
    use Step::Scanning;
    m.on_failure(OnFailure::Contain);
    tables::declare(m);

    m.initially::<SubmitUrl>()                      .create(start)
                                                    .branch([To(Scanning), Finish], begin(deadline));
    m.during([Scanning]).done::<AskVirusTotal>()    .then(note_virus_total)      .stay();
    m.during([Scanning]).failed::<AskVirusTotal>()  .then(no_virus_total)        .stay();
    m.during([Scanning]).done::<AskSafeBrowsing>()  .then(note_safe_browsing)    .stay();
    m.during([Scanning]).failed::<AskSafeBrowsing>().then(no_safe_browsing)      .stay();
    m.during([Scanning]).all_of([ended::<AskVirusTotal>(), ended::<AskSafeBrowsing>()])
                                                    .branch([Finish, Fail], conclude);
    m.during([Scanning]).after(Deadline)            .then(give_up)               .finish();
    m.during([Scanning]).on::<SubmitUrl>()          .ignore();
    m.during_any().on::<CancelScan>()               .finish();
}

fn start(e: &SubmitUrl, _: &mut Effects<UrlScan>) -> UrlScan {
    UrlScan {
        scan_id: e.scan_id,
        url: e.url.as_str().to_owned(),
        virus_total: Answer::Waiting,
        safe_browsing: Answer::Waiting,
    }
}

/// Asks both services, or says why this URL is not scanned.
fn begin(
    deadline: Duration,
) -> impl Fn(&mut UrlScan, &SubmitUrl, &mut Effects<UrlScan>) -> Target<Step> {
    move |scan, _, out| {
        if let Some(reason) = refusal(&scan.url) {
            let (scan_id, url) = (scan.scan_id, scan.url.clone());
            out.publish(UrlScanFailed { scan_id, url, reason: reason.to_owned() });
            return Finish;
        }
        out.run(AskVirusTotal { url: scan.url.clone() });
        out.run(AskSafeBrowsing { url: scan.url.clone() });
        out.schedule(Deadline, deadline);
        To(Step::Scanning)
    }
}

fn note_virus_total(scan: &mut UrlScan, finding: &Finding, out: &mut Effects<UrlScan>) {
    scan.virus_total = Answer::Found(finding.clone());
    keep(scan, &source(VIRUS_TOTAL, &scan.virus_total), out);
}

fn no_virus_total(scan: &mut UrlScan, why: &Failure, out: &mut Effects<UrlScan>) {
    scan.virus_total = Answer::None(why.to_string());
    keep(scan, &source(VIRUS_TOTAL, &scan.virus_total), out);
}

fn note_safe_browsing(scan: &mut UrlScan, finding: &Finding, out: &mut Effects<UrlScan>) {
    scan.safe_browsing = Answer::Found(finding.clone());
    keep(scan, &source(SAFE_BROWSING, &scan.safe_browsing), out);
}

fn no_safe_browsing(scan: &mut UrlScan, why: &Failure, out: &mut Effects<UrlScan>) {
    scan.safe_browsing = Answer::None(why.to_string());
    keep(scan, &source(SAFE_BROWSING, &scan.safe_browsing), out);
}

/// What a source said is one row of the saga's own table, in the same commit as the answer.
fn keep(scan: &UrlScan, source: &Source, out: &mut Effects<UrlScan>) {
    // No text that a service sends may make the row impossible: Postgres keeps no NUL.
    let detail: String = source.detail.chars().filter(|c| *c != '\0').take(MAX_DETAIL).collect();
    let row = (scan.scan_id, &source.name, source.verdict, detail, out.now());
    out.sql(tables::INSERT_FINDING, row);
}

/// One answer is enough for a verdict; without any the run has failed.
fn conclude(scan: &mut UrlScan, out: &mut Effects<UrlScan>) -> Target<Step> {
    if let (Answer::None(first), Answer::None(second)) = (&scan.virus_total, &scan.safe_browsing) {
        return fail(format!(
            "no service answered: VirusTotal ({first}), Safe Browsing ({second})"
        ));
    }
    tell(scan, out);
    Finish
}

fn give_up(scan: &mut UrlScan, out: &mut Effects<UrlScan>) {
    tell(scan, out);
}

fn tell(scan: &UrlScan, out: &mut Effects<UrlScan>) {
    let sources =
        vec![source(VIRUS_TOTAL, &scan.virus_total), source(SAFE_BROWSING, &scan.safe_browsing)];
    let (scan_id, url, completed_at) = (scan.scan_id, scan.url.clone(), out.now());
    out.publish(UrlScanned { scan_id, url, verdict: verdict(&sources), sources, completed_at });
}

fn source(name: &str, answer: &Answer) -> Source {
    let (verdict, detail) = match answer {
        Answer::Waiting => (Verdict::Unknown, "no answer before the deadline".to_owned()),
        Answer::Found(finding) => (finding.verdict, finding.detail.clone()),
        Answer::None(why) => (Verdict::Unknown, format!("no answer: {why}")),
    };
    Source { name: name.to_owned(), verdict, detail }
}

/// The worst that was said; else unknown when somebody said nothing.
fn verdict(sources: &[Source]) -> Verdict {
    [Verdict::Malicious, Verdict::Suspicious, Verdict::Unknown]
        .into_iter()
        .find(|verdict| sources.iter().any(|source| source.verdict == *verdict))
        .unwrap_or(Verdict::Clean)
}
