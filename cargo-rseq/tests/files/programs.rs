//! The fixture, built by cargo under other settings than the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use support::crates;

/// All share a folder, so that what runs in the compiler is built once; the program is overwritten
/// each time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The target of programs that run here.
const HERE: &str = "x86_64-unknown-linux-gnu";

/// Builds the fixture optimised, with these flags for it and what it depends on.
pub fn build(name: &str, flags: &[&str]) -> PathBuf {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let target = cargo(HERE, flags, &["build"]);
    let program = target.join(name);
    fs::copy(target.join(HERE).join("release/sections"), &program).expect("it was built");
    program
}

/// Compiles the fixture's library for another machine, which takes no linker: its object file.
/// `None` if there is no standard library for that.
pub fn object(target: &str) -> Option<PathBuf> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().expect("the compiler is there").stdout;
    let sysroot = String::from_utf8(sysroot).expect("it is text");
    if !Path::new(sysroot.trim()).join("lib/rustlib").join(target).exists() {
        return None;
    }
    let object = folder().join(format!("{target}.o"));
    fs::create_dir_all(folder()).expect("there is room");
    let emit = format!("obj={}", object.display());
    cargo(target, &[], &["rustc", "--lib", "--crate-type", "lib", "--", "-Ccodegen-units=1", "--emit", &emit]);
    Some(object)
}

/// Where it is built.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("sections")
}

/// Has cargo do something with the fixture; where it does so.
fn cargo(target: &str, flags: &[&str], arguments: &[&str]) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = package.join("tests/fixture");
    crates::provide(&directory, &package.join(".."));
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(&directory)
        .env("CARGO_TARGET_DIR", folder())
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    // With a target, flags are for the program alone.
    let (command, rest) = arguments.split_first().expect("there is a command");
    cargo.arg(command).args(["--release", "--offline", "--quiet", "--target", target]).args(rest);
    let output = cargo.output().expect("cargo is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder()
}
