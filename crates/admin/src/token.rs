//! The secret that opens the API, and the hash by which others are known.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// A bearer token. Its text is never shown by `Debug`.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// The shortest token that is taken, in bytes.
    pub const SHORTEST: usize = 16;

    /// A token of at least [`Token::SHORTEST`] visible ASCII characters, as a header can carry it.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn new(text: &str) -> Result<Token, String> {
        if text.len() < Token::SHORTEST {
            return Err(format!(
                "is {} characters long, at least {} are needed",
                text.len(),
                Token::SHORTEST
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("holds blanks or characters that no header can carry".to_owned());
        }
        Ok(Token(text.into()))
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// What is kept of a token: nobody finds the token from it, and all are of one length.
pub(crate) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_what_sha256sum_prints() {
        let hex: String = hash("abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let token = Token::new("0123456789abcdef").expect("long enough");
        assert!(!format!("{token:?}").contains("0123"));
    }

    #[test]
    fn short_tokens_and_blanks_are_refused_without_being_repeated() {
        for bad in ["secret", "0123456789 abcdef", "0123456789abcdeé", "0123456789abcdef\n"] {
            let why = Token::new(bad).expect_err(bad);
            assert!(!why.contains(bad.trim()), "{why}");
        }
    }
}
