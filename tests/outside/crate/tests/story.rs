//! The saga in given, when and then.

use knarr::uuid::Uuid;
use word_shop::{CountThis, CountWords, Counted, WordCount};

#[test]
fn a_text_is_counted_and_the_count_is_told() {
    let id = Uuid::from_u128(1);
    knarr::Story::of(knarr::definition::<WordCount>())
        .given(CountThis { correlation_id: id, text: "one two".to_owned() })
        .then_asked::<CountWords>(|call| call.text == "one two")
        .answer::<CountWords>(Ok(2))
        .then_published::<Counted>(move |it| it.words == 2 && it.correlation_id == id)
        .then_finished()
        .run();
}
