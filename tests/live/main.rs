//! Our binary on a real RabbitMQ and a real Postgres, spoken to from outside as others would.

mod bad_input;
mod binary;
mod drain;
mod kills;
mod peer;
mod program;
mod replicas;
mod script;
mod serving;
mod starts;
mod stored;
mod verdicts;
mod wire;
mod world;
