//! `instances`: what runs, one instance with everything around it; cancel, purge, resume.

use serde_json::Value;

use super::operate::{List, Reach, cell, segment, time};
use super::orders::{Given, How};
use crate::app::App;
use crate::error::Error;
use crate::out;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Instances of a saga, newest change first
    List {
        /// The saga
        saga: String,
        /// Only those in this state
        #[arg(long)]
        state: Option<String>,
        /// So many at most
        #[arg(long)]
        limit: Option<usize>,
        #[command(flatten)]
        reach: Reach,
    },
    /// One instance: why it waits, its data, history, timers, calls and parked messages
    Show {
        /// The saga
        saga: String,
        /// The instance's id
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// End a run; what the saga wrote elsewhere stays, and `resume` brings it back
    Cancel {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        how: How,
    },
    /// End a run and remove what the saga wrote elsewhere; its own data are kept in an incident
    Purge {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        how: How,
    },
    /// Bring back the run that the instance's incident keeps
    Resume {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        how: How,
    },
}

/// Which instance.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The saga
    saga: String,
    /// The instance's id
    id: String,
}

impl One {
    fn order(&self, verb: &str) -> Given {
        let (saga, id) = (segment(&self.saga), segment(&self.id));
        Given::post(format!("/api/v1/sagas/{saga}/instances/{id}/{verb}"))
    }
}

pub(crate) async fn run(app: App, verb: Verb) -> Result<(), Error> {
    match verb {
        Verb::List { saga, state, limit, reach } => {
            let api = reach.open(&app)?;
            let path = format!("/api/v1/sagas/{}/instances", segment(&saga));
            let query: Vec<_> = state.map(|state| ("state", state)).into_iter().collect();
            let head = &["INSTANCE", "STATE", "RUN", "VERSION", "CHANGED (UTC)"];
            let list = List { path: &path, query: &query, limit, head };
            api.print(list, reach.json, |row| {
                let mut cells = ["id", "state", "run", "version"].map(|it| cell(row, it)).to_vec();
                cells.push(time(row, "updatedAt"));
                cells
            })
            .await
        }
        Verb::Show { saga, id, reach } => {
            let api = reach.open(&app)?;
            let path = format!("/api/v1/sagas/{}/instances/{}", segment(&saga), segment(&id));
            let instance = api.get(&path, &[]).await?;
            match reach.json {
                true => out::json(&instance),
                false => show(&instance),
            }
        }
        Verb::Cancel { one, how } => how.give(&app, one.order("cancel")).await,
        Verb::Purge { one, how } => how.give(&app, one.order("purge")).await,
        Verb::Resume { one, how } => how.give(&app, one.order("resume")).await,
    }
}

fn show(instance: &Value) -> Result<(), Error> {
    let [saga, id, state, run] = ["saga", "id", "state", "run"].map(|it| cell(instance, it));
    out::line(&format!("{saga} {id}, run {run}: {state}"))?;
    out::line(&cell(instance, "waiting"))?;
    out::line(&format!("data: {}", instance["data"]))?;
    section(instance, "journal", &["AT (UTC)", "EVENT", "FROM", "TO", "OUTCOME"], |row| {
        let mut cells = vec![time(row, "at")];
        cells.extend(["event", "fromState", "toState", "outcome"].map(|it| cell(row, it)));
        cells
    })?;
    section(instance, "timers", &["TIMER", "DUE (UTC)"], |row| {
        vec![cell(row, "name"), time(row, "dueAt")]
    })?;
    section(instance, "activities", &["CALL", "ATTEMPT", "DUE (UTC)"], |row| {
        vec![cell(row, "call"), cell(row, "attempt"), time(row, "dueAt")]
    })?;
    section(instance, "parked", &["MESSAGE", "REASON", "ATTEMPT", "DUE (UTC)", "ERROR"], |row| {
        let mut cells = ["messageId", "reason", "attempt"].map(|it| cell(row, it)).to_vec();
        cells.extend([time(row, "dueAt"), cell(row, "error")]);
        cells
    })
}

fn section(
    instance: &Value,
    name: &str,
    head: &[&str],
    cells: impl Fn(&Value) -> Vec<String>,
) -> Result<(), Error> {
    let rows = instance[name].as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return Ok(());
    }
    out::line(&format!("\n{name}:"))?;
    out::table(head, rows.iter().map(cells))
}
