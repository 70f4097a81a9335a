//! Crates of their own that use the macro: under another name, in every edition, without std.

use std::path::Path;
use std::process::Command;

/// Runs `cargo COMMAND` in the fixture of this name.
fn cargo(command: &str, name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fixture = root.join("tests/fixtures").join(name);
    // Cargo would look for newer versions of what the lock file doesn't name, so each fixture gets the workspace's.
    let lock = fixture.join("Cargo.lock");
    std::fs::copy(root.join("Cargo.lock"), &lock).expect("the workspace's lock file can be copied");
    let output = Command::new(env!("CARGO"))
        .args([command, "--offline", "--quiet"])
        .current_dir(&fixture)
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures"))
        .output()
        .expect("cargo can be started");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "cargo {command} in {}: {}\n{stdout}{stderr}", fixture.display(), output.status);
}

#[test]
fn renamed_dependency() {
    cargo("run", "renamed");
}

#[test]
fn reexported_macro() {
    cargo("run", "reexported");
}

#[test]
fn edition_2015() {
    cargo("run", "edition-2015");
}

#[test]
fn edition_2018() {
    cargo("run", "edition-2018");
}

#[test]
fn edition_2021() {
    cargo("run", "edition-2021");
}

#[test]
fn no_std_library() {
    cargo("build", "no-std");
}
