//! What only RabbitMQ does: its topology, its refusals, and its outages.

mod confirming;
mod fake;
mod live;
mod parts;
mod publishing;
mod topology;
