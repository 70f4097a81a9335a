//! The fixture, built by cargo under other settings than the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Builds the fixture optimised, with these flags for it and what it depends on.
pub fn build(name: &str, flags: &[&str]) -> PathBuf {
    /// All share a folder, so that what runs in the compiler is built once; the program is overwritten each time.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = package.join("tests/fixture");
    // Cargo would look for newer versions of what the lock file doesn't name, so the fixture gets the workspace's.
    fs::copy(package.join("../Cargo.lock"), directory.join("Cargo.lock"))
        .expect("the workspace's lock file can be copied");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sections");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&directory).env("CARGO_TARGET_DIR", &target).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    // With a target, flags are for the program alone.
    cargo.args(["build", "--release", "--offline", "--quiet", "--target", "x86_64-unknown-linux-gnu"]);
    let output = cargo.output().expect("cargo is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let program = target.join(name);
    fs::copy(target.join("x86_64-unknown-linux-gnu/release/sections"), &program).expect("it was built");
    program
}
