//! Switches that break a rule on purpose, so that its test can be seen to fail.
//!
//! Without the feature `mutate`, which only `cargo xtask mutate` sets, [`on`] is constant false and costs nothing.

/// Whether the mutation of this name is asked for by the environment variable `IOWARD_MUTATE`.
#[cfg(feature = "mutate")]
pub fn on(name: &str) -> bool {
    extern crate std;
    std::env::var("IOWARD_MUTATE").is_ok_and(|wanted| wanted == name)
}

/// Constant false: mutations are compiled out.
#[cfg(not(feature = "mutate"))]
#[inline(always)]
pub const fn on(_: &str) -> bool {
    false
}
