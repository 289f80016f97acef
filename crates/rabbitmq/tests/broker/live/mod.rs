//! A broker of the test's own: killed, stopped, frozen, blocked, and spoken to over TLS.

mod pressure;
mod refusals;
mod restarts;
mod tls;
