//! Pages of a list: which one was asked for, and how it is answered.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use knarr_model::ports::records::{Page, PageRequest};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::settings::Settings;

/// A list as it is answered: `next` is given back as `cursor` to get what follows.
#[derive(Debug, Serialize)]
pub(crate) struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> List<T> {
    /// A page of stored rows as their views.
    pub(crate) fn of<R>(page: Page<R>, view: impl Fn(R) -> T) -> Self {
        List { items: page.items.into_iter().map(view).collect(), next: page.next }
    }
}

/// A query as the extractor hands it over, wrong ones included.
pub(crate) type Asked<T> = Result<Query<T>, QueryRejection>;

/// The query's members, or a problem that names the wrong one.
pub(crate) fn query<T>(asked: Asked<T>) -> Result<T, Problem> {
    match asked {
        Ok(Query(members)) => Ok(members),
        Err(rejection) => Err(Problem::bad_request(format!("{}.", rejection.body_text()))),
    }
}

/// Where a list is to begin and how long it may be.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    pub(crate) limit: Option<usize>,
    pub(crate) cursor: Option<String>,
}

/// The page asked for, within the bounds of the settings.
pub(crate) fn page(
    settings: &Settings,
    limit: Option<usize>,
    cursor: Option<String>,
) -> Result<PageRequest, Problem> {
    let limit = limit.unwrap_or(settings.page);
    if limit == 0 || limit > settings.longest_page {
        return Err(Problem::bad_request(format!(
            "limit must lie between 1 and {}, it is {limit}.",
            settings.longest_page
        )));
    }
    Ok(PageRequest { limit, cursor })
}

/// A list that is never long enough to be paged still takes the two members, as all lists do.
pub(crate) fn first_page<T>(
    settings: &Settings,
    asked: Asked<PageQuery>,
    mut items: Vec<T>,
) -> Result<List<T>, Problem> {
    let PageQuery { limit, cursor } = query(asked)?;
    let PageRequest { limit, cursor } = page(settings, limit, cursor)?;
    let from = match cursor {
        None => 0,
        Some(text) => {
            text.parse::<usize>().ok().filter(|from| *from <= items.len()).ok_or_else(|| {
                Problem::bad_request(format!(
                    "`{text}` is no cursor of this list: give back `next`."
                ))
            })?
        }
    };
    let mut items = items.split_off(from);
    let next = (items.len() > limit).then(|| (from + limit).to_string());
    items.truncate(limit);
    Ok(List { items, next })
}
