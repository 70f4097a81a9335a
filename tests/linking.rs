//! The same program under every optimiser and linker: exact, and none of its ELF sections dropped.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "support/fixture.rs"]
mod fixture;

use fixture::Fixture;

/// Builds and runs the fixture; returns what it printed.
fn run(level: &str, lto: &str, linker: &[&str]) -> String {
    let output =
        Fixture::new("linking").profile(&[("opt-level", level), ("lto", lto)]).flags(linker).build_and_run("linking");
    println!("opt-level {level}, lto {lto}, {linker:?}: {output}");
    if linker == RUST_LLD && !output.contains("linked by LLD") {
        println!("skipped: this toolchain links by something else than rust-lld");
    }
    assert!(linker != GNU_LD || !output.contains("linked by LLD"), "{output}");
    output
}

/// What this toolchain links with by itself: rust-lld. (A flag that changes nothing, for the folder that all with flags share.)
const RUST_LLD: &[&str] = &["-Cdebuginfo=0"];
/// GNU ld.
const GNU_LD: &[&str] = &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=bfd"];

#[test]
fn opt_level_0_with_rust_lld() {
    run("0", "\"off\"", RUST_LLD);
}

#[test]
fn opt_level_1_with_gnu_ld() {
    run("1", "\"off\"", GNU_LD);
}

#[test]
fn opt_level_2_with_thin_lto_and_rust_lld() {
    run("2", "\"thin\"", RUST_LLD);
}

#[test]
fn opt_level_3_with_fat_lto_and_gnu_ld() {
    run("3", "\"fat\"", GNU_LD);
}

#[test]
fn opt_level_3_with_fat_lto_and_rust_lld() {
    run("3", "\"fat\"", RUST_LLD);
}

#[test]
fn opt_level_s_with_gnu_ld() {
    run("\"s\"", "false", GNU_LD);
}

#[test]
fn static_executable() {
    let output = run("3", "false", &["-Ctarget-feature=+crt-static"]);
    assert!(output.contains("Rseq(Libc)") || !fixture::libc_registers(), "{output}");
}

#[test]
fn position_dependent_executable() {
    run("3", "false", &["-Crelocation-model=static"]);
}
