//! Words and ids of a request, with what was expected told where they are wrong.

use std::str::FromStr;

use knarr_model::quarantine::Class;
use uuid::Uuid;

use crate::problem::Problem;

/// A word of a fixed set; the error names the set.
pub(crate) fn word<T: FromStr<Err = String>>(
    text: Option<String>,
    all: &str,
) -> Result<Option<T>, Problem> {
    text.map(|text| {
        text.parse().map_err(|why| Problem::bad_request(format!("{why}; there are: {all}.")))
    })
    .transpose()
}

/// A class of what fails.
pub(crate) fn class(text: Option<String>) -> Result<Option<Class>, Problem> {
    let all: Vec<_> = Class::ALL.iter().map(|class| class.as_str()).collect();
    word(text, &all.join(", "))
}

/// An id in a path; `noun` says of what.
pub(crate) fn id(text: &str, noun: &str) -> Result<Uuid, Problem> {
    text.parse()
        .map_err(|_| Problem::bad_request(format!("`{text}` is no {noun} id: it is a UUID.")))
}
