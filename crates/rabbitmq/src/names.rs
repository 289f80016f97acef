//! Names as AMQP carries them: at most 255 bytes.

use knarr_model::names::MAX_NAME;
use lapin::types::ShortString;

/// `text` as a short string, or what is wrong with it.
pub(crate) fn short(what: &str, text: &str) -> Result<ShortString, String> {
    ShortString::try_new(text).map_err(|_| {
        format!("{what} has {} bytes, and AMQP carries at most {MAX_NAME}", text.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_above_255_bytes_is_refused_not_cut() {
        assert!(short("the exchange", &"x".repeat(255)).is_ok());
        let why = short("the exchange", &"é".repeat(128)).expect_err("256 bytes");
        assert!(why.contains("the exchange") && why.contains("256"), "{why}");
    }
}
