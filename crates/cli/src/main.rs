//! The knarr binary.

fn main() {}
