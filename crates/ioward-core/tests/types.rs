//! Rules that are types: what breaks them does not compile.

#[test]
#[cfg(not(loom))]
fn what_breaks_a_rule_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/types/*.rs");
}
