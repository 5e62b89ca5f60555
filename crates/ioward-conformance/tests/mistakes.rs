//! Each check turns red over a driver that makes the mistake which it is there for, and stays green over one that makes none.

mod benches;

use benches::{amdvi, smmuv3, virtio};
use ioward_conformance::{
    Bench,
    broken::{Mistake, catches},
};
use ioward_models::{amdvi::AmdViConfig, smmuv3::Features, virtio::VirtioIommuConfig};
use std::collections::BTreeSet;

/// On which bench a mistake is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum On {
    /// SMMUv3 with both stages.
    Smmu,
    /// AMD-Vi.
    Amd,
    /// AMD-Vi that caches entries that are not present.
    AmdCaching,
    /// virtio-iommu.
    Virtio,
}

use Mistake::*;
use On::*;

/// Which mistake is caught by which check.
const TABLE: &[(On, Mistake, &[&str])] = &[
    (Smmu, StartsOpen, &["every_source_starts_blocked"]),
    (Smmu, Boasts, &["it_is_what_its_mode_says"]),
    (
        Smmu,
        NeverFails,
        &[
            "all_ones_from_the_start_are_refused",
            "all_ones_from_any_access_end_a_bring_up",
            "stuck_bits_end_a_bring_up",
            "memory_may_run_out_during_a_bring_up",
        ],
    ),
    (Smmu, NamesNoCause, &["hung_hardware_ends_a_bring_up", "all_ones_from_the_start_are_refused"]),
    (Smmu, ColdAdopts, &["cold_over_running_dma"]),
    (Amd, ColdAdopts, &["cold_over_running_dma"]),
    (Smmu, AbortAdopts, &["abort_stops_running_dma"]),
    (Amd, AbortAdopts, &["abort_stops_running_dma"]),
    (Smmu, AdoptAborts, &["adopt_keeps_dma_until_its_source_is_claimed"]),
    (Smmu, AdoptReadsAnyway, &["adopt_of_what_cannot_be_read"]),
    (Smmu, BypassesMeanwhile, &["a_take_over_that_ends_early_never_bypasses", "abort_stops_running_dma"]),
    (
        Smmu,
        ReportsNothing,
        &["faults_left_behind_do_not_hide_new_ones", "a_blocked_source_is_reported_as_such"],
    ),
    (Smmu, ClaimOpens, &["claimed_is_blocked"]),
    (Smmu, ClaimsTwice, &["what_cannot_be_claimed_is_refused"]),
    (Smmu, ReleasesNothing, &["released_is_blocked", "torn_down_leaves_nothing"]),
    (Smmu, ReleaseOpens, &["adopt_of_garbage", "released_is_blocked"]),
    (Smmu, OneTagForAll, &["sources_are_apart", "no_two_carriers_have_one_tag"]),
    (Smmu, TakesAnySlot, &["a_slot_of_another_iommu_does_nothing"]),
    (Smmu, InstallsNothing, &["attach", "parked_is_what_firmware_requires"]),
    (Smmu, InstallsOnce, &["replaced_is_forgotten"]),
    (Smmu, InstallsThroughIdentity, &["every_change_is_hitless_step_by_step", "replace_under_running_dma"]),
    (Smmu, BlocksNothing, &["detached_is_blocked", "a_tag_that_is_used_again_leads_to_nothing_old"]),
    (Smmu, IdentityIsBlocked, &["identity"]),
    (Smmu, WalksAnything, &["can_walk_agrees_with_install"]),
    (Smmu, PanicsWithoutMemory, &["memory_may_run_out_in_any_call"]),
    (Smmu, IgnoresPasid, &["each_pasid_is_its_own"]),
    (Smmu, BlockKeepsPasids, &["a_blocked_source_blocks_its_pasids"]),
    (Smmu, PasidThroughAnother, &["pasids_change_hitless_step_by_step"]),
    (Smmu, InstallDropsPasids, &["a_source_changes_beside_its_pasids"]),
    (
        Smmu,
        FlushesNothing,
        &[
            "a_foreign_table",
            "a_flush_at_the_edges",
            "unmap_under_running_dma",
            "late_completions_are_waited_for",
            "bits_that_never_set_end_every_call",
            "a_mapping_lives_as_long_as_it_is_held",
            "tables_are_freed_last",
            "targets_come_and_go_during_an_unmap",
        ],
    ),
    (Amd, FlushesNothing, &["a_flush_covers_its_span", "targets_come_and_go_during_an_unmap"]),
    (Smmu, MissesLastPage, &["a_flush_covers_its_span", "a_flush_at_the_edges"]),
    (Smmu, FlushesOnePage, &["a_flush_covers_its_span", "a_flush_of_large_pages"]),
    (Smmu, KeepsTables, &["a_table_that_went_is_walked_no_more"]),
    (Amd, KeepsTables, &["a_table_that_went_is_walked_no_more"]),
    (AmdCaching, AsksForNoFlushAfterMap, &["a_map_is_seen_by_who_asked_before"]),
    (Smmu, FlushesFirstOnly, &["a_batch_flushes_each"]),
    (Smmu, FlushesAThousand, &["more_flushes_than_slots"]),
    (Smmu, LosesSomeFlushes, &["flushes_around_the_end", "several_cpus_flush"]),
    (Smmu, ForgetsDevices, &["a_flush_reaches_devices", "a_slow_device_is_waited_for"]),
    (Smmu, DevicesFirst, &["the_iommu_forgets_first"]),
    (Amd, DevicesFirst, &["the_iommu_forgets_first"]),
    (Smmu, FailsOverBlockedDevices, &["a_flush_may_name_a_blocked_device"]),
    (Smmu, TellsWhoIsGone, &["a_device_that_is_gone_is_told_nothing", "a_pulled_device_is_let_go"]),
    (Smmu, ReusesTagsUnconfirmed, &["a_tag_that_was_not_confirmed_is_withheld"]),
    (Smmu, ReportsAnotherSource, &["a_fault_says_who_where_what_and_why"]),
    (Smmu, HidesLosses, &["more_faults_than_a_queue_holds"]),
    (Smmu, PollsWithoutEnd, &["faults_without_end_keep_nobody"]),
    (
        Smmu,
        ConfirmsFalsely,
        &[
            "a_deaf_device_keeps_nobody",
            "a_queue_that_stops_ends_every_call",
            "a_release_of_hung_hardware_leaves_nothing",
            "a_lost_write_is_never_confirmed",
            "an_iommu_that_goes_away_ends_every_call",
            "hung_hardware_withholds_memory",
        ],
    ),
    (Amd, ConfirmsFalsely, &["hung_hardware_ends_every_change", "a_lost_write_is_never_confirmed"]),
    (Amd, RaisesTheNext, &["a_message_goes_where_its_entry_says"]),
    (Amd, ChecksNoSource, &["a_source_raises_no_interrupt_of_anothers"]),
    (Amd, MisplacesEntries, &["several_messages_lie_together"]),
    (Amd, RemapsThroughAnother, &["entries_change_hitless_step_by_step"]),
    (Amd, ReleasesNoEntries, &["entries_are_used_again"]),
    (Virtio, MapsAnything, &["what_cannot_be_mapped_is_refused"]),
    (Virtio, UnmapsNothing, &["unmapped_is_unmapped_at_once", "a_space_is_shared_by_who_is_attached"]),
    (Virtio, ReleaseOpens, &["released_is_blocked"]),
    (Virtio, ConfirmsFalsely, &["a_queue_that_stops_ends_every_call"]),
];

