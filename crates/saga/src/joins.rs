//! Joins: which sources have been seen, and when a complete join fires (behaviours 7).

use knarr_model::Book;

use crate::index::Feed;

/// Notes that an event was handled, as a source of these joins. Answers the joins concerned.
pub(crate) fn contribute(book: &mut Book, feeds: &[Feed]) -> Vec<usize> {
    for feed in feeds {
        let join = book.joins.entry(feed.join as u32).or_default();
        if !join.fired && !join.seen.contains(&feed.source) {
            join.seen.push(feed.source);
            join.seen.sort_unstable();
        }
    }
    feeds.iter().map(|feed| feed.join).collect()
}

/// Whether an event would add something to one of these joins.
pub(crate) fn is_news(book: &Book, feeds: &[Feed]) -> bool {
    feeds.iter().any(|feed| match book.joins.get(&(feed.join as u32)) {
        Some(join) => !join.fired && !join.seen.contains(&feed.source),
        None => true,
    })
}

/// Whether all sources of a join have been seen and it has not fired.
pub(crate) fn is_complete(book: &Book, join: usize, sources: usize) -> bool {
    book.joins.get(&(join as u32)).is_some_and(|join| !join.fired && join.seen.len() >= sources)
}

/// Notes that a join fires now.
pub(crate) fn fire(book: &mut Book, join: usize, every_time: bool) {
    let join = book.joins.entry(join as u32).or_default();
    if every_time {
        join.seen.clear();
    } else {
        join.fired = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Feed = Feed { join: 0, source: 0 };
    const SECOND: Feed = Feed { join: 0, source: 1 };

    #[test]
    fn mt_071_a_join_is_complete_once_per_run_unless_every_time() {
        for (every_time, again) in [(false, false), (true, true)] {
            let mut book = Book::default();
            contribute(&mut book, &[SECOND]);
            assert!(!is_complete(&book, 0, 2));
            contribute(&mut book, &[FIRST]);
            assert!(is_complete(&book, 0, 2));
            fire(&mut book, 0, every_time);
            assert!(!is_complete(&book, 0, 2));
            assert_eq!(is_news(&book, &[FIRST]), again);
            contribute(&mut book, &[FIRST]);
            contribute(&mut book, &[SECOND]);
            assert_eq!(is_complete(&book, 0, 2), again);
        }
    }

    #[test]
    fn mt_066_one_source_twice_is_still_one_source() {
        let mut book = Book::default();
        contribute(&mut book, &[FIRST]);
        contribute(&mut book, &[FIRST]);
        assert!(!is_complete(&book, 0, 2));
        assert!(is_news(&book, &[SECOND]) && !is_news(&book, &[FIRST]));
    }
}
