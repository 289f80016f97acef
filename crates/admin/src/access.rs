//! Who may come in, and who may do what: first the token's name and role, then the route's.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
use crate::settings::Settings;
use crate::tokens::{Caller, Role};

/// Lets a request pass that bears a token, and notes whose it is.
pub(crate) async fn authenticate(
    State(settings): State<Arc<Settings>>,
    mut request: Request,
    next: Next,
) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(bearer);
    let Some(token) = given else {
        return Problem::no_token(
            "Send it as `Authorization: Bearer <token>`. It is the value of KNARR_ADMIN_TOKEN at \
             the server, or stands in the file admin-token of its data directory, or is one whose \
             hash stands in the file KNARR_TOKENS.",
        )
        .into_response();
    };
    match settings.tokens.whose(token).cloned() {
        Some(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        None => Problem::no_token(
            "The token is none of the server's. It is the value of KNARR_ADMIN_TOKEN there, or \
             stands in the file admin-token of its data directory, or is one whose hash stands in \
             the file KNARR_TOKENS.",
        )
        .into_response(),
    }
}

/// Lets a request pass whose caller has the role that the route wants.
pub(crate) async fn authorize(
    State(wanted): State<Role>,
    request: Request,
    next: Next,
) -> Response {
    match caller(&request).and_then(|caller| allowed(caller, wanted)) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Whether a role is large enough.
pub(crate) fn allowed(caller: &Caller, wanted: Role) -> Result<(), Problem> {
    if caller.role >= wanted {
        return Ok(());
    }
    Err(Problem::too_small(format!(
        "The token `{}` has the role {}; this wants {wanted}. Use a token of that role, or let \
         somebody do it who has one.",
        caller.name, caller.role
    )))
}

fn caller(request: &Request) -> Result<&Caller, Problem> {
    let nobody = || Problem::no_token("Send it as `Authorization: Bearer <token>`.");
    request.extensions().get::<Caller>().ok_or_else(nobody)
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
