//! Stories: one saga told in given, when and then, in virtual time, on the real engine.
//!
//! A story runs the engine that production runs, over the memory store and a queue in memory.
//! Nothing sleeps: `advance` lets virtual time pass, and calls wait until the story answers them.
//! What the story must not say is checked all the same: every event is decided twice (behaviours
//! must be pure), a timer or call made in a row that finishes is an error, and so is a message
//! that was set aside unseen.
//!
//! ```
//! use knarr_saga::prelude::*;
//! use knarr_testkit::story::Story;
//! use serde::{Deserialize, Serialize};
//! use uuid::Uuid;
//!
//! #[derive(Serialize, Deserialize, Message)]
//! #[message(namespace = "Shop")]
//! struct Submit { correlation_id: Uuid }
//! #[derive(Serialize, Deserialize, Message)]
//! #[message(namespace = "Shop")]
//! struct Paid { correlation_id: Uuid, receipt: String }
//! #[derive(Serialize, Deserialize, Call)]
//! #[call(output = String)]
//! struct Charge { amount: u32 }
//! #[derive(Timer)]
//! struct Patience;
//! #[derive(Clone, Copy, States)]
//! enum Step { Paying }
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Order { id: Uuid }
//!
//! impl Machine for Order {
//!     type State = Step;
//!     fn define(m: &mut Table<Self>) {
//!         m.initially::<Submit>().create(start).go_to(Step::Paying);
//!         m.during([Step::Paying]).done::<Charge>().then(paid).finish();
//!         m.during([Step::Paying]).failed::<Charge>().finish();
//!         m.during([Step::Paying]).after(Patience).finish();
//!     }
//! }
//! fn start(e: &Submit, out: &mut Effects<Order>) -> Order {
//!     out.run(Charge { amount: 7 });
//!     out.schedule(Patience, minutes(30));
//!     Order { id: e.correlation_id }
//! }
//! fn paid(order: &mut Order, receipt: &String, out: &mut Effects<Order>) {
//!     out.publish(Paid { correlation_id: order.id, receipt: receipt.clone() });
//! }
//!
//! let id = Uuid::from_u128(1);
//! Story::of(knarr_saga::definition::<Order>())
//!     .given(Submit { correlation_id: id })
//!     .then_asked::<Charge>(|call| call.amount == 7)
//!     .answer::<Charge>(Ok("R-1".to_owned()))
//!     .then_published::<Paid>(|paid| paid.receipt == "R-1")
//!     .then_finished()
//!     .run();
//! ```

mod board;
mod door;
mod spawn;
mod stage;
mod tell;
mod trace;
mod watched;
mod words;

pub use tell::{Story, Told};

pub use knarr_model::Class;

#[cfg(test)]
mod tests;
