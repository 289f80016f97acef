//! Requests against small servers that misbehave, each in its own way.

mod answers;
mod bounds;
mod cancel;
mod names;
mod secrets;
mod server;
mod tls;
mod traces;
