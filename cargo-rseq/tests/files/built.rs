//! Programs as users build them: in every layout and stripped, their sections are listed and found
//! right.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::env;
use std::path::Path;

use super::programs::{build, object};
use cargo_rseq::elf::Image;
use cargo_rseq::list::{Protocol, Row};
use cargo_rseq::{Binary, elf};

/// The sections of a file, in which nothing is wrong.
fn sections(path: &Path) -> Vec<Row> {
    let bytes = elf::read(path).expect("it can be read");
    let image = Image::parse(&bytes).expect("it is an ELF file");
    let binary = Binary::read(&image).expect("it has sections");
    let report = binary.verify();
    assert!(report.findings.is_empty(), "{}: {report:#?}", path.display());
    binary.list()
}

/// Those of the fixture.
fn check(name: &str, flags: &[&str], kind: u16) {
    let program = build(name, flags);
    let bytes = elf::read(&program).expect("it can be read");
    assert_eq!(u16::from_le_bytes([bytes[16], bytes[17]]), kind, "e_type");
    let rows = sections(&program);
    check_rows(&rows);
    let is_stripped = flags.contains(&"-Cstrip=symbols");
    let prepared = rows.iter().find(|row| row.protocol == Protocol::Prepare).expect("there is one");
    assert_eq!(prepared.function.as_deref(), (!is_stripped).then_some("sections::prepared"));
}

fn check_rows(rows: &[Row]) {
    let find =
        |operation: &str| rows.iter().filter(|row| row.operation.as_deref() == Some(operation)).collect::<Vec<_>>();
    let prepared = find("store(slot, next)");
    assert!(!prepared.is_empty() && prepared.iter().all(|row| row.protocol == Protocol::Prepare), "{rows:#?}");
    let [added, limited] = ["add(&SLOTS[cpu], 1)", "store(&SLOTS[cpu], next)"].map(find);
    for row in added.iter().chain(&limited) {
        assert_eq!(row.protocol, Protocol::Window);
        assert!(row.file.as_ref().is_some_and(|file| file.ends_with("src/lib.rs")) && row.size > 8, "{row:?}");
    }
    assert!(!added.is_empty() && limited.iter().all(|row| row.exits.len() == 2) && !limited.is_empty(), "{rows:#?}");
}

#[test]
fn position_independent() {
    check("pie", &[], object::elf::ET_DYN);
}

#[test]
fn position_dependent() {
    check("fixed", &["-Crelocation-model=static"], object::elf::ET_EXEC);
}

#[test]
fn static_position_independent() {
    check("static-pie", &["-Ctarget-feature=+crt-static"], object::elf::ET_DYN);
}

#[test]
fn static_position_dependent() {
    check("static", &["-Ctarget-feature=+crt-static", "-Crelocation-model=static"], object::elf::ET_EXEC);
}

#[test]
fn stripped() {
    check("stripped", &["-Cstrip=symbols"], object::elf::ET_DYN);
}

#[test]
fn with_relative_relocations_packed() {
    check("relr", &["-Clink-arg=-Wl,-z,pack-relative-relocs"], object::elf::ET_DYN);
}

#[test]
fn not_optimised() {
    check("debug", &["-Copt-level=0", "-Cdebuginfo=2"], object::elf::ET_DYN);
}

#[test]
fn by_gnu_ld() {
    check("gnu-ld", &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=bfd"], object::elf::ET_DYN);
}

#[test]
#[cfg_attr(
    not(feature = "capstone"),
    ignore = "takes a minute, and reads no instructions without the feature `capstone`"
)]
fn objects_of_other_machines() {
    for target in [
        "x86_64-unknown-linux-gnu",
        "i686-unknown-linux-gnu",
        "aarch64-unknown-linux-gnu",
        "armv7-unknown-linux-gnueabihf",
        "riscv64gc-unknown-linux-gnu",
        "s390x-unknown-linux-gnu",
        "powerpc64le-unknown-linux-gnu",
        "loongarch64-unknown-linux-gnu",
    ] {
        match object(target) {
            Some(object) => check_rows(&sections(&object)),
            None => println!("skipped: no standard library for {target}"),
        }
    }
}

/// The examples, where they were built for this run: `cargo test --workspace` does so.
#[test]
fn examples() {
    let test = env::current_exe().expect("the test knows where it is");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    for name in ["counter", "push_pop", "operations", "doctor"] {
        let example = profile.join("examples").join(name);
        if example.exists() {
            println!("{name}: {} windows", sections(&example).len());
        } else {
            println!("skipped: {} isn't built", example.display());
        }
    }
}
