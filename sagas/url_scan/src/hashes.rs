//! Hashes of expressions, and the four bytes of each that leave the house.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use sha2::{Digest as _, Sha256};

use crate::canonical::Canonical;
use crate::expressions::expressions;

/// The SHA-256 of an expression.
pub(crate) type FullHash = [u8; 32];
/// Its first bytes, which are asked about.
pub(crate) type Prefix = [u8; 4];

pub(crate) fn full_hash(expression: &str) -> FullHash {
    Sha256::digest(expression.as_bytes()).into()
}

pub(crate) fn prefix_of(hash: &FullHash) -> Prefix {
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The hashes of a URL's expressions by their prefixes.
pub(crate) fn hashes(url: &Canonical) -> BTreeMap<Prefix, Vec<FullHash>> {
    let mut by_prefix: BTreeMap<Prefix, Vec<FullHash>> = BTreeMap::new();
    for expression in expressions(url) {
        let hash = full_hash(&expression);
        by_prefix.entry(prefix_of(&hash)).or_default().push(hash);
    }
    by_prefix
}

/// Bytes as the API's JSON and queries show them.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A hash as the API's JSON shows it, in either alphabet.
pub(crate) fn decode(text: &str) -> Option<FullHash> {
    let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_sha_256_and_prefixes_their_first_four_bytes() {
        // FIPS 180-2, appendix B.1.
        let hash = full_hash("abc");
        assert_eq!(hash[..6], [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01]);
        assert_eq!(prefix_of(&hash), [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(encode(&prefix_of(&hash)), "ungWvw==");
        assert_eq!(decode(&encode(&hash)), Some(hash));
        assert_eq!(decode(&URL_SAFE.encode(hash)), Some(hash));
        assert_eq!(decode("ungWvw=="), None, "a prefix is no hash");
        assert_eq!(decode("?"), None);
    }

    #[test]
    fn every_expression_is_under_its_prefix() {
        let url = crate::canonical::canonicalize("http://a.b.c/1/2.html?p=1").expect("a host");
        let all = hashes(&url);
        assert_eq!(all.values().map(Vec::len).sum::<usize>(), 8);
        assert!(all.iter().all(|(prefix, of)| of.iter().all(|hash| prefix_of(hash) == *prefix)));
    }
}
