//! Our binary on a real RabbitMQ and a real Postgres, spoken to from outside as others would.

#![expect(clippy::print_stdout, reason = "what a live test saw stands beside its result")]

mod aborted;
mod bad_input;
mod binary;
mod crashes;
mod doors;
mod dotnet;
mod drain;
mod failover;
mod kills;
mod large;
mod moments;
mod mortal;
mod notices;
mod octets;
mod odd_input;
mod operators;
mod outages;
mod peer;
mod program;
mod replicas;
mod requester;
mod restored;
mod scans;
mod schemas;
mod script;
mod secrets;
mod serving;
mod stalls;
mod starts;
mod stored;
mod storms;
mod traces;
mod verdicts;
mod wire;
mod world;
