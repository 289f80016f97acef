//! Transport over RabbitMQ.
