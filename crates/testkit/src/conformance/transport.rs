//! The suite that every transport has to pass: what the engine relies on at the broker's door.

pub mod intake;
mod parts;
pub mod routing;
pub mod settling;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use knarr_model::ports::Transport;
use knarr_model::topology::QueueKind;

/// A case that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(120);

/// A broker on which nothing was declared yet.
pub struct Broker {
    /// What a process holds.
    pub transport: Arc<dyn Transport>,
    /// What another process holds at the same broker; the same, where a broker has one process.
    pub other: Arc<dyn Transport>,
    /// The kind of queue that endpoints ask for.
    pub queue: QueueKind,
    /// Kept until the case has ended.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// Makes fresh brokers for the suite.
#[async_trait]
pub trait TransportUnderTest: Send + Sync {
    /// A broker of the case's own.
    async fn fresh(&self) -> Broker;
}

/// Runs `case` on a fresh broker of `factory`, on several threads.
///
/// # Panics
/// When the transport does not do what the case says, or the case takes longer than two minutes.
pub fn run_transport_case<F, C, R>(factory: F, case: C)
where
    F: TransportUnderTest,
    C: FnOnce(Arc<Broker>) -> R,
    R: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let broker = Arc::new(factory.fresh().await);
        let ended = tokio::time::timeout(LONGEST, case(broker.clone())).await;
        assert!(ended.is_ok(), "the case did not end within {LONGEST:?}");
        broker.transport.close().await;
        broker.other.close().await;
    });
    // A thread that hangs in a driver must not keep the test from ending.
    runtime.shutdown_timeout(Duration::from_secs(2));
}

/// Expands to one test per case of the transport suite.
///
/// ```text
/// struct Fresh;
/// #[async_trait]
/// impl TransportUnderTest for Fresh { async fn fresh(&self) -> Broker { … } }
/// knarr_testkit::transport_conformance!(Fresh);
/// ```
///
/// The argument is an expression; it is evaluated once per case.
#[macro_export]
macro_rules! transport_conformance {
    ($factory:expr) => {
        $crate::for_each_transport_case!(transport_conformance_case, $factory);
    };
}

/// One test; used by `transport_conformance!`.
#[doc(hidden)]
#[macro_export]
macro_rules! transport_conformance_case {
    ($factory:expr; $($module:ident { $($case:ident)* })*) => {
        $(
            mod $module {
                use super::*;
                $(
                    #[test]
                    fn $case() {
                        $crate::conformance::transport::run_transport_case(
                            $factory,
                            $crate::conformance::transport::$module::$case,
                        );
                    }
                )*
            }
        )*
    };
}

/// Hands the whole list to the macro `$then`, preceded by the tokens given.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_transport_case {
    ($then:ident, $($tokens:tt)*) => {
        $crate::$then! { $($tokens)*;
            routing {
                pe_001_a_publish_reaches_every_endpoint_byte_for_byte
                pe_002_headers_keep_any_character
                pe_003_headers_keep_their_amqp_types
                a_subscriber_of_a_base_type_is_reached_once
                pe_047_an_unbound_publish_is_confirmed_and_makes_no_queue
                a_send_reaches_its_queue_and_no_other
                row_027_exactly_the_messages_without_a_queue_are_returned
                an_answer_to_nobody_is_returned_and_harms_no_neighbour
                pe_051_messages_of_any_size_keep_their_order
                calls_side_by_side_keep_the_order_they_began_in
                pe_039_what_has_expired_is_not_published
                what_can_never_go_is_impossible_and_the_rest_goes
                an_empty_call_answers_nothing
                an_address_names_the_endpoint
            }
            intake {
                pe_010_messages_wait_until_somebody_consumes
                a_call_takes_what_is_ready_up_to_its_maximum
                the_prefetch_bounds_what_is_in_hand
                a_dropped_call_loses_nothing
                two_consumers_share_a_queue
                a_large_body_comes_whole
                a_body_above_the_limit_comes_as_its_head_size_and_digest
                an_unreadable_body_comes_with_an_identity
                a_reserved_type_is_not_readable
                declaring_twice_changes_nothing
                depth_counts_what_waits_and_who_consumes
            }
            settling {
                an_acked_delivery_is_gone
                a_returned_delivery_comes_again
                pe_023_a_stop_returns_everything_in_hand_and_in_the_buffer
                pe_023_stopping_again_and_again_loses_nothing
                pe_018_stop_and_start_at_once_keep_order
                pe_030_a_receipt_of_a_stopped_consumer_settles_nothing
                a_receipt_settles_once
                a_consumer_dropped_without_a_stop_gives_everything_back
                pe_031_acks_settle_one_by_one
            }
        }
    };
}
