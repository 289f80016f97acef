//! The demo as a verb: its flags, its words around the play, its exit code.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::show::Show;
use super::urls::{End, SAMPLES};
use super::{contained, play};

#[derive(Debug, Args)]
struct Wanted {
    /// Keep the state here in place of a temporary directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Stay up afterwards, until ctrl-c
    #[arg(long)]
    keep: bool,
    /// One JSON object a scan, then a summary, and nothing else on standard output
    #[arg(long)]
    json: bool,
}

pub(crate) fn command() -> Command {
    Wanted::augment_args(Command::new("demo"))
        .about("Scan sample URLs with everything on this machine: no broker, no keys, no network")
        .display_order(0)
}

pub(crate) async fn run(matches: ArgMatches) -> ExitCode {
    let wanted = match Wanted::from_arg_matches(&matches) {
        Ok(wanted) => wanted,
        Err(error) => {
            let _unread = error.print();
            return ExitCode::from(2);
        }
    };
    match demo(&wanted).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _unread = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

const WORDS: &str = "\
Everything runs on this machine: the orchestrator on one SQLite file, VirusTotal and Safe Browsing \
as stand-ins on loopback. So that you need not wait, VirusTotal's quota is 4 requests a second in \
place of 4 a minute, it is polled every second in place of every 20, and a scan ends after 15 \
seconds in place of 30 minutes.";

/// Whether every scan ended as it should.
async fn demo(wanted: &Wanted) -> anyhow::Result<bool> {
    // Held until the end: the directory goes when the demo does.
    let temporary = match &wanted.data_dir {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("cannot make a temporary directory")?),
    };
    let data_dir = match (&wanted.data_dir, &temporary) {
        (Some(given), _) => given.clone(),
        (None, Some(made)) => made.path().to_owned(),
        (None, None) => PathBuf::from("."),
    };
    let stop = knarr::stop_signal().context("cannot listen for signals")?;
    let mut show = Show::new(wanted.json, SAMPLES.len());
    show.say(WORDS);
    let stage = play::start(&data_dir).await?;
    show.say(&format!("\nAdmin API while it lasts: {}", stage.server.console()));
    show.say(&format!("{} URLs are submitted.\n", SAMPLES.len()));
    let clock = stage.server.clock();
    let began = clock.monotonic();
    let mut stop = std::pin::pin!(stop);
    let played = tokio::select! {
        biased;
        () = &mut stop => {
            stage.stop().await;
            anyhow::bail!("stopped before the end");
        }
        played = stage.play(&mut show) => played,
    };
    let scans = played?;
    show.done();
    show.summary(&scans, clock.monotonic().saturating_sub(began))?;
    let failed = scans.all().iter().find(|scan| scan.sample.end == End::Failed);
    if let Some(scan) = failed.filter(|scan| scan.is_as_expected()) {
        contained::tell(&stage, scan.id, &show).await?;
    }
    if wanted.keep {
        show.say(&format!("\nStill up: {}\nctrl-c ends it.", stage.server.console()));
        stop.await;
    } else {
        show.say("\nIt waits for a person. With --keep everything stays up to be looked at.");
    }
    stage.stop().await;
    Ok(scans.are_as_expected())
}
