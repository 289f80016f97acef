//! A request as it is handed from the one who writes it to the one who sends it.

use reqwest::Method;
use reqwest::header::HeaderMap;
use url::Url;

use crate::secret::Secret;

/// Everything that is sent.
pub(crate) struct Draft {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether sending it twice does no harm.
    pub(crate) repeatable: bool,
    pub(crate) secrets: Vec<Secret>,
}
