//! `bench`: how fast the road is on this machine, as ratios within one run, and how soon it halts.

use std::sync::Arc;

use clap::ValueEnum;
use knarr_model::ports::Clock;
use knarr_model::topology::QueueKind;
use serde_json::json;

use super::flags::Flags;
use crate::app::App;
use crate::bench::{Bench, HaltVariant, Halts, Replica, Report, median};
use crate::clock::SystemClock;
use crate::compose::Measured;
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
    /// Rounds, each measuring everything once (3), or halts of each kind (10)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
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
    /// Halts: from when one is in force to when the last consumer is cancelled, with NOTIFY and
    /// without, idle and at half load, for 1 and 3 processes
    Halt,
}

/// Processes that share a queue at most.
const LARGEST_FLEET: usize = 3;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Queue {
    Quorum,
    Classic,
}

pub(crate) async fn run(app: App, args: Args) -> Result<(), Error> {
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
        rounds: args.rounds.unwrap_or(3) as usize,
        queues: args.queue.iter().map(|queue| kind(*queue)).collect(),
    };
    let measured = match args.scenario {
        Scenario::Road => road(&bench, args.json).await,
        Scenario::Halt => halt(&bench, &under, &args).await,
    };
    under.clear().await?;
    measured
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failed(error.to_string())
}

async fn road(bench: &Bench, json: bool) -> Result<(), Error> {
    let report = bench.run(|line| out::say(&line)).await.map_err(failed)?;
    if json { as_json(&report) } else { as_table(&report) }
}

async fn halt(bench: &Bench, under: &Measured, args: &Args) -> Result<(), Error> {
    let half_load = bench.capacity().await.map_err(failed)? / 2.0;
    let desk = Replica { transport: under.transport.clone(), store: under.store.clone() };
    let mut variants = Vec::new();
    for notify in [true, false] {
        let mut replicas = Vec::new();
        for _ in 0..LARGEST_FLEET {
            let (transport, store) = under.replica(notify, &bench.clock).await?;
            replicas.push(Replica { transport, store });
        }
        let halts = Halts {
            replicas: &replicas,
            notify,
            desk: &desk,
            clock: bench.clock.clone(),
            spawn: bench.spawn.clone(),
            half_load,
            rounds: args.rounds.unwrap_or(10) as usize,
        };
        let found = halts.run(&mut |line| out::say(&line)).await;
        for replica in replicas {
            replica.transport.close().await;
        }
        variants.extend(found.map_err(failed)?);
    }
    let conditions = format!(
        "medians, and the worst of {} halts; a quorum queue; 50 % load is {half_load:.0} messages a \
         second, half of what one process took alone; a process looks at its endpoint every second \
         when nobody tells it",
        args.rounds.unwrap_or(10)
    );
    if args.json {
        halts_as_json(&variants, &conditions)
    } else {
        halts_as_table(&variants, &conditions)
    }
}

fn halts_as_json(variants: &[HaltVariant], conditions: &str) -> Result<(), Error> {
    variants.iter().try_for_each(out::json)?;
    let worst = |notify: bool| {
        let of = variants.iter().filter(|variant| variant.notify == notify);
        of.flat_map(|variant| &variant.to_last_consumer_cancelled_ms).copied().fold(0.0, f64::max)
    };
    out::json(&json!({
        "summary": true,
        "worst_with_notify_ms": worst(true),
        "worst_without_notify_ms": worst(false),
        "conditions": conditions,
    }))
}

fn halts_as_table(variants: &[HaltVariant], conditions: &str) -> Result<(), Error> {
    out::table(
        &["replicas", "load", "NOTIFY", "in force", "last consumer cancelled", "all have told"],
        variants.iter().map(HaltVariant::cells),
    )?;
    out::say(&format!(
        "`in force` and `all have told` from asking, `last consumer cancelled` from `in force`; \
         {conditions}"
    ));
    Ok(())
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
