//! `sagas`: what the server serves, and how many instances are in which state.

use serde_json::Value;

use super::operate::{List, Reach, cell};
use crate::app::App;
use crate::error::Error;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    reach: Reach,
}

pub(crate) async fn run(app: App, args: Args) -> Result<(), Error> {
    let api = args.reach.open(&app)?;
    let head = &["SAGA", "VERSION", "STATES", "TAKES", "INSTANCES"];
    let list = List { path: "/api/v1/sagas", query: &[], limit: None, head };
    api.print(list, args.reach.json, |row| {
        vec![
            cell(row, "name"),
            cell(row, "version"),
            texts(&row["states"]),
            texts(&row["takes"]),
            counts(&row["instances"]),
        ]
    })
    .await
}

fn texts(list: &Value) -> String {
    let items = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    items.collect::<Vec<_>>().join(", ")
}

fn counts(by_state: &Value) -> String {
    let states = by_state.as_object().into_iter().flatten();
    let told: Vec<String> = states.map(|(state, count)| format!("{count} {state}")).collect();
    if told.is_empty() { "0".to_owned() } else { told.join(", ") }
}
