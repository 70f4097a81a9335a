//! Sections that the macro accepts and refuses. `TRYBUILD=overwrite cargo test --test language ui`
//! blesses the messages; read their diff.

#[test]
fn reject() {
    trybuild::TestCases::new().compile_fail("ui-tests/reject/*.rs");
}

#[test]
fn accept() {
    trybuild::TestCases::new().pass("ui-tests/accept/*.rs");
}
