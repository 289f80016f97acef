//! The list of the guard's cases, and the macro by which an adapter runs them.

/// Expands to one test per case of the guard's suite.
///
/// ```text
/// struct Fresh;
/// #[async_trait]
/// impl GuardUnderTest for Fresh { async fn fresh(&self) -> Guards { … } }
/// mod guard {
///     use super::*;
///     knarr_testkit::guard_conformance!(Fresh);
/// }
/// ```
///
/// The argument is an expression; it is evaluated once per case.
#[macro_export]
macro_rules! guard_conformance {
    ($factory:expr) => {
        $crate::for_each_guard_case!(guard_conformance_case, $factory);
    };
}

/// One test; used by `guard_conformance!`.
#[doc(hidden)]
#[macro_export]
macro_rules! guard_conformance_case {
    ($factory:expr; $($module:ident { $($case:ident)* })*) => {
        $(
            mod $module {
                use super::*;
                $(
                    #[test]
                    fn $case() {
                        $crate::conformance::run_guard_case(
                            $factory,
                            $crate::conformance::guard::$module::$case,
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
macro_rules! for_each_guard_case {
    ($then:ident, $($tokens:tt)*) => {
        $crate::$then! { $($tokens)*;
            blocks {
                s0_14_a_changed_block_set_turns_back_what_was_decided_before
                guard_blocks_are_replaced_and_lifted_by_their_message
                guard_set_aside_messages_are_replaced_by_id
                guard_a_message_set_aside_again_keeps_its_id
                guard_a_block_is_outlived_when_its_released_run_has_finished
            }
            counts {
                guard_messages_of_a_class_gather_in_one_open_incident
                guard_a_plan_joins_the_incident_that_gathers
                guard_pe_277_counts_added_at_once_are_all_there
            }
            dry {
                guard_a_dry_run_changes_nothing
                guard_a_refusal_changes_nothing
            }
            halts {
                s0_12_a_halt_fences_a_commit_decided_before_it
                row_085_after_a_halt_nothing_commits_at_the_old_epoch
                guard_a_stop_that_holds_back_what_waits_gives_out_no_rows
                guard_a_verb_about_an_unknown_endpoint_makes_its_row
                guard_a_verb_wakes_a_node_that_waits
            }
            incidents {
                guard_an_incident_is_read_back_whole_and_replaced_by_id
                guard_incidents_are_listed_newest_first_and_filtered
                guard_a_scene_shows_the_oldest_incident_that_stops_the_endpoint
            }
            order {
                row_088_verbs_at_once_end_in_one_linear_audit
                guard_two_verbs_at_once_are_one_after_the_other
                guard_a_repeated_key_is_shown
            }
            purges {
                s0_13_a_scene_shows_the_whole_run
                s0_13_a_purge_moves_the_run_into_the_snapshot
                s0_13_rows_of_an_emptied_run_cannot_be_claimed
                row_090_unsent_messages_of_the_run_alone_are_withdrawn
                row_089_a_late_commit_after_a_purge_changes_nothing
                row_089_a_loader_finds_the_run_or_its_tombstone
                row_091_a_purge_among_commits_leaves_nothing_behind
                s0_18_an_answer_at_the_moment_of_a_purge_is_kept_or_refused
                s0_16_calls_whose_rows_are_gone_or_anothers_are_lost
                guard_an_internal_delivery_is_owned_by_the_node_that_claimed_it
            }
            restores {
                guard_a_restored_run_is_byte_for_byte_what_it_was
                guard_restored_rows_are_claimed_by_nobody
                guard_what_was_parked_meanwhile_is_restored_along
                guard_a_restore_meets_a_key_that_was_taken_meanwhile
            }
            rows {
                s0_17_a_message_becomes_a_delivery_once
                guard_messages_that_leave_are_a_chunk_of_the_asking_node
                guard_a_wake_makes_held_messages_due
                guard_what_waits_behind_an_ended_delivery_is_due
            }
            steps {
                s0_13_purge_steps_run_in_order_and_count_their_rows
                row_013_a_failing_step_undoes_everything
                guard_a_dry_run_carries_no_step_out
            }
        }
    };
}

/// Every case of the guard's suite: its module and its name.
pub const GUARD_CASES: &[(&str, &str)] = crate::for_each_guard_case!(store_case_names,);
