//! A saga of a team's own: counts the words of a text with an activity that has its own client.

use knarr::prelude::*;
use knarr::serde::{Deserialize, Serialize};
use knarr::uuid::Uuid;

/// Asks for a count.
#[derive(Serialize, Deserialize, Message)]
#[serde(crate = "knarr::serde")]
#[message(namespace = "WordShop")]
pub struct CountThis {
    /// The count.
    pub correlation_id: Uuid,
    /// What to count in.
    pub text: String,
}

/// A count is done.
#[derive(Serialize, Deserialize, Message)]
#[serde(crate = "knarr::serde")]
#[message(namespace = "WordShop")]
pub struct Counted {
    /// The count.
    pub correlation_id: Uuid,
    /// How many words.
    pub words: usize,
}

/// What is asked of the counter.
#[derive(Serialize, Deserialize, Call)]
#[serde(crate = "knarr::serde")]
#[call(output = usize)]
pub struct CountWords {
    /// What to count in.
    pub text: String,
}

/// The states of a count.
#[derive(Clone, Copy, States)]
pub enum Step {
    /// The counter is asked.
    Counting,
}

/// One count.
#[derive(Clone, Serialize, Deserialize)]
#[serde(crate = "knarr::serde")]
pub struct WordCount {
    id: Uuid,
}

impl Machine for WordCount {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.initially::<CountThis>().create(start).go_to(Step::Counting);
        m.during([Step::Counting]).done::<CountWords>().then(tell).finish();
        m.during([Step::Counting]).failed::<CountWords>().finish();
    }
}

fn start(e: &CountThis, out: &mut Effects<WordCount>) -> WordCount {
    out.run(CountWords { text: e.text.clone() });
    WordCount { id: e.correlation_id }
}

fn tell(count: &mut WordCount, words: &usize, out: &mut Effects<WordCount>) {
    out.publish(Counted { correlation_id: count.id, words: *words });
}

/// A client of its own, with whatever it needs inside.
pub struct Counter {
    /// What parts words.
    pub between: char,
}

impl Activity<CountWords> for Counter {
    async fn run(&self, call: &CountWords, _: &Attempt) -> Result<usize, Failure> {
        match call.text.split(self.between).filter(|word| !word.is_empty()).count() {
            0 => Err(Failure::permanent("empty", "there is no word to count")),
            words => Ok(words),
        }
    }
}
