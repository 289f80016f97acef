//! `serve`: everything runs until the system asks the process to stop.

use super::flags::Flags;
use crate::app::App;
use crate::error::Error;
use crate::run::run as run_until;
use crate::server::{Server, Start};
use crate::{out, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Take the store's schema and the sagas' own tables as they are; older ones are refused
    #[arg(long)]
    no_migrate: bool,
    /// The store was restored from a backup: everything goes on at new epochs, and messages for what
    /// was lost are set aside. Once, at the first start; stop all other processes before
    #[arg(long)]
    after_restore: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) async fn run(app: App, args: Args) -> Result<(), Error> {
    args.flags.begin_log(&app, true)?;
    for stranger in app.strangers() {
        tracing::warn!("{stranger} is set, but there is no such setting");
    }
    let (laid, config) = app.resolve(&args.flags.settings())?;
    let stop = signals::stop_signal()?;
    let start = Start { migrate: !args.no_migrate, after_restore: args.after_restore };
    run_until(laid, config, start, stop, tell_console).await?;
    tracing::info!("stopped");
    Ok(())
}

/// The link is shown when nobody can know the token yet, and to people; not to every log.
fn tell_console(server: &Server) {
    if server.keeps_token() && (server.has_new_token() || out::is_watched()) {
        out::say(&format!("console: {}", server.console()));
    }
}
