//! What operations take where sections don't run restartably: the portable mode's instructions, counted by valgrind, under which the kernel has no such
//! system call. `BLESS=1 cargo test --test instructions` writes the golden anew.
//!
//! Counts are of the difference between two runs, so that what is done once doesn't matter. They are nearly the same everywhere: one thread runs,
//! nothing waits, and no slot's number is part of a loop. What differs are libc's parts of them (the processor is asked for, signals are held back), hence some tolerance.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "support/fixture.rs"]
mod fixture;
#[path = "support/machine_code.rs"]
mod machine_code;

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::process::Command;

use fixture::Fixture;
use machine_code::COMPILER;

const KINDS: [&str; 8] = ["watched", "window", "counter", "histogram", "stack", "records", "ring", "pool"];
const OPERATIONS: u64 = 500;
/// In a hundred.
const TOLERANCE: u64 = 5;

/// The instructions of a program, by the last line that the tool writes of it.
fn instructions(program: &Path, kind: &str, operations: u64) -> io::Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = valgrind.args([kind, &operations.to_string()]).output()?;
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{valgrind:?}:\n{errors}");
    assert_eq!(out, "Portable(NoKernelSupport)", "{valgrind:?}");
    let collected = errors.lines().find_map(|line| line.split_once("Collected : ")?.1.parse().ok());
    Ok(collected.unwrap_or_else(|| panic!("no count:\n{errors}")))
}

/// Those of one operation.
fn of_operation(program: &Path, kind: &str) -> io::Result<u64> {
    let [once, twice] = [OPERATIONS, 2 * OPERATIONS].map(|operations| instructions(program, kind, operations));
    Ok((twice? - once?) / OPERATIONS)
}

#[test]
fn of_the_portable_mode() {
    let program = Fixture::new("instructions").build().join("instructions");
    let mut found = String::new();
    for kind in KINDS {
        match of_operation(&program, kind) {
            Ok(count) => writeln!(found, "{kind}: {count}").expect("a string takes everything"),
            Err(error) => return println!("skipped: valgrind can't be run: {error}"),
        }
    }
    println!("{found}");
    compare(&found);
}

/// Compares with the golden, or writes it.
fn compare(found: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/codegen/portable.x86-64");
    if std::env::var_os("BLESS").is_some() {
        return std::fs::write(golden, found).expect("the folder is there");
    }
    let version = fixture::print_of(Command::new("rustc").arg("--version"));
    if !version.starts_with(COMPILER) {
        return println!("skipped: the golden is of {COMPILER}x, and this is {version}");
    }
    let golden = std::fs::read_to_string(golden).expect("BLESS=1 writes it");
    let counts =
        |text: &str| -> Vec<u64> { text.lines().filter_map(|line| line.split_once(": ")?.1.parse().ok()).collect() };
    let (found_counts, expected) = (counts(found), counts(&golden));
    let near = |(found, expected): (&u64, &u64)| found.abs_diff(*expected) * 100 <= expected * TOLERANCE;
    assert_eq!(found_counts.len(), expected.len());
    assert!(
        found_counts.iter().zip(&expected).all(near),
        "found:\n{found}\nexpected:\n{golden}\nread what changed, then BLESS=1 cargo test --test instructions"
    );
}
