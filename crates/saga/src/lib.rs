//! The state-machine language: what an author writes of a saga, and how one event is decided. Pure.
//!
//! A saga is a type (the data of one instance) with a table of rows. A row says in which states
//! it applies, what it waits for, what then runs, and where it leads. Behaviours are plain
//! synchronous functions; whatever they want done they ask for in [`Effects`], and it happens
//! only once the step is committed. Calls to the world are [`Activity`]s, which run elsewhere
//! and come back as `done` or `failed` rows.
//!
//! ```
//! use knarr_saga::prelude::*;
//! use serde::{Deserialize, Serialize};
//! use uuid::Uuid;
//!
//! // What comes in, what goes out, and what is asked of the world.
//! #[derive(Serialize, Deserialize, Message)]
//! #[message(namespace = "Shop.Orders")]
//! struct SubmitOrder { correlation_id: Uuid, total: u32 }
//!
//! #[derive(Serialize, Deserialize, Message)]
//! #[message(namespace = "Shop.Orders")]
//! struct CancelOrder { correlation_id: Uuid }
//!
//! #[derive(Serialize, Deserialize, Message)]
//! #[message(namespace = "Shop.Orders")]
//! struct OrderClosed { correlation_id: Uuid, paid: bool }
//!
//! #[derive(Serialize, Deserialize, Call)]
//! #[call(output = Receipt)]
//! struct Charge { amount: u32 }
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Receipt { number: String }
//!
//! #[derive(Timer)]
//! struct Patience;
//!
//! #[derive(Clone, Copy, States)]
//! enum Step { Paying, Paid }
//!
//! // The data of one instance.
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Order { id: Uuid, receipt: Option<Receipt> }
//!
//! impl Machine for Order {
//!     type State = Step;
//!
//!     fn define(m: &mut Table<Self>) {
//!         m.initially::<SubmitOrder>()             .create(start)        .go_to(Step::Paying);
//!         m.during([Step::Paying]).done::<Charge>().then(keep_receipt)   .go_to(Step::Paid);
//!         m.during([Step::Paying]).failed::<Charge>()   .branch([Finish, Fail], give_up);
//!         m.during([Step::Paying]).after(Patience) .then(close)          .finish();
//!         m.during([Step::Paid]).after(Patience)   .then(close)          .finish();
//!         m.during_any().on::<CancelOrder>()       .then(cancelled)      .finish();
//!     }
//! }
//!
//! fn start(e: &SubmitOrder, out: &mut Effects<Order>) -> Order {
//!     out.run(Charge { amount: e.total });
//!     out.schedule(Patience, minutes(30));
//!     Order { id: e.correlation_id, receipt: None }
//! }
//!
//! fn keep_receipt(order: &mut Order, receipt: &Receipt, _: &mut Effects<Order>) {
//!     order.receipt = Some(receipt.clone());
//! }
//!
//! fn give_up(order: &mut Order, why: &Failure, out: &mut Effects<Order>) -> Target<Step> {
//!     if why.kind == FailureKind::Unknown {
//!         return fail("it is not known whether the customer paid");
//!     }
//!     close(order, out);
//!     Finish
//! }
//!
//! fn close(order: &mut Order, out: &mut Effects<Order>) {
//!     out.publish(OrderClosed { correlation_id: order.id, paid: order.receipt.is_some() });
//! }
//!
//! fn cancelled(order: &mut Order, _: &CancelOrder, out: &mut Effects<Order>) {
//!     close(order, out);
//! }
//!
//! let definition = knarr_saga::definition::<Order>();
//! assert_eq!(&**definition.name(), "order");
//! assert_eq!(definition.findings(), []);
//! ```
//!
//! # Purity
//!
//! Deciding an event twice must give the same machine and the same effects: a behaviour reads the
//! machine, the event and `Effects` (for [`Effects::now`] and [`Effects::new_id`]), and nothing
//! else: no clock, no randomness, no files, no network, no `HashMap` order. Rust's types cannot
//! enforce that; simulation decides every message twice and compares.

#[expect(unused_extern_crates, reason = "derived code names this crate by its own name")]
extern crate self as knarr_saga;

mod activity;
mod asked;
mod behaviour;
pub mod builder;
pub mod check;
mod decide;
mod defined;
pub mod definition;
mod drawing;
mod durations;
mod effects;
mod event;
mod index;
mod joins;
mod machine;
mod message;
mod payload;
pub mod prelude;
pub mod row;
mod shape;
mod sql;
mod sql_text;
mod states;
mod step;
mod table;
mod tables;

pub use activity::{Activity, erase};
pub use asked::{Asking, Sending};
pub use behaviour::{IntoCreated, IntoOutcome, IntoTarget};
pub use check::{Finding, Severity};
pub use defined::{definition, definition_with};
pub use definition::{
    BadMessage, Cause, Correlated, Decision, Definition, Event, Live, Target as InstanceTarget,
    Verdict,
};
pub use drawing::{dot, mermaid, svg};
pub use durations::{days, hours, millis, minutes, seconds};
pub use effects::Effects;
pub use event::{Call, Fact, Timer, after, done, ended, failed, on};
pub use machine::Machine;
pub use states::{States, Target, fail};
pub use table::{MissingPolicy, Table, Unhandled};

pub use knarr_macros::{Call, Message, States, Timer};
pub use knarr_model::durations::parse_duration;
pub use knarr_model::incident::{BlockBy, FailurePolicy, OnFailure};
pub use knarr_model::message::IdMember;
pub use knarr_model::ports::activity::{Activity as ErasedActivity, Attempt};
pub use knarr_model::ports::permit::Quota;
pub use knarr_model::{
    CancellationToken, Dialects, Failure, FailureKind, HeaderValue, Headers, InstanceId, Message,
    MessageId, RetryPolicy, RowId, Script, Statement, TypeName,
};
pub use {chrono, serde, serde_json, uuid};

/// What derives expand to; not for people.
#[doc(hidden)]
pub mod __private {
    pub use crate::{Call, States, Timer};
    pub use knarr_model::__private::*;
}
