//! `audit`: who did what and why, newest first.

use serde_json::Value;

use super::operate::{List, Reach, cell, time};
use crate::app::App;
use crate::error::Error;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only what was done at this endpoint
    #[arg(long)]
    endpoint: Option<String>,
    /// So many lines at most
    #[arg(long)]
    limit: Option<usize>,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) async fn run(app: App, args: Args) -> Result<(), Error> {
    let api = args.reach.open(&app)?;
    let query: Vec<_> = args.endpoint.map(|name| ("endpoint", name)).into_iter().collect();
    let head = &["AT (UTC)", "WHO", "DID", "TO", "WHY", "WHAT WAS DONE"];
    let list = List { path: "/api/v1/audit", query: &query, limit: args.limit, head };
    api.print(list, args.reach.json, |row| {
        let mut cells = vec![time(row, "at")];
        cells.extend(["who", "verb", "target", "reason"].map(|name| cell(row, name)));
        let done = row["done"].as_array().into_iter().flatten().filter_map(Value::as_str);
        cells.push(done.collect::<Vec<_>>().join("; "));
        cells
    })
    .await
}
