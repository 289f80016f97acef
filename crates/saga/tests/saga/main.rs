//! What the saga language promises, decided event by event without an engine.

mod activities;
mod basics;
mod branches;
mod correlation;
mod drawing;
mod errors;
mod findings;
mod finishing;
mod kit;
mod late;
mod repeatable;
mod tables;
mod timers;
mod together;
