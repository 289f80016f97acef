//! The team's own binary: every verb, its own saga.

use word_shop::{Counter, WordCount};

fn main() -> std::process::ExitCode {
    let app = knarr::App::new("word-shop").saga::<WordCount>().activity(Counter { between: ' ' });
    knarr::main(app)
}
