//! `quarantine`: messages set aside, one with its bytes and errors; release, edit, discard, unblock.

use axum::Json;
use axum::extract::State;
use knarr_model::ports::records::QuarantineFilter;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answered::Answered;
use super::asking::{Asking, At, Told};
use super::filter::{Filter, Wanted};
use super::shown::Shown;
use super::words;
use crate::paging::{Asked, List};
use crate::problem::Problem;
use crate::settings::Settings;
use crate::views::{QuarantineSummary, QuarantineView};

/// Where set-aside messages are listed.
const LIST: &str = "/api/v1/quarantine";
const NOUN: &str = "quarantine";

pub(crate) async fn list(
    State(shown): State<Shown>,
    asked: Asked<Filter>,
) -> Result<Json<List<QuarantineSummary>>, Problem> {
    let statuses = "held, released, discarded";
    let Wanted { status, endpoint, class, page } = Wanted::read(asked, statuses, &shown.settings)?;
    let filter = QuarantineFilter { status, endpoint, class };
    let found = shown.sources.records.quarantine(&filter, &page).await?;
    Ok(Json(List::of(found, QuarantineSummary::of)))
}

pub(crate) async fn show(
    State(shown): State<Shown>,
    At(id): At<String>,
) -> Result<Json<QuarantineView>, Problem> {
    let id = words::id(&id, NOUN)?;
    let found = shown.sources.records.quarantined(id).await?;
    let row = found.ok_or_else(|| {
        Problem::unknown(format!("There is no set-aside message {id}. GET {LIST} lists them."))
    })?;
    Ok(Json(QuarantineView::of(row)))
}

pub(crate) async fn release(
    State(shown): State<Shown>,
    At(id): At<String>,
    asking: Asking,
) -> Result<Answered, Problem> {
    let id = words::id(&id, NOUN)?;
    let done = shown.sources.desk.release(&asking.order, &[id]).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, LIST))
}

/// Which of them, in bulk.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    endpoint: String,
    class: Option<String>,
    reason: Option<String>,
}

impl Told for Which {
    fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

pub(crate) async fn release_held(
    State(shown): State<Shown>,
    asking: Asking<Which>,
) -> Result<Answered, Problem> {
    let Asking { order, body: Which { endpoint, class, .. }, .. } = asking;
    let class = words::class(class)?;
    let done = shown.sources.desk.release_held(&order, &endpoint.into(), class).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, LIST))
}

pub(crate) async fn discard_held(
    State(shown): State<Shown>,
    asking: Asking<Which>,
) -> Result<Answered, Problem> {
    let Asking { order, body: Which { endpoint, class, .. }, .. } = asking;
    let class = words::class(class)?;
    let done = shown.sources.desk.discard_held(&order, &endpoint.into(), class).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, LIST))
}

/// What a message is to say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Edited {
    /// The new body: text as it is to be, or a JSON object that is taken as it is written here.
    body: Box<RawValue>,
    content_type: Option<String>,
    reason: Option<String>,
}

impl Told for Edited {
    fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    fn most(settings: &Settings) -> usize {
        settings.max_edit
    }
}

impl Edited {
    fn text(&self) -> Result<String, Problem> {
        let raw = self.body.get();
        match raw.bytes().next() {
            Some(b'{' | b'[') => Ok(raw.to_owned()),
            Some(b'"') => serde_json::from_str(raw).map_err(|error| {
                Problem::bad_request(format!("The member `body` is no text: {error}."))
            }),
            _ => Err(Problem::bad_request(
                "The member `body` must be the new body as a string, or a JSON object.",
            )),
        }
    }
}

pub(crate) async fn edit(
    State(shown): State<Shown>,
    At(id): At<String>,
    asking: Asking<Edited>,
) -> Result<Answered, Problem> {
    let id = words::id(&id, NOUN)?;
    let Asking { order, body, .. } = asking;
    let text = body.text()?;
    let done = shown.sources.desk.edit(&order, id, text.into(), body.content_type).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, LIST))
}

pub(crate) async fn discard(
    State(shown): State<Shown>,
    At(id): At<String>,
    asking: Asking,
) -> Result<Answered, Problem> {
    let id = words::id(&id, NOUN)?;
    let done = shown.sources.desk.discard(&asking.order, &[id]).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, LIST))
}

pub(crate) async fn unblock(
    State(shown): State<Shown>,
    At(id): At<String>,
    asking: Asking,
) -> Result<Answered, Problem> {
    let id = words::id(&id, NOUN)?;
    let done = shown.sources.desk.unblock(&asking.order, id).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, LIST))
}
