//! Which rows a list of what failed shows, and which page of them.

use std::str::FromStr;

use knarr_model::Name;
use knarr_model::ports::records::PageRequest;
use knarr_model::quarantine::Class;
use serde::Deserialize;

use super::words;
use crate::paging::{Asked, page, query};
use crate::problem::Problem;
use crate::settings::Settings;

/// The filter as it stands in the query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    status: Option<String>,
    endpoint: Option<String>,
    class: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// The filter as it was understood; `S` are the statuses of such rows.
pub(crate) struct Wanted<S> {
    pub(crate) status: Option<S>,
    pub(crate) endpoint: Option<Name>,
    pub(crate) class: Option<Class>,
    pub(crate) page: PageRequest,
}

impl<S: FromStr<Err = String>> Wanted<S> {
    /// Reads the query; `statuses` are told where another one is named.
    pub(crate) fn read(
        asked: Asked<Filter>,
        statuses: &str,
        settings: &Settings,
    ) -> Result<Self, Problem> {
        let Filter { status, endpoint, class, limit, cursor } = query(asked)?;
        Ok(Wanted {
            page: page(settings, limit, cursor)?,
            status: words::word(status, statuses)?,
            endpoint: endpoint.map(Into::into),
            class: words::class(class)?,
        })
    }
}
