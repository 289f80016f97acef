use knarr_saga::States;

#[derive(Clone, Copy, States)]
enum Reserved {
    Open,
    Final,
}

#[derive(Clone, Copy, States)]
enum Tombstone {
    Purged,
}

#[derive(Clone, Copy, States)]
enum WithFields {
    Open { since: u64 },
}

#[derive(Clone, Copy, States)]
struct NoEnum;

#[derive(Clone, Copy, States)]
enum Empty {}

fn main() {}
