//! Random operations on every format and granule against a plain map.

mod common;
#[path = "common/plain.rs"]
mod plain;

use plain::{Op, Plain, configurations};
use proptest::{collection::vec, prelude::*};

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>(), any::<u16>(), any::<u16>(), any::<u16>());
    let op = op.prop_map(|(what, window, unit, how, offset, length, to)| {
        // Mostly readable, small and near each other, so that operations meet.
        let how = if how & 0xc0 == 0 { how } else { how & 0x34 | 3 };
        Op { what, window, unit, how, offset, length: length % 600, to }
    });
    vec(op, 1..40)
}

/// All configurations with coherency, dirty tracking and hitless cuts; each case runs one of them.
fn run(which: usize, coherent: bool, dirty: bool, hitless: bool, ops: &[Op]) {
    let all = configurations();
    let config = all[which % all.len()];
    let mut plain = Plain::new(ioward_types::TableConfig { coherent, dirty, ..config }, hitless);
    for &op in ops {
        plain.apply(op);
    }
    plain.finish();
}

macro_rules! random {
    ($($name:ident: $coherent:expr, $dirty:expr;)*) => { $(
        #[test]
        fn $name() {
            // Miri is thousands of times slower.
            let each = if cfg!(miri) { 1 } else { 20 };
            for which in 0..configurations().len() {
                let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
                    cases: each,
                    failure_persistence: None,
                    ..ProptestConfig::default()
                });
                let result = runner.run(&(ops(), any::<bool>()), |(ops, hitless)| {
                    run(which, $coherent, $dirty, hitless, &ops);
                    Ok(())
                });
                if let Err(error) = result {
                    panic!("{:?}: {error}", configurations()[which]);
                }
            }
        }
    )* };
}

random! {
    against_a_plain_map: true, false;
    against_a_plain_map_with_dirty_tracking: true, true;
    against_a_plain_map_with_walkers_that_do_not_snoop: false, false;
}
