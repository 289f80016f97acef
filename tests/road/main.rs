//! How messages travel the engine's road, in virtual time: each test drives real nodes over the
//! memory store and a broker that fails on demand.

mod bounds;
mod calls;
mod crashes;
mod failing;
mod faults;
mod foreign;
mod guard;
mod identity;
mod keys;
mod kit;
mod lanes;
mod losses;
mod nodes;
mod ordered;
mod outbox;
mod outgoing;
mod peers;
mod purges;
mod races;
mod recover;
mod restored;
mod retention;
mod rows;
mod spans;
mod stops;
mod timers;
mod unclaimed;
mod waiting;
