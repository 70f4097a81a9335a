//! Sections that the macro refuses, and in what words. `TRYBUILD=overwrite cargo test --test
//! language -- reject` blesses the messages; read their diff.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The name of this program that tells trybuild nothing. (It expects no shorter ones than cargo's.)
const NAMELESS: &str = "a-program-without-features";

/// By its name trybuild finds the features that a program was built with, and compiles anew what
/// they bring. Cases need none of them, as they need none of the `dev-dependencies` that Cargo.toml
/// has for `cfg(not(trybuild))`.
#[test]
fn reject() {
    if env::args().next().as_deref() == Some(NAMELESS) {
        return trybuild::TestCases::new().compile_fail("ui-tests/reject/*.rs");
    }
    let mut nameless = Command::new(env::current_exe().expect("the executable has a path"));
    nameless.arg0(NAMELESS).args(["--exact", "ui::reject", "--nocapture"]);
    nameless.args(env::args().filter(|argument| argument.starts_with("trybuild=")));
    println!("{}", support::must_pass(nameless));
}
