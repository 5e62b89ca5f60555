//! Rules that are types: what breaks them does not compile.
//!
//! What the compiler says is compared too, so the test is for the stable compiler and not for a sanitizer's.

#[test]
#[cfg(not(loom))]
fn what_breaks_a_rule_does_not_compile() {
    if std::env::var("RUSTFLAGS").is_ok_and(|flags| flags.contains("sanitizer")) {
        println!("SKIPPED: under a sanitizer another compiler speaks");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/types/*.rs");
}
