use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};

struct NoMessage;

struct NoCall;

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
        m.during([Step::Open]).on::<NoMessage>().finish();
        m.during([Step::Open]).done::<NoCall>().finish();
        m.during([Step::Open]).on::<Go>().then(|_, _, _| 5).finish();
        m.during([Step::Open]).on::<Go>().branch([Finish], |_, _, _| "Finish");
        m.initially::<Go>().create(|_, _| ()).go_to(Step::Open);
    }
}

fn main() {}
