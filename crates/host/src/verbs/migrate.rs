//! `migrate`: brings the store's schema up to date and ends.

use std::sync::Arc;

use knarr_model::ports::Clock;

use super::flags::Flags;
use crate::app::App;
use crate::clock::SystemClock;
use crate::error::Error;
use crate::laid::findings;
use crate::{compose, out};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub(crate) async fn run(app: App, args: Args) -> Result<(), Error> {
    args.flags.begin_log(&app, false)?;
    let (laid, config) = app.resolve(&args.flags.settings())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    // A table that must not start must not change anything either.
    let wrong = findings(&laid.sagas, &laid.activities);
    if !wrong.is_empty() {
        return Err(Error::Findings(wrong));
    }
    out::line(&compose::migrate(&config, &laid.scripts(), &clock).await?)
}
