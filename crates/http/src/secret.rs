//! A key or password: usable, never shown, and taken out of every text that might echo it.

use std::fmt;

/// A key or password. `Debug` and `Display` show `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret; blanks around it (a file's last line break) are not part of it.
    pub fn new(text: impl AsRef<str>) -> Self {
        Secret(text.as_ref().trim().to_owned())
    }

    /// The secret itself, for the place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `text` without the secrets, also where they stand as they are written in a query.
pub(crate) fn redact(text: &str, secrets: &[Secret]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let in_query: String = url::form_urlencoded::byte_serialize(secret.0.as_bytes()).collect();
        text = text.replace(&secret.0, "***").replace(&in_query, "***");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_nowhere_and_taken_out_of_texts() {
        let secret = Secret::new("  k&y 1\n");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.expose(), "k&y 1");
        let text = "key `k&y 1` at ?key=k%26y+1&a=b";
        assert_eq!(redact(text, &[secret]), "key `***` at ?key=***&a=b");
        assert_eq!(redact("as it is", &[Secret::new("")]), "as it is");
    }
}
