//! What became of the run that failed: halted, purged, set aside; then let go again, and why not.

use std::time::Duration;

use anyhow::Context;
use knarr::guard::{Incident, Order};
use knarr::records::{EndpointState, PageRequest, QuarantineFilter, Quarantined};
use knarr::uuid::Uuid;

use super::play::Stage;
use super::show::Show;

/// How long a released run may take to fail again: nothing was mended.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);
const ENDPOINT: &str = "url-scan";

/// Tells the story of the failed run and of its release.
pub(super) async fn tell(stage: &Stage, scan: Uuid, show: &Show) -> anyhow::Result<()> {
    let (first, aside) = contained(stage, scan, None).await?;
    show.say("\nWhat became of the scan that failed");
    show.say(&told(&first));
    show.say(&format!(
        "  the message that started it is set aside as {}; copies of it start nothing\n\
         What an operator types\n  \
         knarr incidents show {}\n  knarr endpoints resume {ENDPOINT}\n  \
         knarr quarantine release {}",
        aside.id, first.id, aside.id
    ));
    let anna = Order::by("demo").because("the demo lets it go");
    let desk = stage.server.desk();
    desk.resume(&anna, &ENDPOINT.into(), false).await?;
    let released = desk.release(&anna, &[aside.id]).await?;
    show.say("Resumed and released:");
    for text in &released.audit.done {
        show.say(&format!("  {text}"));
    }
    let (again, _) = contained(stage, scan, Some(first.id)).await?;
    let run = again.run.unwrap_or_default();
    show.say(&format!("Nothing was mended, so run {run} failed too and is contained:"));
    show.say(&told(&again));
    Ok(())
}

fn told(incident: &Incident) -> String {
    let removed = &incident.removed;
    let mut lines = vec![format!("  {}", incident.reason)];
    lines.push(format!("  {ENDPOINT} is halted; nothing else is processed before it is resumed"));
    lines.push(format!(
        "  moved into incident {}: {} bytes of data, timers: {}, calls: {}",
        incident.id, removed.data_bytes, removed.timers, removed.calls
    ));
    for step in &removed.steps {
        lines.push(format!("  purge step {}: rows deleted: {}", step.name, step.rows));
    }
    lines.join("\n")
}

/// The incident of the scan's run, another one than `not`, once the endpoint is halted by it.
async fn contained(
    stage: &Stage,
    scan: Uuid,
    not: Option<Uuid>,
) -> anyhow::Result<(Incident, Quarantined)> {
    let clock = stage.server.clock();
    let records = stage.server.records();
    let until = clock.monotonic() + PATIENCE;
    while clock.monotonic() < until {
        let page = PageRequest { limit: 100, cursor: None };
        let held = records.quarantine(&QuarantineFilter::default(), &page).await?;
        let row = held.items.into_iter().find(|row| row.instance.is_some_and(|id| id.0 == scan));
        let incident = row.as_ref().and_then(|row| row.incident).filter(|id| Some(*id) != not);
        let halted =
            records.endpoints().await?.iter().any(|row| row.state == EndpointState::Halted);
        if let (Some(row), Some(id), true) = (row, incident, halted) {
            let incident = stage.server.incidents().incident(id).await?;
            return Ok((incident.context("the incident is gone")?, row));
        }
        clock.sleep(LOOK).await;
    }
    anyhow::bail!("the failed run was not contained")
}
