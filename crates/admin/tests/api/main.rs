//! The admin API through a real socket: who may come in, what is shown, what is refused and how.

mod described;
mod desk;
mod doors;
mod edits;
mod ids;
mod incidents;
mod messages;
mod misuse;
mod orders;
mod refused;
mod released;
mod roles;
mod scans;
mod shown;
