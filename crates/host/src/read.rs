//! Text that a verb is given in a file or on standard input.

use std::io::Read;

use crate::error::Error;

/// What a file holds; `-` is standard input.
pub(crate) fn text(path: &str) -> Result<String, Error> {
    if path == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
        .map_err(|error| Error::Failed(format!("cannot read {path}: {error}")))
}
