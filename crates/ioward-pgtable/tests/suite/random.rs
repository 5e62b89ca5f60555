//! Random operations against a plain map.

use crate::plain::{Op, Plain};
use ioward_types::TableConfig;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>(), any::<u16>(), any::<u16>(), any::<u16>());
    let op = op.prop_map(|(what, window, unit, how, offset, length, to)| {
        // Mostly readable, small and near each other, so that operations meet.
        let how = if how & 0xc0 == 0 { how } else { how & 0x34 | 3 };
        Op { what, window, unit, how, offset, length: length % 600, to }
    });
    vec(op, 1..40)
}

fn run(config: TableConfig) {
    // Miri is thousands of times slower.
    let cases = if cfg!(miri) { 1 } else { 8 };
    let mut runner =
        TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    let result = runner.run(&(ops(), any::<bool>()), |(ops, hitless)| {
        let mut plain = Plain::new(config, hitless);
        for &op in &ops {
            plain.apply(op);
        }
        plain.finish();
        Ok(())
    });
    if let Err(error) = result {
        panic!("{config:?}: {error}");
    }
}

pub fn against_a_plain_map(config: &TableConfig) {
    run(*config);
}

pub fn with_dirty_tracking(config: &TableConfig) {
    run(TableConfig { dirty: true, ..*config });
}

pub fn with_walkers_that_do_not_snoop(config: &TableConfig) {
    run(TableConfig { coherent: false, ..*config });
}
