//! Programs under the leak and the address sanitizer, which are nightly compilers' alone: what
//! slots point to is no leak, what nothing points to is one, and nothing else is reported.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::Path;
use std::process::{Command, Output};

use support::fixture::{Fixture, by_toolchain, print_of};

/// Slots alone point to what these leave behind.
const KEPT: [&str; 11] = [
    "stack",
    "stack of records",
    "ring",
    "ring of records",
    "pool",
    "slots by CPU",
    "slots by concurrency id",
    "large slots",
    "values",
    "chunks",
    "exchange",
];
/// Nothing points to what these leave behind.
const LOST: [&str; 2] = ["forgotten", "where slots were"];

/// The flags that rseq-core's build script gives the compiler.
const BUILT_FOR_ONE: [&str; 2] = ["--cfg", "rseq_leak_sanitizer"];

const LEAKS: &str = "LeakSanitizer: detected memory leaks";

/// The fixture for a sanitizer, or what keeps it from being built.
fn fixture_for(sanitizer: &str) -> Result<Fixture, String> {
    let version = by_toolchain("nightly", "rustc").arg("--version").output();
    let version = version.map_err(|error| format!("rustup can't be run: {error}"))?;
    if !version.status.success() {
        return Err("no nightly toolchain: rustup toolchain install nightly".to_owned());
    }
    let version = String::from_utf8_lossy(&version.stdout);
    let minor = |version: &str| version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    if minor(&version) < minor(env!("CARGO_PKG_RUST_VERSION")) {
        return Err(format!("too old: {version}"));
    }
    let flag = format!("-Zsanitizer={sanitizer}");
    Ok(Fixture::new("sanitized").toolchain("nightly").flags(&[&flag]))
}

/// A run of the fixture.
fn run(program: &Path, kind: &str, options: &str, (variable, value): (&str, &str)) -> Output {
    let mut command = Command::new(program);
    command.arg(kind).env_remove("ASAN_OPTIONS").env("LSAN_OPTIONS", options).env(variable, value);
    command.output().expect("it was just built")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The words of a sanitizer that can't work. It traces the program, which has one tracer at most
/// and may be forbidden, and takes terabytes of address space before `main`.
const REFUSALS: [&str; 3] = [
    "LeakSanitizer has encountered a fatal error",
    "AddressSanitizer failed to allocate",
    "CHECK failed: sanitizer_allocator",
];

/// `true` if the sanitizer works here, by what its first control prints.
fn works(control: &Output) -> bool {
    let errors = errors(control);
    let refused = REFUSALS.iter().any(|refusal| errors.contains(refusal));
    if refused {
        println!("skipped: the sanitizer doesn't work here: {errors}");
    }
    !refused
}

fn slots_are_looked_into_by(sanitizer: &str) {
    match fixture_for(sanitizer) {
        Ok(fixture) => fixture.build_and(|folder| slots_are_looked_into(&folder.join("sanitized"))),
        Err(reason) => println!("skipped: {reason}"),
    }
}

fn slots_are_looked_into(program: &Path) {
    let usual = std::env::var("RSEQ_MODE").unwrap_or_default();
    let modes = [("RSEQ_MODE", &usual[..]), ("GLIBC_TUNABLES", "glibc.pthread.rseq=0"), ("RSEQ_MODE", "portable")];
    let control = run(program, LOST[0], "", modes[0]);
    if !works(&control) {
        return;
    }
    let mode = format!("{:?}", rseq::status().mode());
    assert!(control.stdout == mode.as_bytes() || cfg!(rseq_portable), "sections aren't {mode}: {control:?}");
    for mode in modes {
        for kind in KEPT {
            let output = run(program, kind, "", mode);
            let silent = output.status.success() && output.stderr.is_empty();
            assert!(silent, "{kind}, {mode:?}: {}: {}", output.status, errors(&output));
        }
        let must_be_reported = |kind, options| {
            let output = run(program, kind, options, mode);
            let reported = !output.status.success() && errors(&output).contains(LEAKS);
            assert!(reported, "{kind} {options}, {mode:?}: no leak was reported: {}", errors(&output));
        };
        LOST.iter().for_each(|kind| must_be_reported(kind, ""));
        // The control of the first ones: nothing but slots points there.
        KEPT.iter().for_each(|kind| must_be_reported(kind, "use_root_regions=0"));
    }
}

#[test]
fn slots_are_looked_into_by_the_leak_sanitizer() {
    slots_are_looked_into_by("leak");
}

#[test]
fn slots_are_looked_into_by_the_address_sanitizer() {
    slots_are_looked_into_by("address");
}

/// Also that nobody can come in between, where the sanitizer holds a lock.
#[test]
fn a_sanitizer_is_told_of_the_memory_of_slots() {
    Fixture::new("roots").flags(&BUILT_FOR_ONE).build_and_run("roots");
}

/// As a shared object that was built for one, in a program that has none.
#[test]
fn a_build_for_a_sanitizer_runs_without_one() {
    Fixture::new("sanitized").flags(&BUILT_FOR_ONE).build_and(|folder| {
        for kind in ["stack", "large slots", "where slots were"] {
            print_of(Command::new(folder.join("sanitized")).arg(kind));
        }
    });
}
