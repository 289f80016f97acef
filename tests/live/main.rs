//! Our binary on a real RabbitMQ and a real Postgres, spoken to from outside as others would.

#![expect(clippy::print_stdout, reason = "what a live test saw stands beside its result")]

mod aborted;
mod bad_input;
mod binary;
mod crashes;
mod doors;
mod dotnet;
mod drain;
mod kills;
mod moments;
mod mortal;
mod notices;
mod operators;
mod outages;
mod peer;
mod program;
mod replicas;
mod requester;
mod script;
mod serving;
mod starts;
mod stored;
mod traces;
mod verdicts;
mod wire;
mod world;
