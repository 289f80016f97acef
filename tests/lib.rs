//! What the tests of the whole house share: reading our own sources, and the answers to the scenarios.

pub mod rules;
pub mod scenarios;
pub mod source;
