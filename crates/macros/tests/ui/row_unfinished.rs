#![deny(unused_must_use)]

use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Shop")]
struct Go {
    correlation_id: uuid::Uuid,
}

#[derive(Clone, Copy, States)]
enum Step {
    Open,
}

#[derive(Clone, Serialize, Deserialize)]
struct Order;

impl Machine for Order {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.initially::<Go>();
        m.during([Step::Open]);
        m.during([Step::Open]).on::<Go>();
    }
}

fn main() {}
