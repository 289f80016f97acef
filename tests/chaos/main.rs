//! Our binary while processes, connections and servers fail at chosen and at random moments.

#![expect(clippy::print_stdout, reason = "what a test saw stands beside its result")]

mod failpoints;
mod feed;
mod frozen;
mod history;
#[expect(dead_code, reason = "the live tests need more of their kit than these")]
mod kit;
mod lives;
mod partitions;
mod released;
mod replicas;
mod storm;

use kit::{binary, moments, program, serving, stored, wire, world};
