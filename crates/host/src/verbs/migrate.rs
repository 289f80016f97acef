//! `migrate`: brings the store's schema up to date and ends.

use std::sync::Arc;

use knarr_model::ports::Clock;

use super::flags::Flags;
use crate::app::App;
use crate::clock::SystemClock;
use crate::error::Error;
use crate::{compose, out};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(crate) async fn run(app: App, args: Args) -> Result<(), Error> {
    args.flags.begin_log(&app, false)?;
    let (_, config) = app.resolve(&args.flags.settings())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    out::line(&compose::migrate(&config, &clock).await?)
}
