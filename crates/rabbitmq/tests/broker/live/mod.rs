//! A broker of the test's own: killed, stopped, frozen, blocked, and spoken to over TLS.

mod churn;
mod limits;
mod pressure;
mod refusals;
mod restarts;
mod stuck;
mod tls;
