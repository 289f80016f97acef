//! How a request says who asks; its secret is in no log and no error.

use crate::secret::Secret;

/// Who asks.
#[derive(Clone, Debug)]
pub enum Auth {
    /// A key in a header, such as `x-apikey`.
    Header {
        /// The header's name.
        name: String,
        /// The key.
        key: Secret,
    },
    /// A key in the query, such as `?key=`. Prefer a header: queries end in logs of others.
    Query {
        /// The parameter's name.
        name: String,
        /// The key.
        key: Secret,
    },
    /// `Authorization: Bearer …`.
    Bearer(Secret),
}

impl Auth {
    /// A key in a header.
    pub fn header(name: impl Into<String>, key: Secret) -> Self {
        Auth::Header { name: name.into(), key }
    }

    /// A key in the query.
    pub fn query(name: impl Into<String>, key: Secret) -> Self {
        Auth::Query { name: name.into(), key }
    }

    /// A bearer token.
    pub fn bearer(token: Secret) -> Self {
        Auth::Bearer(token)
    }

    pub(crate) fn secret(&self) -> &Secret {
        match self {
            Auth::Header { key, .. } | Auth::Query { key, .. } | Auth::Bearer(key) => key,
        }
    }
}
