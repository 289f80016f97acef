//! Our binary from outside: exit codes, what goes where, signals, and the demo.

mod demo;
mod program;
mod serving;
mod settings;
mod steering;
mod wrong;
