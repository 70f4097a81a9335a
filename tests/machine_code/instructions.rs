//! The cost of operations where sections don't run restartably: the portable mode's instructions,
//! counted by valgrind, under which the kernel has no such system call. `BLESS=1 cargo test --test
//! machine_code instructions` writes the golden anew.
//!
//! The program's own instructions are counted, with those of Rust's library, and libc's aren't:
//! these differ with its version and with the processor. Counts are of the difference between two
//! runs, whose numbers have as many digits, so that what is done once doesn't matter. What remains
//! is the same everywhere, to the instruction: one thread runs, nothing waits, it keeps its slot
//! wherever it runs, and no slot's number is part of a loop.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use super::golden::compare;
use support::fixture::Fixture;

const KINDS: [&str; 8] = ["watched", "window", "counter", "histogram", "stack", "records", "ring", "pool"];
const OPERATIONS: u64 = 1000;

/// The instructions that a program executes itself.
fn instructions(program: &Path, kind: &str, operations: u64) -> io::Result<u64> {
    let profile = program.with_extension("callgrind");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no"]);
    valgrind.arg(format!("--callgrind-out-file={}", profile.display())).arg(program);
    let output = valgrind.args([kind, &operations.to_string()]).output()?;
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{valgrind:?}:\n{errors}");
    assert_eq!(out, "Portable(NoKernelSupport)", "{valgrind:?}");
    Ok(own(&fs::read_to_string(profile)?, program))
}

/// The costs of a program's own lines in a profile. A line has a position and a cost; `ob=` says
/// whose the lines after it are. The line after `calls=` has what the call cost in all, which the
/// called function's own lines say too.
fn own(profile: &str, program: &Path) -> u64 {
    let (mut is_own, mut is_call, mut sum) = (false, false, 0);
    for line in profile.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            is_own = Path::new(object) == program;
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if let Some(cost) = cost(line) {
            // Also where it is another object's call.
            let of_call = std::mem::take(&mut is_call);
            sum += if is_own && !of_call { cost } else { 0 };
        }
    }
    assert!(sum > 0, "{} isn't in its profile", program.display());
    sum
}

/// The cost of a position, by its line of a profile.
fn cost(line: &str) -> Option<u64> {
    let (position, cost) = line.split_once(' ')?;
    position.parse::<u64>().ok().and_then(|_| cost.parse().ok())
}

/// Those of one operation.
fn of_operation(program: &Path, kind: &str) -> io::Result<u64> {
    let once = instructions(program, kind, OPERATIONS)?;
    let twice = instructions(program, kind, 2 * OPERATIONS)?;
    assert_eq!((twice - once) % OPERATIONS, 0, "{kind}: not each operation takes as many");
    Ok((twice - once) / OPERATIONS)
}

#[test]
fn of_the_portable_mode() {
    let program = Fixture::new("instructions").build().join("instructions");
    // As it stands in the profile.
    let program = program.canonicalize().expect("it was just built");
    let mut found = String::new();
    for kind in KINDS {
        match of_operation(&program, kind) {
            Ok(count) => writeln!(found, "{kind}: {count}").expect("a string takes everything"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return println!("skipped: valgrind can't be run: {error}");
            }
            Err(error) => panic!("{kind}: {error}"),
        }
    }
    compare("x86_64/portable", &found);
}
