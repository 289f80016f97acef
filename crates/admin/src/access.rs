//! Who may come in: everything under `/api` wants the bearer token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
use crate::settings::Settings;

/// Lets a request pass that bears the token.
pub(crate) async fn guard(
    State(settings): State<Arc<Settings>>,
    request: Request,
    next: Next,
) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(bearer);
    match given {
        Some(token) if settings.token.is(token) => next.run(request).await,
        Some(_) => Problem::no_token(
            "The token is not the server's. It is the value of KNARR_ADMIN_TOKEN there, or stands \
             in the file admin-token of its data directory.",
        )
        .into_response(),
        None => Problem::no_token(
            "Send it as `Authorization: Bearer <token>`. It is the value of KNARR_ADMIN_TOKEN at \
             the server, or stands in the file admin-token of its data directory.",
        )
        .into_response(),
    }
}

/// The scheme is compared in any case (RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn the_scheme_may_be_written_in_any_case() {
        for value in ["Bearer abc", "bearer abc", "BEARER   abc "] {
            assert_eq!(bearer(value), Some("abc"), "{value}");
        }
        for value in ["", "abc", "Basic abc", "Bearerabc"] {
            assert_eq!(bearer(value), None, "{value}");
        }
    }
}
