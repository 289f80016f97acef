//! What was set, by name, as activities and sagas read it while they are put together.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use knarr_http::{Allow, Client};
use knarr_model::durations::parse_duration;

use super::parse;
use super::setting::{Fallback, Setting};
use super::wrong::Wrong;

/// The values of all settings. Nothing of it is shown by `Debug` but names.
pub struct Values {
    known: Vec<Setting>,
    texts: BTreeMap<&'static str, String>,
}

impl Values {
    pub(crate) fn new(known: &[Setting], texts: BTreeMap<&'static str, String>) -> Self {
        Values { known: known.to_vec(), texts }
    }

    /// The text that was set, else the default's; `None` when there is neither.
    ///
    /// Names that were not declared with [`crate::App::settings`] are never set.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        if let Some(text) = self.texts.get(name) {
            return Some(text);
        }
        let setting = self.known.iter().find(|setting| setting.name == name);
        debug_assert!(setting.is_some(), "{name} was not declared with App::settings");
        match setting?.default {
            Fallback::Text(text) => Some(text),
            Fallback::Told(_) | Fallback::Unset => None,
        }
    }

    /// Whether it was set; its default does not count.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.texts.contains_key(name)
    }

    /// As [`Values::text`], for readers that take a lookup.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// The text; a setting that has none is wrong.
    ///
    /// # Errors
    /// When it is not set.
    pub fn required(&self, name: &str) -> Result<&str, Wrong> {
        self.text(name).ok_or_else(|| Wrong::new(name, "must be set"))
    }

    /// A duration such as `200ms`, `20s`, `30m`.
    ///
    /// # Errors
    /// When it is not set or no duration.
    pub fn duration(&self, name: &str) -> Result<Duration, Wrong> {
        parse_duration(self.required(name)?).map_err(|why| Wrong::new(name, why))
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// When it is not set, no number or out of bounds.
    pub fn number<T>(&self, name: &str, within: RangeInclusive<T>) -> Result<T, Wrong>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        parse::number(self.required(name)?, within).map_err(|why| Wrong::new(name, why))
    }

    /// The guarded way out to the web, which may call what `KNARR_HTTP_ALLOW` says.
    ///
    /// # Errors
    /// When that setting cannot be read, or the system gives no TLS.
    pub fn web(&self) -> Result<Client, Wrong> {
        const NAME: &str = "KNARR_HTTP_ALLOW";
        let mut settings = knarr_http::Settings::default();
        if let Some(text) = self.text(NAME) {
            settings.allow = text.parse::<Allow>().map_err(|error| Wrong::new(NAME, error))?;
        }
        Client::new(settings).map_err(|error| Wrong::new(NAME, error))
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.texts.keys()).finish()
    }
}
