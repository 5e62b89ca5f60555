//! One suite over every format, granule and width: each rule below runs for each group of [`cases`](common::cases), and
//! the test's name says the group and the rule. Beside them, in the same program so that walks are compiled once, stand
//! tests of some formats or of none: [`operations`], [`page`], [`hitless`], [`hostile`].
//!
//! What the engine writes is judged by a walker that shares nothing with it ([`common::judge`]): each format decoded from
//! literal positions, every reserved or unasked bit an error. Beside it stand literal words ([`words`]).
//!
//! Linux's generic_pt has a suite too (`kunit_generic_pt.h`, `kunit_iommu_pt.h`): page sizes and the best of them, both
//! ends of the address space, leaves, links and attributes that come back from the format's own decoder, every size mapped
//! and unmapped, tables that become pages, unmaps that meet larger pages, random ranges against a plain map, a root that
//! grows, leaks. All of that is here. This goes further in what it judges by and what it lets go wrong:
//!
//! * an independent decoder and golden words, where Linux asks the format that wrote the entry;
//! * contiguous and NAPOT sets entry by entry, and Arm's formats at all;
//! * every allocation that can fail does ([`memory`]);
//! * walkers that do not snoop, at every store, with and without lines that the cache evicts early; each touched line
//!   cleaned once and no other ([`incoherent`]);
//! * a cut seen by hardware after every store ([`cut`]), and a root that grows likewise;
//! * accessed and dirty bits set by a simulated walker ([`harvest`]);
//! * neighbours on other threads, with tables that come and go beside them ([`neighbours`]; every interleaving of a few in
//!   `tests/loom.rs`);
//! * all combinations of attributes, with what is refused and what is granted instead ([`attributes`]).

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/plain.rs"]
mod plain;

mod addresses;
mod attributes;
mod cut;
mod grow;
mod harvest;
mod hitless;
mod hostile;
mod incoherent;
mod memory;
mod neighbours;
mod operations;
mod page;
mod random;
mod run;
mod sizes;
mod tools;
mod trim;
mod words;

macro_rules! suite {
    ($($group:ident)*) => { $(
        mod $group {
            suite! { @each $group
                sizes::every_page_size
                sizes::the_largest_page_that_fits
                sizes::a_table_in_the_way
                sizes::no_page_is_unmapped_in_part
                sizes::ranges_that_have_gone_wrong_elsewhere
                addresses::both_ends
                addresses::outside_is_refused
                addresses::the_whole_space
                attributes::every_combination
                cut::every_page_under_dma
                cut::without_memory
                grow::step_by_step
                harvest::marks_of_every_page_size
                incoherent::a_walker_sees_whole_tables_only
                incoherent::each_touched_line_is_cleaned_once
                memory::every_allocation_fails_once
                neighbours::do_not_disturb
                trim::takes_what_is_empty
                random::against_a_plain_map
                random::with_dirty_tracking
                random::with_walkers_that_do_not_snoop
            }
        }
    )* };
    (@each $group:ident $($topic:ident::$rule:ident)*) => { $(
        #[test]
        fn $rule() {
            for config in crate::common::cases::$group() {
                crate::$topic::$rule(&config);
            }
        }
    )* };
}

suite! {
    arm_s1_4k arm_s1_16k arm_s1_64k arm_s2_4k arm_s2_16k arm_s2_64k amd_v1 amd_v2 vtd_second vtd_first riscv_first
    riscv_second
}
