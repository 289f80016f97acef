use knarr_saga::Timer;

#[derive(Timer)]
struct Deadline {
    minutes: u64,
}

fn main() {}
