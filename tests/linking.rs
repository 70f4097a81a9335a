//! The same program under every optimiser and linker: exact, and none of its ELF sections dropped.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "support/fixture.rs"]
mod fixture;

use std::path::Path;
use std::process::Command;

use fixture::Fixture;
use object::elf::{R_X86_64_DTPMOD64, R_X86_64_DTPOFF64, R_X86_64_TLSDESC, R_X86_64_TPOFF64};
use object::{Object, RelocationFlags};

/// Builds and runs the fixture; returns what it printed.
fn run(level: &str, lto: &str, linker: &[&str]) -> String {
    let fixture = Fixture::new("linking").profile(&[("opt-level", level), ("lto", lto)]).flags(linker);
    let program = fixture
        .build_apart(&format!("linking-{level}-{lto}-{}", linker.concat()).replace(['"', '/'], ""), &["linking"])
        .join("linking");
    assert_places_are_known(&program);
    let output = fixture::print_of(&mut Command::new(&program));
    println!("opt-level {level}, lto {lto}, {linker:?}: {output}");
    if linker == RUST_LLD && !output.contains("linked by LLD") {
        println!("skipped: this toolchain links by something else than rust-lld");
    }
    assert!(linker != GNU_LD || !output.contains("linked by LLD"), "{output}");
    output
}

/// In an executable every linker makes constants of the places of thread-local storage: nothing of
/// them is left for the loader.
fn assert_places_are_known(program: &Path) {
    let bytes = std::fs::read(program).expect("it was just built");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    let is_of_tls = |flags| {
        let types = [R_X86_64_TLSDESC, R_X86_64_TPOFF64, R_X86_64_DTPMOD64, R_X86_64_DTPOFF64];
        matches!(flags, RelocationFlags::Elf { r_type } if types.contains(&r_type))
    };
    let mut left =
        file.dynamic_relocations().into_iter().flatten().filter(|(_, relocation)| is_of_tls(relocation.flags()));
    assert!(left.next().is_none(), "{}", program.display());
}

/// What this toolchain links with by itself: rust-lld. (A flag that changes nothing, for the folder that all with flags share.)
const RUST_LLD: &[&str] = &["-Cdebuginfo=0"];
/// gold and mold, if they are there.
const OTHERS: [&str; 2] = ["gold", "mold"];
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
fn opt_level_3_with_other_linkers() {
    for linker in OTHERS {
        if Command::new(format!("ld.{linker}")).arg("--version").output().is_err() {
            println!("skipped: there is no {linker}");
            continue;
        }
        run("3", "\"off\"", &["-Clinker-features=-lld", &format!("-Clink-arg=-fuse-ld={linker}")]);
    }
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
