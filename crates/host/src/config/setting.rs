//! One row of the table of settings.

/// Something that can be set from outside: by flag, environment or `knarr.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name in the environment, such as `VIRUSTOTAL_API_KEY`. In `knarr.toml` it stands in
    /// lower case, without `KNARR_`.
    pub name: &'static str,
    /// What holds when nothing is set.
    pub default: Fallback,
    /// What it means, in a sentence for the reference.
    pub meaning: &'static str,
    /// Whether its value must not be shown; it may then come from a file named in `<NAME>_FILE`.
    pub secret: bool,
}

/// What holds when nothing is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This text, as if it had been set.
    Text(&'static str),
    /// Something that the words describe.
    Told(&'static str),
    /// Nothing.
    Unset,
}

impl Setting {
    /// A setting with a default value.
    #[must_use]
    pub const fn new(name: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Setting { name, default: Fallback::Text(default), meaning, secret: false }
    }

    /// A setting without a value unless one is given.
    #[must_use]
    pub const fn unset(name: &'static str, meaning: &'static str) -> Self {
        Setting { name, default: Fallback::Unset, meaning, secret: false }
    }

    /// A setting whose default is not a fixed text.
    #[must_use]
    pub const fn told(name: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Setting { name, default: Fallback::Told(default), meaning, secret: false }
    }

    /// The same as a secret: never shown, and `<NAME>_FILE` may name a file that holds it.
    #[must_use]
    pub const fn secret(self) -> Self {
        Setting { secret: true, ..self }
    }

    /// Its name in `knarr.toml`.
    #[must_use]
    pub fn key(&self) -> String {
        self.name.strip_prefix("KNARR_").unwrap_or(self.name).to_ascii_lowercase()
    }

    /// The name under which a file may hold it.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}_FILE", self.name)
    }
}
