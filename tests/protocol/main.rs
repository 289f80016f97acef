//! Checks the guard's protocol within its widest bounds and prints what was gone through.
#![expect(clippy::print_stdout, reason = "it is there to be read")]

use knarr_protocol::{Bounds, Protocol, bounds, check};

fn main() {
    println!("{:<44} {:>12} {:>12} {:>6} {:>9}", "bounds", "states", "unique", "depth", "seconds");
    let two_places = ("verbs from two places, one history", bounds::two_places(4));
    let all: Vec<(&str, Bounds)> = bounds::wide().into_iter().chain([two_places]).collect();
    for (name, bounds) in all {
        let counts = check(Protocol::sound(bounds), 2);
        println!(
            "{name:<44} {:>12} {:>12} {:>6} {:>9.1}",
            counts.states,
            counts.unique,
            counts.depth,
            counts.took.as_secs_f64()
        );
    }
}
