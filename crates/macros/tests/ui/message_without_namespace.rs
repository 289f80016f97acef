use knarr_saga::Message;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
struct Submitted {
    n: u8,
}

fn main() {}
