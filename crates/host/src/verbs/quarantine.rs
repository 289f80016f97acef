//! `quarantine list|show`: messages that were set aside, and everything about one of them.

use serde_json::Value;

use super::operate::{List, Reach, cell, segment, time};
use crate::app::App;
use crate::error::Error;
use crate::out;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Set-aside messages, newest first; held ones unless a status is named
    List {
        /// `held`, `released` or `discarded`
        #[arg(long)]
        status: Option<String>,
        /// Only those of this class, such as `bad-message`
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
    /// One set-aside message: why, the errors, where it came from, its headers and body
    Show {
        /// The row's id
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) async fn run(app: App, verb: Verb) -> Result<(), Error> {
    match verb {
        Verb::List { status, class, endpoint, limit, reach } => {
            let api = reach.open(&app)?;
            let filters = [("status", status), ("class", class), ("endpoint", endpoint)];
            let given = filters.into_iter().filter_map(|(name, text)| Some((name, text?)));
            let query: Vec<_> = given.collect();
            let head = &["ID", "CLASS", "ENDPOINT", "INSTANCE", "AT (UTC)", "REASON"];
            let list = List { path: "/api/v1/quarantine", query: &query, limit, head };
            api.print(list, reach.json, |row| {
                let mut cells =
                    ["id", "class", "endpoint", "instance"].map(|it| cell(row, it)).to_vec();
                cells.extend([time(row, "at"), cell(row, "reason")]);
                cells
            })
            .await
        }
        Verb::Show { id, reach } => {
            let api = reach.open(&app)?;
            let row = api.get(&format!("/api/v1/quarantine/{}", segment(&id)), &[]).await?;
            match reach.json {
                true => out::json(&row),
                false => show(&row),
            }
        }
    }
}

fn show(row: &Value) -> Result<(), Error> {
    let [id, status, class, reason] = ["id", "status", "class", "reason"].map(|it| cell(row, it));
    out::line(&format!("{id}: {status}, {class}: {reason}"))?;
    for error in row["errors"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        out::line(&format!("  {error}"))?;
    }
    let members = [
        ("endpoint", "endpoint"),
        ("saga", "saga"),
        ("instance", "instance"),
        ("run", "run"),
        ("state", "state"),
        ("attempts", "attempts"),
        ("message", "messageId"),
        ("types", "messageTypes"),
        ("exchange", "exchange"),
        ("content type", "contentType"),
        ("at", "at"),
        ("headers", "headers"),
    ];
    for (told, name) in members {
        out::line(&format!("{told:>12}: {}", cell(row, name)))?;
    }
    let cut = match row["cut"].as_bool() {
        Some(true) => format!(" (the beginning of {} bytes)", row["size"]),
        _ => String::new(),
    };
    out::line(&format!("\nbody{cut}:\n{}", cell(row, "body")))
}
