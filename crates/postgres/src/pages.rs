//! Pages of lists: where one ends, the next begins.

use chrono::{DateTime, Utc};
use knarr_model::ports::StoreError;
use knarr_model::ports::records::{Page, PageRequest};
use uuid::Uuid;

/// The most rows on a page.
const LONGEST_PAGE: usize = 1_000;

/// The place of a row in a list: its time, then its id, both falling.
pub(crate) type Place = (DateTime<Utc>, Uuid);

/// Which rows of a list are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) after: Option<Place>,
    rows: usize,
}

impl Asked {
    pub(crate) fn new(request: &PageRequest) -> Result<Asked, StoreError> {
        let after = request.cursor.as_deref().map(place).transpose()?;
        Ok(Asked { after, rows: request.limit.clamp(1, LONGEST_PAGE) })
    }

    /// One more than is shown tells whether there is a next page.
    pub(crate) fn limit(&self) -> i64 {
        i64::try_from(self.rows + 1).unwrap_or(i64::MAX)
    }

    pub(crate) fn page<T>(&self, mut items: Vec<T>, place_of: impl Fn(&T) -> Place) -> Page<T> {
        let more = items.len() > self.rows;
        items.truncate(self.rows);
        let next = items.last().filter(|_| more).map(|item| cursor(place_of(item)));
        Page { items, next }
    }
}

/// A page of a list that is told by falling numbers. `read` is asked for rows below a number, and
/// for how many.
pub(crate) async fn numbered<T, R>(
    request: &PageRequest,
    read: impl FnOnce(Option<i64>, i64) -> R,
) -> Result<Page<T>, StoreError>
where
    R: Future<Output = Result<Vec<(i64, T)>, StoreError>>,
{
    let number = |text: &str| text.parse::<i64>().map_err(|_| no_cursor(text));
    let before = request.cursor.as_deref().map(number).transpose()?;
    let rows = request.limit.clamp(1, LONGEST_PAGE);
    let mut found = read(before, i64::try_from(rows + 1).unwrap_or(i64::MAX)).await?;
    let more = found.len() > rows;
    found.truncate(rows);
    let next = found.last().filter(|_| more).map(|(number, _)| number.to_string());
    Ok(Page { items: found.into_iter().map(|(_, item)| item).collect(), next })
}

/// Microseconds since 1970 and the id, as one hexadecimal word.
fn cursor((at, id): Place) -> String {
    format!("{:016x}{}", at.timestamp_micros(), id.simple())
}

fn place(cursor: &str) -> Result<Place, StoreError> {
    let read = || {
        let (at, id) = cursor.split_at_checked(16)?;
        let micros = u64::from_str_radix(at, 16).ok()?.cast_signed();
        Some((DateTime::from_timestamp_micros(micros)?, Uuid::try_parse(id).ok()?))
    };
    read().ok_or_else(|| no_cursor(cursor))
}

pub(crate) fn no_cursor(text: &str) -> StoreError {
    StoreError::Data(format!("`{text}` is no cursor of this list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_anything_else_is_refused() {
        for micros in [0, 1, -1, 1_767_225_600_000_001] {
            let at = DateTime::from_timestamp_micros(micros).expect("an instant");
            let here = (at, Uuid::from_u128(7));
            assert_eq!(place(&cursor(here)).expect("a cursor"), here);
        }
        for bad in ["", "x", "é", "0123456789abcdef", "+123456789abcdef0not-an-id"] {
            assert!(place(bad).expect_err("no cursor").is_data(), "{bad:?}");
        }
    }
}
