use knarr_saga::Call;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Call)]
struct Fetch;

fn main() {}
