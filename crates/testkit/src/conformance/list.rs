//! The list of all cases, and the macro by which an adapter runs them.

/// Expands to one test per case of the store suite.
///
/// ```text
/// struct Fresh;
/// #[async_trait]
/// impl StoreUnderTest for Fresh { async fn fresh(&self) -> Stores { … } }
/// knarr_testkit::store_conformance!(Fresh);
/// ```
///
/// The argument is an expression; it is evaluated once per case.
#[macro_export]
macro_rules! store_conformance {
    ($factory:expr) => {
        $crate::for_each_store_case!(store_conformance_case, $factory);
    };
}

/// One test; used by `store_conformance!`.
#[doc(hidden)]
#[macro_export]
macro_rules! store_conformance_case {
    ($factory:expr; $($module:ident { $($case:ident)* })*) => {
        $(
            mod $module {
                use super::*;
                $(
                    #[test]
                    fn $case() {
                        $crate::conformance::run_store_case(
                            $factory,
                            $crate::conformance::store::$module::$case,
                        );
                    }
                )*
            }
        )*
    };
}

/// The list as pairs of module and case; used by `STORE_CASES`.
#[doc(hidden)]
#[macro_export]
macro_rules! store_case_names {
    (; $($module:ident { $($case:ident)* })*) => {
        &[$($((stringify!($module), stringify!($case)),)*)*]
    };
}

