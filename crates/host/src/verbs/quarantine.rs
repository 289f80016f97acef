//! `quarantine`: messages that were set aside, all about one; release, edit, discard, unblock.

use std::collections::BTreeSet;

use super::operate::Method;
use serde_json::Value;

use super::operate::{List, Reach, cell, segment, time};
use super::orders::{Given, How, ways};
use crate::app::App;
use crate::error::Error;
use crate::{out, read};

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
    /// Let a message go once more, under a new id; or all that are held, by class and endpoint
    #[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
    Release {
        /// The row's id
        #[arg(group = "which", conflicts_with_all = ["class", "endpoint"])]
        id: Option<String>,
        /// All that are held of this class, endpoint by endpoint
        #[arg(long, group = "which")]
        class: Option<String>,
        /// All that are held at this endpoint
        #[arg(long, group = "which")]
        endpoint: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Replace what a message says, if its endpoint takes it so; release it afterwards
    Edit {
        /// The row's id
        id: String,
        /// The new body; `-` reads it from standard input
        #[arg(long, value_name = "FILE")]
        file: String,
        /// A new AMQP content type
        #[arg(long, value_name = "TYPE")]
        content_type: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Give a message up and delete its bytes, or all that are held, by class and endpoint; copies
    /// of what is given up stay blocked
    #[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
    Discard {
        /// The row's id
        #[arg(group = "which", conflicts_with_all = ["class", "endpoint"])]
        id: Option<String>,
        /// All that are held of this class, endpoint by endpoint
        #[arg(long, group = "which")]
        class: Option<String>,
        /// All that are held at this endpoint
        #[arg(long, group = "which")]
        endpoint: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Let copies of a start message start runs again
    Unblock {
        /// The row's id
        id: String,
        #[command(flatten)]
        how: How,
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
                false => show(app.name(), &row),
            }
        }
        Verb::Release { id: Some(id), how, .. } => {
            how.give(&app, Given::post(of(&id, "/release"))).await
        }
        Verb::Release { id: None, class, endpoint, how } => {
            all_held(&app, "release", class, endpoint, &how).await
        }
        Verb::Edit { id, file, content_type, how } => {
            let order = Given::post(of(&id, "/message")).method(Method::PUT);
            let order = order.member("body", Some(read::text(&file)?));
            how.give(&app, order.member("contentType", content_type)).await
        }
        Verb::Discard { id: Some(id), how, .. } => {
            how.give(&app, Given::post(of(&id, "")).method(Method::DELETE)).await
        }
        Verb::Discard { id: None, class, endpoint, how } => {
            all_held(&app, "discard", class, endpoint, &how).await
        }
        Verb::Unblock { id, how } => how.give(&app, Given::post(of(&id, "/unblock"))).await,
    }
}

fn of(id: &str, verb: &str) -> String {
    format!("/api/v1/quarantine/{}{verb}", segment(id))
}

/// What is held, endpoint by endpoint: each is one transaction, all of it or nothing.
async fn all_held(
    app: &App,
    verb: &str,
    class: Option<String>,
    endpoint: Option<String>,
    how: &How,
) -> Result<(), Error> {
    let mut endpoints = BTreeSet::new();
    match endpoint {
        Some(endpoint) => drop(endpoints.insert(endpoint)),
        None => {
            let query: Vec<_> = class.iter().map(|class| ("class", class.clone())).collect();
            let api = how.reach.open(app)?;
            api.rows("/api/v1/quarantine", &query, None, |row| {
                endpoints.insert(cell(&row, "endpoint"));
                Ok(())
            })
            .await?;
        }
    }
    if endpoints.is_empty() {
        out::say("(nothing of that class is held)");
    }
    for endpoint in endpoints {
        let order = Given::post(format!("/api/v1/quarantine/{verb}"));
        let order = order.member("endpoint", Some(endpoint.clone())).member("class", class.clone());
        how.give_for(app, order, &endpoint).await?;
    }
    Ok(())
}

fn show(program: &str, row: &Value) -> Result<(), Error> {
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
        ("incident", "incident"),
        ("copies", "copies"),
        ("released as", "releasedAs"),
        ("headers", "headers"),
    ];
    for (told, name) in members {
        out::line(&format!("{told:>12}: {}", cell(row, name)))?;
    }
    let cut = match row["cut"].as_bool() {
        Some(true) => format!(" (the beginning of {} bytes)", row["size"]),
        _ => String::new(),
    };
    out::line(&format!("\nbody{cut}:\n{}", cell(row, "body")))?;
    for edit in row["edits"].as_array().into_iter().flatten() {
        let (at, who) = (time(edit, "at"), cell(edit, "who"));
        out::line(&format!("\nbefore {who} edited it at {at}:\n{}", cell(edit, "before")))?;
    }
    ways(program, row)
}
