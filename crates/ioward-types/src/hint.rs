//! Which way a branch usually goes, told to the compiler: the usual way is then the one without a jump.

/// Said where the usual case does not come by.
#[cold]
#[inline(always)]
pub const fn seldom() {}

/// What is nearly always true.
#[inline(always)]
pub const fn likely(condition: bool) -> bool {
    if !condition {
        seldom();
    }
    condition
}

/// What is there nearly always.
#[inline(always)]
pub fn expected<T>(value: Option<T>) -> Option<T> {
    if value.is_none() {
        seldom();
    }
    value
}
