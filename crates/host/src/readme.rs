//! The README's examples, compiled and run like every other example in the documentation.

#[doc = include_str!("../../../README.md")]
pub struct Readme;
