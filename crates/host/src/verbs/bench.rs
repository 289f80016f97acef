//! `bench`: how fast the road is on this machine, as ratios within one run.

use std::sync::Arc;

use clap::ValueEnum;
use knarr_model::ports::Clock;
use knarr_model::topology::QueueKind;
use serde_json::json;

use super::flags::Flags;
use crate::app::App;
use crate::bench::{Bench, Report, median};
use crate::clock::SystemClock;
use crate::error::Error;
use crate::spawn::Spawner;
use crate::{compose, out};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is measured
    #[arg(value_enum, default_value = "road")]
    scenario: Scenario,
    /// Messages to one measurement
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    count: u32,
    /// Rounds: each measures everything once, one after another
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Kinds of queue
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["quorum", "classic"])]
    queue: Vec<Queue>,
    /// One JSON object a variant, last a summary
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scenario {
    /// The engine beside a bare forwarder and beside one message a transaction
    Road,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Queue {
    Quorum,
    Classic,
}

pub(crate) async fn run(app: App, args: Args) -> Result<(), Error> {
    let Scenario::Road = args.scenario;
    args.flags.begin_log(&app, true)?;
    let name = app.name().to_owned();
    let (_, config) = app.resolve(&args.flags.settings())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let under = compose::measured(&config, &name, &clock).await?;
    let bench = Bench {
        transport: under.transport.clone(),
        broker_url: under.broker_url.clone(),
        store: under.store.clone(),
        clock,
        spawn: Arc::new(Spawner::default()),
        count: args.count as usize,
        rounds: args.rounds as usize,
        queues: args.queue.iter().map(|queue| kind(*queue)).collect(),
    };
    let report = bench.run(|line| out::say(&line)).await;
    under.clear().await?;
    let report = report.map_err(|error| Error::Failed(error.to_string()))?;
    if args.json { as_json(&report) } else { as_table(&report) }
}

fn kind(queue: Queue) -> QueueKind {
    match queue {
        Queue::Quorum => QueueKind::Quorum,
        Queue::Classic => QueueKind::Classic,
    }
}

fn as_json(report: &Report) -> Result<(), Error> {
    for variant in &report.variants {
        out::json(variant)?;
    }
    out::json(&json!({
        "summary": true,
        "ratio_to_forwarder": report.ratio_to_forwarder(),
        "ratio_to_single": report.ratio_to_single(),
        "conditions": report.conditions,
    }))
}

fn as_table(report: &Report) -> Result<(), Error> {
    let rate = |figures: &[f64]| format!("{:.0}/s", median(figures));
    out::table(
        &["queue", "forwarder", "engine", "one a transaction", "to forwarder", "to one"],
        report.variants.iter().map(|variant| {
            vec![
                variant.queue.to_owned(),
                rate(&variant.forwarder),
                rate(&variant.engine),
                rate(&variant.single),
                format!("{:.2}", variant.ratio_to_forwarder),
                format!("{:.1}", variant.ratio_to_single),
            ]
        }),
    )?;
    out::say(&format!("medians of the rounds; {}", report.conditions));
    Ok(())
}
