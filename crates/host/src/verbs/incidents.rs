//! `incidents list|show|retry|resolve|discard`: what failed, and what becomes of it.

use serde_json::Value;

use super::operate::{List, Reach, cell, segment, time};
use super::orders::{Given, How, ways};
use crate::app::App;
use crate::error::Error;
use crate::out;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Incidents, newest first
    List {
        /// `open`, `retried`, `resolved` or `discarded`
        #[arg(long)]
        status: Option<String>,
        /// Only those of this class, such as `activity`
        #[arg(long)]
        class: Option<String>,
        /// Only those of this endpoint
        #[arg(long)]
        endpoint: Option<String>,
        /// So many at most
        #[arg(long)]
        limit: Option<usize>,
        #[command(flatten)]
        reach: Reach,
    },
    /// One incident: what failed, what was removed, what may have left, what to type next
    Show {
        /// The incident's id
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Bring the purged run back as it was and try again
    Retry {
        /// The incident's id
        id: String,
        #[command(flatten)]
        how: How,
    },
    /// Accept the loss; what is kept stays
    Resolve {
        /// The incident's id
        id: String,
        #[command(flatten)]
        how: How,
    },
    /// Accept the loss and delete what is kept
    Discard {
        /// The incident's id
        id: String,
        #[command(flatten)]
        how: How,
    },
}

pub(crate) async fn run(app: App, verb: Verb) -> Result<(), Error> {
    let order = |id: &str, verb: &str| Given::post(format!("{}/{verb}", of(id)));
    match verb {
        Verb::List { status, class, endpoint, limit, reach } => {
            let filters = [("status", status), ("class", class), ("endpoint", endpoint)];
            let given = filters.into_iter().filter_map(|(name, text)| Some((name, text?)));
            list(&app, &given.collect::<Vec<_>>(), limit, &reach).await
        }
        Verb::Show { id, reach } => {
            let row = reach.open(&app)?.get(&of(&id), &[]).await?;
            match reach.json {
                true => out::json(&row),
                false => show(app.name(), &row),
            }
        }
        Verb::Retry { id, how } => how.give(&app, order(&id, "retry")).await,
        Verb::Resolve { id, how } => how.give(&app, order(&id, "resolve")).await,
        Verb::Discard { id, how } => how.give(&app, order(&id, "discard")).await,
    }
}

fn of(id: &str) -> String {
    format!("/api/v1/incidents/{}", segment(id))
}

async fn list(
    app: &App,
    query: &[(&str, String)],
    limit: Option<usize>,
    reach: &Reach,
) -> Result<(), Error> {
    let api = reach.open(app)?;
    let head = &[
        "ID",
        "STATUS",
        "CLASS",
        "STOPS",
        "ENDPOINT",
        "INSTANCE",
        "COUNT",
        "OPENED (UTC)",
        "REASON",
    ];
    let list = List { path: "/api/v1/incidents", query, limit, head };
    api.print(list, reach.json, |row| {
        let names = ["id", "status", "class", "scope", "endpoint", "instance", "count"];
        let mut cells = names.map(|it| cell(row, it)).to_vec();
        cells.extend([time(row, "openedAt"), cell(row, "reason")]);
        cells
    })
    .await
}

fn show(program: &str, row: &Value) -> Result<(), Error> {
    for line in story(row) {
        out::line(&line)?;
    }
    ways(program, row)
}

/// What a tired person reads, most needed first.
fn story(row: &Value) -> Vec<String> {
    let [id, status, class, reason] = ["id", "status", "class", "reason"].map(|it| cell(row, it));
    let mut lines = vec![format!("incident {id}: {status}, {class}"), format!("  {reason}")];
    lines.extend(texts(&row["errors"]).into_iter().skip(1).map(|error| format!("  {error}")));
    lines.push(String::new());
    let mut member = |told: &str, text: String| lines.push(format!("{told:>12}: {text}"));
    let [endpoint, state] = ["endpoint", "endpointState"].map(|it| cell(row, it));
    member("endpoint", format!("{endpoint}, {state} now"));
    if row["instance"].is_string() {
        let [saga, instance, run, state] =
            ["saga", "instance", "run", "state"].map(|it| cell(row, it));
        member("run", format!("{saga} {instance}, run {run}, in state {state}"));
    }
    let failed = &row["failedAt"];
    if failed.is_object() {
        let [event, attempts] = ["event", "attempts"].map(|it| cell(failed, it));
        member("failed at", format!("{event} (attempts used: {attempts})"));
        if failed["message"].is_object() {
            member("message", failed["message"].to_string());
        }
    }
    if row["count"].as_u64() != Some(1) {
        member("count", cell(row, "count"));
    }
    member("opened", time(row, "openedAt"));
    if row["closedAt"].is_string() {
        member("closed", format!("{} by {}", time(row, "closedAt"), cell(row, "closedBy")));
    }
    lines.extend(removed(&row["removed"]));
    let left = texts(&row["mayHaveLeft"]);
    if !left.is_empty() {
        lines.push("\nmessages that may have left all the same:".to_owned());
        lines.extend(left.into_iter().map(|id| format!("  {id}")));
    }
    let joined = texts(&row["joined"]);
    if !joined.is_empty() {
        lines.push("\nwhat failed meanwhile:".to_owned());
        lines.extend(joined.into_iter().map(|text| format!("  {text}")));
    }
    lines.extend(kept(&row["keeps"]));
    lines
}

