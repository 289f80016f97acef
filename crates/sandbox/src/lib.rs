//! Stand-ins for outside services over HTTP.
