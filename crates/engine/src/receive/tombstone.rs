//! What stays of a failed run: the same row, emptied.

use knarr_model::Instance;
use knarr_model::instance::PURGED;

use super::fold::closed_book;

/// The tombstone of a failed run: the same row, emptied (guard.md, "Purge, exactly").
pub(crate) fn tombstone(saved: &Instance) -> Instance {
    Instance {
        state: PURGED.to_owned(),
        data: empty_data(),
        book: closed_book(&saved.book),
        ..saved.clone()
    }
}

fn empty_data() -> std::sync::Arc<serde_json::value::RawValue> {
    std::sync::Arc::from(serde_json::value::RawValue::NULL.to_owned())
}
