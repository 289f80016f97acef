//! `knarr sandbox`: the stand-ins for VirusTotal and Safe Browsing alone, until told to stop.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use knarr_sandbox::{Sandbox, Settings};

#[derive(Debug, Args)]
struct Wanted {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7301")]
    listen: SocketAddr,
}

pub(crate) fn command() -> Command {
    Wanted::augment_args(Command::new("sandbox"))
        .about("Serve stand-ins for VirusTotal and Safe Browsing")
}

pub(crate) async fn run(matches: ArgMatches) -> ExitCode {
    let wanted = match Wanted::from_arg_matches(&matches) {
        Ok(wanted) => wanted,
        Err(error) => {
            let _unread = error.print();
            return ExitCode::from(2);
        }
    };
    match serve(wanted.listen).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _unread = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let stop = knarr::stop_signal().context("cannot listen for signals")?;
    let sandbox = Sandbox::start(address, Settings::default())
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let (url, host) = (sandbox.url(), sandbox.address().ip());
    let told = format!(
        "VirusTotal and Safe Browsing are played at {url}. To use them:\n\
         VIRUSTOTAL_URL={url} VIRUSTOTAL_API_KEY=ok-key \
         SAFE_BROWSING_URL={url} SAFE_BROWSING_API_KEY=ok-key KNARR_HTTP_ALLOW={host} \
         knarr serve"
    );
    writeln!(std::io::stdout(), "{told}")?;
    stop.await;
    sandbox.stop().await;
    Ok(())
}
