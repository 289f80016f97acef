//! A setting that cannot be used, in one line that names it.

use std::fmt;

/// What is wrong with one setting. Its text never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct Wrong {
    name: String,
    why: String,
}

impl Wrong {
    /// The setting `name` cannot be used because of `why`: say what is expected.
    pub fn new(name: impl Into<String>, why: impl fmt::Display) -> Self {
        Wrong { name: name.into(), why: why.to_string() }
    }

    /// Which setting.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
