//! The engine in this process, on a real RabbitMQ and a real Postgres: what a halt does to what is in hand.

mod gate;
mod in_flight;
mod nodes;
mod trigger;
