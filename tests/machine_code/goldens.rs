//! The machine code of the canonical sections on other architectures, in `goldens/<architecture>`:
//! `BLESS=1 cargo test --test machine_code goldens` writes it anew, to be read before it is
//! committed. (`codegen` has x86-64's, and looks closer.)
//!
//! Compiles for these targets, and is skipped where one is neither installed (`rustup target add`)
//! nor can be built (`rustup component add rust-src`, and what the standard library depends on is
//! to be had), or there is no `llvm-objdump` (`rustup component add llvm-tools`).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use super::golden::{compare, is_of_this_compiler};
use support::fixture::{self, Fixture, print_of};

/// The four canonical sections, and the longer form of the counter.
const SECTIONS: [&str; 5] = ["counter", "counter_window", "list_push", "list_pop", "array_push"];

/// Of targets of 64 bits: what lies gigabytes apart.
const FAR: &str = "far";

/// Compares the sections' code for a target with its goldens, or writes them.
fn check(architecture: &str, target: &str) {
    if !is_of_this_compiler(architecture) {
        return;
    }
    let objdump = fixture::sysroot().join("lib/rustlib/x86_64-unknown-linux-gnu/bin/llvm-objdump");
    if !objdump.exists() {
        return println!("skipped: there is no llvm-objdump: rustup component add llvm-tools");
    }
    let object = match Fixture::new("codegen").object_for(target) {
        Ok(object) => object,
        Err(why) => return println!("skipped: {why}"),
    };
    let far = (!["i686", "arm"].contains(&architecture)).then_some(FAR);
    for section in SECTIONS.into_iter().chain(far) {
        compare(&format!("{architecture}/{section}"), &text(&objdump, &object, section));
    }
}

/// A function's instructions, without addresses. What lies at the end of its section is the cold
/// part of its window.
fn text(objdump: &Path, object: &Path, function: &str) -> String {
    let options = ["--disassemble", "--no-show-raw-insn", "--no-leading-addr", "--disassemble-zeroes"];
    let listing = print_of(Command::new(objdump).args(options).arg(format!("--section=.text.{function}")).arg(object));
    let mut lines = listing.lines().skip_while(|line| !line.ends_with(&format!("<{function}>:"))).peekable();
    assert!(lines.peek().is_some(), "the fixture has {function}:\n{listing}");
    let is_instruction = |line: &&str| line.starts_with(char::is_whitespace);
    let mut text = String::new();
    for line in lines.filter(is_instruction) {
        // The name that objdump has for an address depends on what else is in the file.
        let words: Vec<&str> = line.split_whitespace().filter(|word| !word.starts_with('<')).collect();
        writeln!(text, "{}", words.join(" ")).expect("a string takes everything");
    }
    text
}

macro_rules! architectures {
    ($($architecture:ident $target:literal)*) => {$(
        #[test]
        fn $architecture() {
            check(stringify!($architecture), $target);
        }
    )*};
}

architectures! {
    i686 "i686-unknown-linux-gnu"
    aarch64 "aarch64-unknown-linux-gnu"
    arm "armv7-unknown-linux-gnueabihf"
    riscv64 "riscv64gc-unknown-linux-gnu"
    s390x "s390x-unknown-linux-gnu"
    powerpc64 "powerpc64le-unknown-linux-gnu"
    loongarch64 "loongarch64-unknown-linux-gnu"
}
