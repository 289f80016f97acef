//! What the demo shows: progress while it runs, a table at the end, or one JSON object a scan.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use knarr::serde_json::json;
use knarr::uuid::Uuid;

use super::expected::{Scan, Scans};

/// The width of the table where no terminal has one, or none that a table fits in.
const WIDTH: u16 = 120;
const NARROWEST: u16 = 60;

/// How progress is shown.
pub(super) enum Show {
    /// Bars on a terminal.
    Bars { bars: MultiProgress, all: ProgressBar, each: BTreeMap<Uuid, ProgressBar> },
    /// A line a scan, where nobody watches.
    Lines { ended: usize, of: usize },
    /// An object a scan.
    Json,
}

impl Show {
    pub(super) fn new(json: bool, of: usize) -> Show {
        if json {
            return Show::Json;
        }
        if !io::stderr().is_terminal() {
            return Show::Lines { ended: 0, of };
        }
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let all = bars.add(ProgressBar::new(of as u64));
        all.set_style(style("{bar:40.green} {pos}/{len} scans, {elapsed}"));
        Show::Bars { bars, all, each: BTreeMap::new() }
    }

    /// A word for people; JSON readers get none.
    pub(super) fn say(&self, text: &str) {
        let _unread = match self {
            Show::Json => Ok(()),
            Show::Lines { .. } => writeln!(io::stdout(), "{text}"),
            Show::Bars { bars, .. } => bars.suspend(|| writeln!(io::stdout(), "{text}")),
        };
    }

    /// A scan was submitted.
    pub(super) fn begun(&mut self, scan: &Scan) {
        if let Show::Bars { bars, each, .. } = self {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style("{spinner} {msg}"));
            bar.set_message(format!("{}  {}", scan.sample.url, scan.sample.about));
            bar.enable_steady_tick(Duration::from_millis(120));
            each.insert(scan.id, bar);
        }
    }

    /// A scan has ended.
    pub(super) fn ended(&mut self, scan: &Scan) -> io::Result<()> {
        let Some(ended) = &scan.ended else { return Ok(()) };
        let (verdict, url) = (ended.end.as_str(), scan.sample.url);
        let seconds = ended.took.as_secs_f64();
        match self {
            Show::Json => {
                let took = millis(ended.took);
                let line =
                    json!({ "scanId": scan.id, "url": url, "verdict": verdict, "took": took });
                writeln!(io::stdout(), "{line}")
            }
            Show::Lines { ended, of } => {
                *ended += 1;
                writeln!(io::stdout(), "{ended:>3}/{of} {verdict:<10} {seconds:>5.1} s  {url}")
            }
            Show::Bars { all, each, .. } => {
                if let Some(bar) = each.get(&scan.id) {
                    bar.set_style(style("{msg}"));
                    bar.finish_with_message(format!("✓ {verdict:<10} {seconds:>5.1} s  {url}"));
                }
                all.inc(1);
                Ok(())
            }
        }
    }

    /// Everything that can end has ended: bars make room for what is said from now on.
    pub(super) fn done(&mut self) {
        if let Show::Bars { bars, all, .. } = self {
            all.finish_and_clear();
            // The table tells it all again.
            let _still_there = bars.clear();
            *self = Show::Lines { ended: 0, of: 0 };
        }
    }

    /// The verdicts, and whether they are what they should be.
    pub(super) fn summary(&self, scans: &Scans, took: Duration) -> io::Result<()> {
        let all = scans.all();
        let as_expected = all.iter().filter(|scan| scan.is_as_expected()).count();
        if matches!(self, Show::Json) {
            let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
            for ended in all.iter().filter_map(|scan| scan.ended.as_ref()) {
                *verdicts.entry(ended.end.as_str()).or_default() += 1;
            }
            let summary = json!({ "summary": {
                "scans": all.len(),
                "asExpected": as_expected,
                "doubleVerdicts": scans.doubles,
                "verdicts": verdicts,
                "took": millis(took),
            }});
            return writeln!(io::stdout(), "{summary}");
        }
        let mut out = io::stdout().lock();
        writeln!(out, "\n{}", table(all))?;
        let seconds = took.as_secs_f64();
        let of = all.len();
        writeln!(out, "\n{as_expected} of {of} scans ended as expected, in {seconds:.1} s.")?;
        match scans.doubles {
            0 => Ok(()),
            n => writeln!(out, "{n} scans had a second verdict."),
        }
    }
}

fn table(scans: &[Scan]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none_or(|width| width < NARROWEST) {
        table.set_width(WIDTH);
    }
    table.set_header(["URL", "VERDICT", "TOOK", "WHY"]);
    for scan in scans {
        let (verdict, took, why) = match &scan.ended {
            Some(ended) => {
                let mark = if scan.is_as_expected() { "" } else { " (!)" };
                let verdict = format!("{}{mark}", ended.end.as_str());
                (verdict, format!("{:.1} s", ended.took.as_secs_f64()), ended.detail.clone())
            }
            None => ("none (!)".to_owned(), "–".to_owned(), scan.sample.about.to_owned()),
        };
        table.add_row([scan.sample.url.to_owned(), verdict, took, why]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Seconds, to the millisecond.
fn millis(took: Duration) -> f64 {
    took.as_millis() as f64 / 1000.0
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
