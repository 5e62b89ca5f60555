//! The list of checks, and what it becomes: tests by name, and a table.

/// Hands the list of checks to one of the crate's macros.
#[doc(hidden)]
#[macro_export]
macro_rules! __each_check {
    ($callback:ident [$($args:tt)*]) => {
        $crate::$callback! { [$($args)*]
            bring_up::every_source_starts_blocked,
            bring_up::it_is_what_its_mode_says,
            bring_up::all_ones_from_the_start_are_refused,
            bring_up::all_ones_from_any_access_end_a_bring_up,
            bring_up::hung_hardware_ends_a_bring_up,
            bring_up::stuck_bits_end_a_bring_up,
            bring_up::memory_may_run_out_during_a_bring_up,
            taken_over::cold_over_running_dma,
            taken_over::abort_stops_running_dma,
            taken_over::adopt_keeps_dma_until_its_source_is_claimed,
            taken_over::adopt_of_what_cannot_be_read,
            taken_over::adopt_of_garbage,
            taken_over::a_take_over_that_ends_early_never_bypasses,
            taken_over::faults_left_behind_do_not_hide_new_ones,
            sources::claimed_is_blocked,
            sources::what_cannot_be_claimed_is_refused,
            sources::released_is_blocked,
            sources::sources_are_apart,
            sources::a_slot_of_another_iommu_does_nothing,
            install::attach,
            install::replaced_is_forgotten,
            install::every_change_is_hitless_step_by_step,
            install::replace_under_running_dma,
            install::detached_is_blocked,
            install::identity,
            install::a_foreign_table,
            install::can_walk_agrees_with_install,
            install::memory_may_run_out_in_any_call,
            pasids::each_pasid_is_its_own,
            pasids::a_blocked_source_blocks_its_pasids,
            pasids::pasids_change_hitless_step_by_step,
            pasids::a_source_changes_beside_its_pasids,
            invalidation::a_flush_covers_its_span,
            invalidation::a_flush_at_the_edges,
            invalidation::a_flush_of_large_pages,
            invalidation::a_table_that_went_is_walked_no_more,
            invalidation::a_map_is_seen_by_who_asked_before,
            invalidation::a_batch_flushes_each,
            invalidation::unmap_under_running_dma,
            caches::a_flush_reaches_devices,
            caches::the_iommu_forgets_first,
            caches::a_flush_may_name_a_blocked_device,
            caches::a_device_that_is_gone_is_told_nothing,
            caches::a_deaf_device_keeps_nobody,
            caches::a_slow_device_is_waited_for,
            tags::no_two_carriers_have_one_tag,
            tags::a_tag_that_is_used_again_leads_to_nothing_old,
            tags::a_tag_that_was_not_confirmed_is_withheld,
            queue::more_flushes_than_slots,
            queue::flushes_around_the_end,
            queue::several_cpus_flush,
            faults::a_fault_says_who_where_what_and_why,
            faults::a_blocked_source_is_reported_as_such,
            faults::more_faults_than_a_queue_holds,
            faults::faults_without_end_keep_nobody,
            hung::a_queue_that_stops_ends_every_call,
            hung::a_release_of_hung_hardware_leaves_nothing,
            hung::a_lost_write_is_never_confirmed,
            hung::late_completions_are_waited_for,
            hung::bits_that_never_set_end_every_call,
            hung::an_iommu_that_goes_away_ends_every_call,
            under_core::a_mapping_lives_as_long_as_it_is_held,
            under_core::tables_are_freed_last,
            under_core::targets_come_and_go_during_an_unmap,
            under_core::parked_is_what_firmware_requires,
            under_core::a_pulled_device_is_let_go,
            under_core::torn_down_leaves_nothing,
            under_core::hung_hardware_withholds_memory,
            interrupts::a_message_goes_where_its_entry_says,
            interrupts::a_source_raises_no_interrupt_of_anothers,
            interrupts::several_messages_lie_together,
            interrupts::entries_change_hitless_step_by_step,
            interrupts::entries_are_used_again,
            interrupts::hung_hardware_ends_every_change,
            requests::what_cannot_be_mapped_is_refused,
            requests::unmapped_is_unmapped_at_once,
            requests::a_space_is_shared_by_who_is_attached,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$make:expr] $($module:ident::$check:ident,)*) => { $(
        #[test]
        fn $check() {
            let make = || $make;
            $crate::checks::$module::$check(&make);
        }
    )* };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __table {
    ([$bench:ty] $($module:ident::$check:ident,)*) => {
        vec![$((stringify!($check), $crate::checks::$module::$check::<$bench> as $crate::Check<$bench>)),*]
    };
}

/// Makes a test of every check for every mode of a driver, named by driver, mode and check:
/// `smmuv3::stage1::replace_under_running_dma`.
///
/// A mode is a name and an expression that makes a fresh [`Bench`](crate::Bench) of it. The macro is used once a driver, at
/// the top of a module.
///
/// ```text
/// ioward_conformance::suite!(smmuv3 {
///     stage1 => Smmu::new(Features { stage2: false, ..Features::default() }),
///     stage2 => Smmu::new(Features::default()),
/// });
/// ```
#[macro_export]
macro_rules! suite {
    ($driver:ident { $($mode:ident => $make:expr),+ $(,)? }) => {
        mod $driver {
            #[allow(unused_imports, reason = "a mode may need nothing of the module around it")]
            use super::*;
            $(
                mod $mode {
                    use super::*;
                    $crate::__each_check! { __tests [$make] }
                }
            )+
        }
    };
}

/// A check, as a function that is given how to make a bench.
pub type Check<B> = fn(&dyn Fn() -> B);

/// All checks by name, for whoever does not use [`suite!`](crate::suite).
pub fn all<B: crate::Bench>() -> Vec<(&'static str, Check<B>)> {
    crate::__each_check! { __table [B] }
}
