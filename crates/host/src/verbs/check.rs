//! `check`: everything that is wrong with the machines, without starting them.

use std::sync::Arc;

use knarr_model::instance::{FINAL, PURGED};
use knarr_model::ports::records::PageRequest;
use knarr_model::ports::{Clock, Records};
use knarr_saga::Definition;
use knarr_saga::check::Severity;
use serde_json::json;

use super::flags::Flags;
use crate::app::App;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::error::Error;
use crate::laid::Laid;
use crate::{compose, out};

/// Instances read at once.
const PAGE: usize = 500;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this saga
    saga: Option<String>,
    /// Also look for live instances in the store that the definitions cannot take
    #[arg(long)]
    against: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// One thing found.
struct Found {
    saga: String,
    code: String,
    severity: Severity,
    text: String,
}

impl Found {
    fn error(saga: &dyn Definition, code: &str, text: String) -> Found {
        let saga = saga.name().to_string();
        Found { saga, code: code.to_owned(), severity: Severity::Error, text }
    }

    fn told(&self) -> &'static str {
        match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

pub(crate) async fn run(app: App, args: Args) -> Result<(), Error> {
    args.flags.begin_log(&app, false)?;
    let (laid, config) = app.resolve(&args.flags.settings())?;
    let chosen: Vec<Arc<dyn Definition>> = match &args.saga {
        None => laid.sagas.clone(),
        Some(name) => vec![super::diagram::named(&laid, name)?],
    };
    let mut found = Vec::new();
    for saga in &chosen {
        found.extend(of_saga(&laid, &**saga));
    }
    if args.against {
        found.extend(against(&chosen, &config).await?);
    }
    for one in &found {
        let Found { saga, code, text, .. } = one;
        match args.json {
            true => out::json(&json!({
                "saga": saga, "code": code, "severity": one.told(), "text": text
            }))?,
            false => out::line(&format!("{}[{code}]: {text}", one.told()))?,
        }
    }
    let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
    if errors > 0 {
        return Err(Error::Failed(format!("{errors} of {} findings are errors", found.len())));
    }
    if !args.json {
        let names: Vec<&str> = chosen.iter().map(|saga| &**saga.name()).collect();
        let warnings = match found.len() {
            0 => "nothing is wrong".to_owned(),
            n => format!("no errors, {n} warnings"),
        };
        out::line(&format!("{}: {warnings}", names.join(", ")))?;
    }
    Ok(())
}

/// What the table says of itself, and calls that nobody answers.
fn of_saga(laid: &Laid, saga: &dyn Definition) -> Vec<Found> {
    let mut found: Vec<Found> = saga
        .findings()
        .into_iter()
        .map(|finding| Found {
            saga: saga.name().to_string(),
            code: finding.code.to_owned(),
            severity: finding.severity,
            text: finding.text,
        })
        .collect();
    for call in saga.calls() {
        let answers = laid.activities.iter().filter(|activity| activity.call() == call).count();
        let name = saga.name();
        match answers {
            0 => found.push(Found::error(
                saga,
                "no-activity",
                format!("{name} asks for {call}, which no activity answers"),
            )),
            1 => {}
            n => found.push(Found::error(
                saga,
                "two-activities",
                format!("{n} activities answer {call}, which {name} asks for"),
            )),
        }
    }
    found
}

/// Live instances that these definitions cannot take up.
async fn against(sagas: &[Arc<dyn Definition>], config: &Config) -> Result<Vec<Found>, Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    // Before a deploy the new definitions' own tables need not be there yet.
    let store = compose::store(config, false, &[], &clock).await?;
    let records = store.records();
    let mut found = Vec::new();
    for saga in sagas {
        match misfits(&**saga, &*records).await {
            Ok(more) => found.extend(more),
            Err(error) => {
                store.close().await;
                return Err(Error::Store(error.to_string()));
            }
        }
    }
    store.close().await;
    Ok(found)
}

async fn misfits(
    saga: &dyn Definition,
    records: &dyn Records,
) -> Result<Vec<Found>, knarr_model::ports::StoreError> {
    let mut found = Vec::new();
    let mut page = PageRequest { limit: PAGE, cursor: None };
    loop {
        let rows = records.instances(saga.name(), None, &page).await?;
        for row in rows.items.iter().filter(|row| row.state != FINAL && row.state != PURGED) {
            let Some(detail) = records.instance(saga.name(), row.id).await? else { continue };
            if let Err(why) = saga.open(row.id, Some(&detail.instance)) {
                found.push(Found::error(saga, "cannot-take", why));
            }
        }
        match rows.next {
            Some(next) => page.cursor = Some(next),
            None => return Ok(found),
        }
    }
}
