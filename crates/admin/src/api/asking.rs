//! An order as a request brings it: who, why, under which key, and whether it is only to be shown.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use knarr_guard::Order;
use knarr_model::ports::guard::Run;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::body;
use super::shown::Shown;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::tokens::Caller;

/// The longest `Idempotency-Key`, in characters.
pub(crate) const LONGEST_KEY: usize = 200;
/// The longest reason, in characters.
const LONGEST_REASON: usize = 2000;

/// What every body of an order may say.
pub(crate) trait Told: DeserializeOwned + Send {
    /// Why.
    fn reason(&self) -> Option<&str>;

    /// What holds when there is no body; `None` where there must be one.
    fn absent() -> Option<Self> {
        None
    }

    /// How many bytes are taken.
    fn most(settings: &Settings) -> usize {
        settings.max_body
    }
}

/// What every query of an order may say.
pub(crate) trait Asked: DeserializeOwned + Send {
    /// Whether nothing is to be written.
    fn is_dry(&self) -> bool;
}

/// The body of most orders: why, if somebody says so.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    reason: Option<String>,
}

impl Told for Reason {
    fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    fn absent() -> Option<Self> {
        Some(Reason::default())
    }
}

/// The query of most orders.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    #[serde(default)]
    dry_run: bool,
}

impl Asked for Options {
    fn is_dry(&self) -> bool {
        self.dry_run
    }
}

/// An order with all that its request said.
pub(crate) struct Asking<B = Reason, Q = Options> {
    pub(crate) order: Order,
    pub(crate) body: B,
    pub(crate) query: Q,
}

impl<B: Told, Q: Asked> FromRequest<Shown> for Asking<B, Q> {
    type Rejection = Problem;

    async fn from_request(request: Request, shown: &Shown) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let caller = request.extensions().get::<Caller>().cloned().ok_or_else(nobody)?;
        let query = Query::<Q>::try_from_uri(request.uri());
        let Query(query) =
            query.map_err(|wrong| Problem::bad_request(format!("{}.", wrong.body_text())))?;
        let key = key(&headers)?.map(str::to_owned);
        let most = B::most(&shown.settings);
        let bytes = Bytes::from_request(request, shown).await;
        let body = match B::absent() {
            Some(absent) => body::read_if_any(most, &headers, bytes)?.unwrap_or(absent),
            None => body::read(most, &headers, bytes)?,
        };
        let reason = reason(body.reason())?;
        let run = if query.is_dry() { Run::Dry } else { Run::ForReal };
        Ok(Asking { order: Order { who: caller.name, reason, key, run }, body, query })
    }
}

fn nobody() -> Problem {
    Problem::no_token("Send it as `Authorization: Bearer <token>`.")
}

/// The key under which a repeated request takes effect once.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=LONGEST_KEY).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Problem::bad_request(format!(
            "Idempotency-Key must be 1 to {LONGEST_KEY} visible ASCII characters: a UUID does."
        ))),
    }
}

/// Blank is no reason.
pub(crate) fn reason(text: Option<&str>) -> Result<Option<String>, Problem> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    match text {
        Some(text) if text.chars().count() > LONGEST_REASON => Err(Problem::bad_request(format!(
            "The reason must not be longer than {LONGEST_REASON} characters."
        ))),
        text => Ok(text.map(str::to_owned)),
    }
}

/// What stands in the path.
pub(crate) struct At<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shown> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shown: &Shown) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, shown).await {
            Ok(Path(found)) => Ok(At(found)),
            Err(wrong) => Err(Problem::bad_request(format!(
                "{}. Names in the path are UTF-8, percent-encoded.",
                wrong.body_text()
            ))),
        }
    }
}
