//! REST API: see and steer.