fn smmu() -> smmuv3::Bed {
    smmuv3::Bed::new(Features::default())
}

fn amd() -> amdvi::Bed {
    amdvi::Bed::new(AmdViConfig::default())
}

fn amd_caching() -> amdvi::Bed {
    amdvi::Bed::new(AmdViConfig { np_cache: true, ..AmdViConfig::default() })
}

fn virtio_iommu() -> virtio::Bed {
    virtio::Bed::new(VirtioIommuConfig::default())
}

fn caught(on: On, mistake: Mistake, check: &str) -> Option<bool> {
    match on {
        Smmu => catches(&smmu, mistake, check),
        Amd => catches(&amd, mistake, check),
        AmdCaching => catches(&amd_caching, mistake, check),
        Virtio => catches(&virtio_iommu, mistake, check),
    }
}

#[test]
fn every_mistake_is_caught_by_the_check_that_is_there_for_it() {
    let mut missed = Vec::new();
    for (on, mistake, checks) in TABLE {
        for check in *checks {
            match caught(*on, *mistake, check) {
                Some(true) => {}
                Some(false) => missed.push(format!("{mistake:?} on {on:?} is not caught by {check}")),
                None => missed.push(format!("there is no check {check}")),
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_check_is_shown_to_fail() {
    fn names<B: Bench>(_: &dyn Fn() -> B) -> BTreeSet<&'static str> {
        ioward_conformance::all::<B>().into_iter().map(|(name, _)| name).collect()
    }
    let shown: BTreeSet<&str> = TABLE.iter().flat_map(|(.., checks)| checks.iter().copied()).collect();
    let missing: Vec<_> = names(&smmu).difference(&shown).copied().collect();
    assert!(missing.is_empty(), "no mistake shows that these can fail: {missing:#?}");
}

#[test]
fn no_check_turns_red_without_a_mistake() {
    let checks: BTreeSet<&str> = TABLE.iter().flat_map(|(.., checks)| checks.iter().copied()).collect();
    for check in checks {
        assert_eq!(caught(Amd, Mistake::Sound, check), Some(false), "{check}");
    }
}
