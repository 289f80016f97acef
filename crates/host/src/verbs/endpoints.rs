//! `endpoints list`: where each endpoint stands, and how much waits in its queue.

use super::operate::{List, Reach, cell};
use crate::app::App;
use crate::error::Error;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// All endpoints: state, depth, consumers
    List {
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) async fn run(app: App, verb: Verb) -> Result<(), Error> {
    let Verb::List { reach } = verb;
    let api = reach.open(&app)?;
    let head = &["ENDPOINT", "STATE", "DEPTH", "CONSUMERS", "EPOCH"];
    let list = List { path: "/api/v1/endpoints", query: &[], limit: None, head };
    api.print(list, reach.json, |row| {
        ["name", "state", "depth", "consumers", "epoch"].map(|name| cell(row, name)).to_vec()
    })
    .await
}
