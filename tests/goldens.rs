//! The machine code of the canonical sections on other architectures, in `tests/codegen/<architecture>`: `BLESS=1 cargo test --test goldens` writes it anew, to be read before
//! it is committed. (`tests/codegen.rs` has x86-64's, and looks closer.)
//!
//! Compiles for these targets, and is skipped where one isn't installed (`rustup target add`), or no `llvm-objdump` (`rustup component add llvm-tools`).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "support/fixture.rs"]
mod fixture;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::{Fixture, print_of};

/// The goldens are of this compiler's code.
const COMPILER: &str = "rustc 1.95.";

/// The four canonical sections, and the longer form of the counter.
const SECTIONS: [&str; 5] = ["counter", "counter_window", "list_push", "list_pop", "array_push"];

/// Compares the sections' code for a target with its goldens, or writes them.
fn check(architecture: &str, target: &str) {
    let version = print_of(Command::new("rustc").arg("--version"));
    let objdump = sysroot().join("lib/rustlib/x86_64-unknown-linux-gnu/bin/llvm-objdump");
    if !version.starts_with(COMPILER) {
        println!("skipped: the goldens are of {COMPILER}x, and this is {version}");
    } else if !sysroot().join("lib/rustlib").join(target).exists() {
        println!("skipped: {target} isn't installed: rustup target add {target}");
    } else if !objdump.exists() {
        println!("skipped: there is no llvm-objdump: rustup component add llvm-tools");
    } else {
        let object = Fixture::new("codegen").object_for(target);
        for section in SECTIONS {
            compare(architecture, section, &text(&objdump, &object, section));
        }
    }
}

fn sysroot() -> PathBuf {
    PathBuf::from(print_of(Command::new("rustc").args(["--print", "sysroot"])))
}

/// A function's instructions, without addresses. What lies at the end of its section is the cold part of its window.
fn text(objdump: &Path, object: &Path, function: &str) -> String {
    let options = ["--disassemble", "--no-show-raw-insn", "--no-leading-addr", "--disassemble-zeroes"];
    let listing =
        print_of(Command::new(objdump).args(options).arg(format!("--disassemble-symbols={function}")).arg(object));
    let (_, listing) = listing.split_once(&format!("<{function}>:\n")).expect("the fixture has the function");
    let mut text = String::new();
    for line in listing.lines().map(str::trim).take_while(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        writeln!(text, "{}", words.join(" ")).expect("a string takes everything");
    }
    text
}

fn compare(architecture: &str, section: &str, found: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/codegen").join(architecture);
    let golden = folder.join(section);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(folder).and_then(|()| std::fs::write(golden, found)).expect("the folder is writable");
        return;
    }
    let golden = std::fs::read_to_string(golden).expect("BLESS=1 writes it");
    assert_eq!(found, golden, "{architecture}: read what changed, then BLESS=1 cargo test --test goldens");
}

#[test]
fn aarch64() {
    check("aarch64", "aarch64-unknown-linux-gnu");
}