/// Hands the whole list to the macro `$then`, preceded by the tokens given.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_store_case {
    ($then:ident, $($tokens:tt)*) => {
        $crate::$then! { $($tokens)*;
            calls {
                pe_262_only_calls_of_known_types_are_claimed
                an_attempt_that_only_waits_is_not_counted
                pe_155_the_next_attempt_comes_at_its_time
                an_attempt_that_ended_with_its_nodes_lease_is_not_counted
                an_attempt_given_back_is_not_counted
                a_call_claimed_without_knowing_comes_again
                an_ended_call_stays_with_its_node_and_keeps_its_end
                an_end_that_waits_again_keeps_its_row
                a_call_that_still_runs_cannot_be_taken
                late_outcomes_are_refused_each_in_its_place
                an_end_may_be_recorded_again_after_a_lost_answer
                a_halt_does_not_throw_a_known_answer_away
            }
            claims {
                a_commit_decided_under_an_earlier_claim_writes_nothing
            }
            commits {
                pe_110_large_and_then_small_data_come_back_whole
                pe_109_an_instance_is_found_by_id_and_by_each_key
                the_version_rises_by_one_per_commit
                a_stale_version_is_lost_alone
                an_insert_above_version_one_is_swept_and_nothing_is_written
                a_slice_without_an_instance_leaves_it_as_it_is
                pe_111_a_known_message_rolls_the_commit_back
                pe_087_one_id_in_two_sagas_is_two_messages
                what_a_slice_makes_and_removes_never_existed
                an_origin_lives_as_long_as_its_run
                pe_119_a_run_may_end_in_its_first_step
                refused_data_is_an_error_of_the_data_and_writes_nothing
                pe_123_a_nil_id_is_an_id
                mt_215_a_change_deep_inside_the_data_is_kept_with_the_rest
            }
            crashes {
                nobody_is_suspected_where_nobody_died
                row_018_what_a_dead_node_intended_is_suspected_once
                row_018_only_a_death_alone_counts_as_one
                row_018_a_node_that_leaves_has_not_died
                row_018_what_has_an_outcome_is_not_suspected
                row_018_a_suspect_with_an_outcome_is_forgotten_though_nobody_said_so
                row_018_what_came_through_is_suspected_no_more
                row_018_another_nodes_intent_makes_a_suspect_before_anybody_is_dead
                row_018_a_lane_has_one_intent
                row_018_an_intent_that_comes_late_blames_nobody
                row_018_a_death_is_buried_once_and_every_endpoint_is_watched
                row_018_an_endpoint_is_watched_as_long_as_it_has_suspects
                a_node_without_a_live_lease_buries_nobody
                live_nodes_hear_each_others_records
                attempts_are_given_back_where_some_were_used
            }
            exact {
                everything_is_read_back_byte_exact
            }
            fences {
                an_endpoint_is_made_once
                a_late_commit_after_a_halt_is_fenced
                a_commit_without_instances_is_fenced_too
                a_halt_is_of_one_endpoint_and_each_raises_the_epoch
                paused_and_probing_endpoints_commit
                another_block_set_is_told_and_nothing_is_written
                after_halt_returned_nothing_commits_at_the_old_epoch
                halts_and_resumes_at_once_end_in_one_history
                a_late_commit_after_a_purge_is_lost
            }
            finished {
                the_sweep_takes_old_finished_instances_and_nothing_else
                the_keys_of_swept_instances_can_be_taken_again
                the_sweep_of_instances_goes_in_bounded_steps
            }
            holders {
                pe_259_an_endpoint_is_held_by_one_live_node
                pe_259_of_two_that_ask_at_once_one_gets_it
                pe_259_a_survivor_takes_an_endpoint_over
                pe_265_only_the_holder_commits_to_an_ordered_endpoint
                pe_265_nothing_of_the_last_holder_commits_after_a_take_over
            }
            keys {
                a_key_is_taken_freed_and_taken_at_the_next_generation
                a_taken_key_names_the_message_and_whether_it_starts_a_run
                pe_114_two_slices_of_one_batch_take_one_key
                pe_115_a_key_belongs_to_its_saga_and_name
                pe_121_a_changed_key_follows_in_the_same_commit
                pe_122_equal_keys_are_byte_equal
                an_owner_may_take_its_key_again
                a_key_taken_and_freed_in_one_slice_stays_as_free
                a_lost_slice_takes_no_key
            }
            losses {
                row_018_a_call_that_is_lost_with_its_node_has_one_loss_more
                row_018_a_node_that_dies_without_running_a_call_acquits_it
                row_018_a_recorded_attempt_leaves_no_losses
                row_018_losses_stay_where_nobody_died_and_nothing_was_recorded
                row_018_a_call_that_is_put_off_comes_later_and_keeps_its_losses
                row_018_who_is_late_neither_runs_a_call_nor_puts_it_off
            }
            nodes {
                pe_249_a_node_that_leaves_gives_everything_back_at_once
                pe_250_a_past_lease_cannot_be_renewed
                pe_251_a_dead_nodes_rows_are_taken_over_after_its_lease
                pe_251_a_renewed_lease_goes_on
                what_nobody_took_over_is_still_the_nodes_own
                a_node_without_a_live_lease_claims_nothing
                pe_253_a_newcomer_keeps_its_rows
                pe_254_take_over_goes_in_bounded_rounds
                a_node_gives_back_the_rows_of_one_endpoint
                joining_twice_is_joining_once
            }
            outbox {
                a_chunk_holds_what_the_kept_slices_send
                chunks_keep_within_their_bounds
                a_commit_that_sends_nothing_makes_no_chunk
                pe_086_a_finished_chunk_is_gone_and_a_duplicate_sends_nothing
                finished_chunks_go_with_the_next_commit
                mt_235_a_node_finds_its_own_chunks_that_it_does_not_know
                pe_094_chunks_of_a_live_node_are_left_alone
                pe_089_a_successor_sends_exactly_the_same
                two_nodes_never_take_over_the_same_chunk
                pe_091_a_message_that_cannot_go_is_set_aside_once
                a_chunk_that_is_gone_stays_gone
            }
            parked {
                a_parked_message_is_known_until_its_outcome_is_final
                a_message_is_parked_once
                a_load_tells_behind_what_later_messages_wait
                the_rows_of_an_instance_come_together_in_order
                a_held_message_does_not_overtake_its_head
                when_its_head_is_gone_a_held_message_is_due
                a_head_that_fails_again_waits_in_its_own_row
                what_the_guard_holds_is_not_due
                a_small_bite_keeps_the_order
                missing_and_deferred_messages_block_nobody
                a_change_of_state_wakes_deferred_messages
                a_message_whose_instance_becomes_known_takes_its_place
                a_new_run_takes_what_its_tombstone_held
                a_wake_is_not_for_what_the_same_slice_parks
                a_lost_slice_parks_and_wakes_nothing
                two_nodes_never_share_an_instances_rows
                parked_rows_claimed_without_knowing_come_again
                a_dead_nodes_parked_rows_come_in_order
                a_parked_copy_of_a_known_message_is_a_duplicate
            }
            permits {
                two_nodes_share_one_purse
                a_refused_permit_costs_no_other_window_anything
                the_wait_ends_with_the_aligned_window
            }
            purges {
                a_purge_leaves_a_tombstone_and_nothing_that_waits
                a_chunk_emptied_by_a_purge_is_gone
                what_does_not_exist_is_not_purged
                messages_after_a_purge_are_journaled
                a_purge_among_commits_leaves_nothing_behind
                pe_103_the_sweep_takes_old_rows_of_ended_instances
                pe_103_the_sweep_goes_in_bounded_steps
                pe_103_the_sweep_spares_messages_that_are_still_parked
            }
            quarantine {
                a_message_is_set_aside_once
                pe_271_the_list_is_newest_first_and_filtered
                pe_271_pages_cover_all_rows_once
            }
            races {
                pe_113_of_two_starters_one_wins_and_the_other_slice_is_lost_alone
                pe_117_no_concurrent_step_overwrites_another
                pe_085_one_message_in_two_open_transactions_applies_once
                a_redelivery_during_its_first_commit_changes_nothing
                batches_in_opposite_orders_do_not_deadlock
                mt_217_a_hundred_instances_made_at_once_all_exist
                pe_114_of_two_takers_of_a_key_one_gets_it
                one_message_parked_at_once_by_two_nodes_waits_once
                pe_101_an_internal_delivery_is_consumed_once
                pe_142_cancel_and_fire_at_once_end_in_one_order
            }
            reading {
                pe_126_lists_of_nothing_are_empty
                pages_cover_all_instances_once
                the_instance_changed_last_is_listed_first
                a_history_is_whole_and_oldest_first
                endpoints_are_listed_as_they_stand
                pe_098_a_spoilt_instance_does_not_hide_its_neighbours
            }
            statements {
                a_statement_is_carried_out_with_its_commit
                a_commit_that_writes_nothing_carries_no_statement_out
                an_impossible_statement_is_the_datas_fault_and_undoes_its_commit
                pe_099_a_commit_tried_again_carries_its_statements_out_once
                each_parameter_arrives_as_the_type_it_is_meant_for
                s0_13_a_runs_entries_are_deleted_and_no_others
            }
            texts {
                row_053_whatever_text_comes_is_kept_whole_or_refused_as_data
            }
            timers {
                pe_133_a_due_time_in_the_past_fires_at_once
                a_timer_is_claimed_when_due_and_not_before
                pe_135_many_timers_due_together_are_each_claimed_once
                pe_137_a_timer_belongs_to_its_saga_instance_and_run
                pe_141_a_timer_set_again_fires_once
                pe_142_a_cancelled_timer_never_fires
                a_taken_row_must_be_the_nodes_own
                a_timer_that_waits_again_keeps_its_row
                the_attempt_of_a_timer_is_kept
                pe_262_only_rows_of_the_endpoints_asked_for_are_claimed
                a_halted_endpoint_gives_out_nothing_a_paused_one_does
                pe_145_one_unreadable_row_does_not_hide_the_others
                rows_claimed_without_knowing_come_again
                the_next_due_time_is_the_earliest_of_unclaimed_rows
                mt_234_a_commit_wakes_a_node_that_waits
            }
            unclaimed {
                pe_261_rows_that_nobody_claims_are_counted_and_named
                pe_261_rows_of_the_living_are_claimed_and_those_of_the_dead_are_not
                pe_261_what_a_halt_holds_back_is_not_missing
            }
        }
    };
}

/// Every case of the store suite: its module and its name.
pub const STORE_CASES: &[(&str, &str)] = crate::for_each_store_case!(store_case_names,);
