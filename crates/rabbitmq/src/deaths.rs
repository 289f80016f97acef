//! What the broker gave up: its own words, and whether a limit below ours made it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use knarr_model::ports::transport::Undecodable;
use knarr_model::topology::DELIVERY_LIMIT;
use knarr_model::{Class, Headers};
use tracing::warn;

/// The broker's word for a message that it delivered too often.
const LIMIT: &str = "delivery_limit";

/// What one consumer knows of the deliveries that its queue allows.
#[derive(Debug, Default)]
pub(crate) struct Deaths {
    /// The most deliveries of one message that were seen here; 0 before the second of any.
    most: AtomicU32,
    told: AtomicBool,
}

impl Deaths {
    /// Notes the broker's count of earlier deliveries of a message.
    pub(crate) fn delivered_before(&self, count: u32) {
        if count > 0 {
            self.most.fetch_max(count.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Why a message of the dead queue is set aside.
    pub(crate) fn given_up(&self, queue: &str, headers: &Headers) -> Undecodable {
        Undecodable { class: Class::DeliveryLimit, reason: self.reason(queue, headers) }
    }

    /// The first one over the limit is told in the log too.
    fn reason(&self, queue: &str, headers: &Headers) -> String {
        let why =
            headers.text("x-first-death-reason").unwrap_or_else(|| "its own limit".to_owned());
        let Some(hint) = hint(&why, self.most.load(Ordering::Relaxed)) else {
            return format!("the broker gave the message up: {why}");
        };
        if !self.told.swap(true, Ordering::Relaxed) {
            warn!(queue, "the broker gave a message up before we did: {hint}");
        }
        format!("the broker gave the message up: {why}; {hint}")
    }
}

/// Ours is never to be reached: whoever fails or kills is set aside long before. The broker does
/// not say which limit it applied, so what was seen must do.
fn hint(why: &str, most: u32) -> Option<String> {
    if why != LIMIT || most >= DELIVERY_LIMIT {
        return None;
    }
    Some(match most {
        0 => format!(
            "queues of ours allow {DELIVERY_LIMIT} deliveries; where a policy or an argument sets \
             a lower delivery-limit, raise it"
        ),
        _ => format!(
            "no message was delivered here more than {most} times and queues of ours allow \
             {DELIVERY_LIMIT}, so a policy or an argument sets a lower delivery-limit: raise it"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_up(deaths: &Deaths, why: &str) -> String {
        let mut headers = Headers::new();
        headers.set("x-first-death-reason", why);
        deaths.reason("orders", &headers)
    }

    #[test]
    fn row_035_a_limit_below_ours_is_told_with_what_was_seen() {
        let deaths = Deaths::default();
        assert!(given_up(&deaths, LIMIT).contains("where a policy"), "nothing was seen");
        deaths.delivered_before(0);
        deaths.delivered_before(2);
        deaths.delivered_before(1);
        let told = given_up(&deaths, LIMIT);
        assert!(told.contains("more than 3 times") && told.contains("1000"), "{told}");
    }

    #[test]
    fn row_035_our_own_limit_and_other_reasons_blame_no_policy() {
        let deaths = Deaths::default();
        assert!(!given_up(&deaths, "expired").contains("policy"));
        deaths.delivered_before(DELIVERY_LIMIT - 1);
        assert_eq!(given_up(&deaths, LIMIT), "the broker gave the message up: delivery_limit");
    }
}
