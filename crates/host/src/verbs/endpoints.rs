//! `endpoints list|halt|pause|resume`: where each one stands, and who stops and starts it.

use super::operate::{List, Reach, cell, segment, time};
use super::orders::{Given, How};
use crate::app::App;
use crate::error::Error;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// All endpoints: state, depth, consumers, and why one does not flow
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Stop an endpoint: nothing is decided any more, on no node, until it is resumed
    Halt {
        /// The endpoint
        name: String,
        #[command(flatten)]
        how: How,
    },
    /// Stop an endpoint's intake; what the store has waiting goes on
    Pause {
        /// The endpoint
        name: String,
        #[command(flatten)]
        how: How,
    },
    /// Open an endpoint
    Resume {
        /// The endpoint
        name: String,
        /// One message at a time first; it opens when ten have gone through
        #[arg(long)]
        probe: bool,
        #[command(flatten)]
        how: How,
    },
}

pub(crate) async fn run(app: App, verb: Verb) -> Result<(), Error> {
    let order =
        |name: &str, verb: &str| Given::post(format!("/api/v1/endpoints/{}/{verb}", segment(name)));
    match verb {
        Verb::List { reach } => list(&app, &reach).await,
        Verb::Halt { name, how } => how.give(&app, order(&name, "halt")).await,
        Verb::Pause { name, how } => how.give(&app, order(&name, "pause")).await,
        Verb::Resume { name, probe, how } => {
            let order = order(&name, "resume");
            let order = if probe { order.query("probe", true) } else { order };
            how.give(&app, order).await
        }
    }
}

async fn list(app: &App, reach: &Reach) -> Result<(), Error> {
    let api = reach.open(app)?;
    let head = &["ENDPOINT", "STATE", "DEPTH", "CONSUMERS", "EPOCH", "SINCE (UTC)", "BY", "WHY"];
    let list = List { path: "/api/v1/endpoints", query: &[], limit: None, head };
    api.print(list, reach.json, |row| {
        let mut cells =
            ["name", "state", "depth", "consumers", "epoch"].map(|name| cell(row, name)).to_vec();
        let stop = &row["stop"];
        cells.extend([time(stop, "since"), cell(stop, "by"), cell(stop, "reason")]);
        cells
    })
    .await
}
