//! The admin API through a real socket: who may come in, what is shown, what is refused and how.

mod doors;
mod messages;
mod refused;
mod shown;
