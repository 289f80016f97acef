//! What a request asked for: the key of one request is no repetition of another.

use knarr_model::Name;
use knarr_model::incident::Audit;
use knarr_model::ports::guard::Refusal;
use uuid::Uuid;

use crate::order::Order;

/// A verb and what it is for, as the audit tells it.
pub(crate) struct Called {
    verb: &'static str,
    target: Option<String>,
}

impl Called {
    /// On one named thing.
    pub(crate) fn on(verb: &'static str, target: impl Into<String>) -> Called {
        Called { verb, target: Some(target.into()) }
    }

    /// On whatever there is.
    pub(crate) fn any(verb: &'static str) -> Called {
        Called { verb, target: None }
    }

    /// On set-aside messages; of several the audit tells only how many.
    pub(crate) fn rows(verb: &'static str, ids: &[Uuid]) -> Called {
        match ids {
            [id] => Called::on(verb, format!("quarantine {id}")),
            _ => Called::any(verb),
        }
    }

    /// Whether a line of the audit that bears the same key is of this very request.
    pub(crate) fn is_the_same(
        &self,
        endpoint: &Name,
        order: &Order,
        audit: &Audit,
    ) -> Result<(), Refusal> {
        let same = audit.verb == self.verb
            && audit.who == order.who
            && audit.endpoint == *endpoint
            && self.target.as_ref().is_none_or(|target| *target == audit.target);
        if same {
            return Ok(());
        }
        Err(Refusal::Invalid(format!(
            "its key was used before, by {} for `{} {}`: take a new key for a new request",
            audit.who, audit.verb, audit.target
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Moment;

    #[test]
    fn guard_a_key_is_of_one_request_only() {
        let at = Moment::for_test("anna");
        let audit = at.line("halt", "scan", &"scan".into(), Vec::new());
        let same = |called: &Called, endpoint: &str, who: &str| {
            called.is_the_same(&endpoint.into(), &Order::by(who), &audit)
        };
        assert_eq!(same(&Called::on("halt", "scan"), "scan", "anna"), Ok(()));
        assert_eq!(same(&Called::any("halt"), "scan", "anna"), Ok(()));
        for (called, endpoint, who) in [
            (Called::on("resume", "scan"), "scan", "anna"),
            (Called::on("halt", "other"), "scan", "anna"),
            (Called::on("halt", "scan"), "other", "anna"),
            (Called::on("halt", "scan"), "scan", "otto"),
        ] {
            let refused = same(&called, endpoint, who).expect_err("another request");
            assert!(refused.to_string().contains("by anna for `halt scan`"), "{refused}");
        }
    }
}
