//! `GET /api/v1/whoami`: whose token it is and what it may do, for front ends with pages of their own.

use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use crate::access::allowed;
use crate::paging::{Asked, query};
use crate::problem::Problem;
use crate::tokens::{Caller, Role};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    role: Option<String>,
}

/// Who it is.
#[derive(Debug, Serialize)]
pub(crate) struct Known {
    #[serde(flatten)]
    caller: Caller,
    /// Every role that the token has.
    roles: Vec<Role>,
}

pub(crate) async fn show(
    Extension(caller): Extension<Caller>,
    asked: Asked<Wanted>,
) -> Result<Json<Known>, Problem> {
    let Wanted { role } = query(asked)?;
    if let Some(text) = role {
        let wanted: Role = text
            .parse()
            .map_err(|why| Problem::bad_request(format!("{why}: name one of them.")))?;
        allowed(&caller, wanted)?;
    }
    let roles = Role::ALL.into_iter().filter(|role| *role <= caller.role).collect();
    Ok(Json(Known { caller, roles }))
}
