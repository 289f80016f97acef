//! How messages travel the engine's road, in virtual time: each test drives real nodes over the
//! memory store and a broker that fails on demand.

mod failing;
mod identity;
mod kit;
mod waiting;