/// What was taken away, in counts.
fn removed(removed: &Value) -> Vec<String> {
    let counts = [
        ("dataBytes", "byte of data", "bytes of data"),
        ("timers", "timer", "timers"),
        ("calls", "call", "calls"),
        ("parked", "waiting message", "waiting messages"),
        ("keys", "business key", "business keys"),
        ("unsent", "unsent message", "unsent messages"),
    ];
    let told = counts.into_iter().filter_map(|(name, one, more)| {
        removed[name].as_u64().filter(|count| *count > 0).map(|count| counted(count, one, more))
    });
    let told: Vec<String> = told.collect();
    let steps = removed["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    if told.is_empty() && steps.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!("\nremoved: {}", told.join(", "))];
    lines.extend(steps.iter().map(|step| {
        let rows = counted(step["rows"].as_u64().unwrap_or_default(), "row", "rows");
        format!("  {}: {rows}", cell(step, "name"))
    }));
    lines
}

/// So many of something, as it is said.
fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// What `retry` brings back.
fn kept(keeps: &Value) -> Vec<String> {
    if !keeps.is_object() {
        return Vec::new();
    }
    let mut lines = vec![format!("\nkept, in state {}:", cell(keeps, "state"))];
    lines.push(format!("  data: {}", keeps["data"]));
    for (name, told) in [
        ("keys", "business keys"),
        ("timers", "timers"),
        ("calls", "calls"),
        ("ended", "calls that had ended"),
        ("parked", "waiting messages"),
    ] {
        let texts = texts(&keeps[name]);
        if !texts.is_empty() {
            lines.push(format!("  {told}: {}", texts.join(", ")));
        }
    }
    for unsent in keeps["unsent"].as_array().into_iter().flatten() {
        lines.push(format!("  unsent: {} to {}", cell(unsent, "id"), cell(unsent, "exchange")));
    }
    lines
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn guard_an_incident_tells_what_failed_where_what_went_and_what_is_kept() {
        let row = json!({
            "id": "i-1", "status": "open", "class": "activity", "reason": "no answer",
            "errors": ["no answer", "503 from www.virustotal.com"],
            "endpoint": "url-scan", "endpointState": "halted", "saga": "url-scan",
            "instance": "n-1", "run": 2, "state": "Scanning", "count": 1,
            "failedAt": { "event": "failed AskVirusTotal", "attempts": 5, "message": null },
            "openedAt": "2026-01-01T00:00:00Z", "closedAt": null,
            "removed": { "dataBytes": 24, "timers": 1, "calls": 0, "unsent": 1,
                "steps": [{ "name": "reports", "rows": 3 }] },
            "mayHaveLeft": ["m-1"], "joined": [],
            "keeps": { "state": "Scanning", "data": { "url": "http://a.test/" },
                "timers": ["Deadline"], "unsent": [{ "id": "m-1", "exchange": "Shop:Paid" }] },
        });
        assert_eq!(
            story(&row).join("\n"),
            "incident i-1: open, activity\n  no answer\n  503 from www.virustotal.com\n\n    \
             endpoint: url-scan, halted now\n         run: url-scan n-1, run 2, in state Scanning\n   \
             failed at: failed AskVirusTotal (attempts used: 5)\n      opened: 2026-01-01 00:00:00\n\n\
             removed: 24 bytes of data, 1 timer, 1 unsent message\n  reports: 3 rows\n\n\
             messages that may have left all the same:\n  m-1\n\nkept, in state Scanning:\n  \
             data: {\"url\":\"http://a.test/\"}\n  timers: Deadline\n  unsent: m-1 to Shop:Paid"
        );
    }
}
