//! The same program under every optimiser and linker: exact, and none of its ELF sections dropped.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "support/fixture.rs"]
mod fixture;

use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::{Fixture, Linker, linkers, print_of};
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

/// A Rust `dylib` with sections and a program that uses it, which has others, its own and some of
/// the library's: with what is found in it.
struct Dylib {
    folder: PathBuf,
    target: &'static str,
}

impl Dylib {
    /// Links them by this compiler for C, with these flags of its.
    fn link(name: &str, target: &'static str, compiler: &str, flags: &[String]) -> Self {
        let images = Fixture::new("images");
        let krate = images.uses_for(target);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dylib-{target}-{name}"));
        std::fs::create_dir_all(&folder).expect("there is room for a folder");
        for (name, kind) in [("images", "dylib"), ("user", "bin")] {
            let source = if kind == "dylib" { "lib.rs" } else { "user.rs" };
            let mut rustc = fixture::rustc(&krate, target, &images.source(source));
            rustc.args(["--crate-name", name, "--crate-type", kind, "-Cprefer-dynamic", "--out-dir"]).arg(&folder);
            rustc.arg(format!("-Clinker={compiler}")).args(flags.iter().map(|flag| format!("-Clink-arg={flag}")));
            rustc.args(["-Clinker-features=-lld"].iter().filter(|_| target == X86_64));
            rustc.arg("-L").arg(&folder).args(["--extern", "images"].iter().filter(|_| kind == "bin"));
            print_of(&mut rustc);
        }
        Self { folder, target }
    }

    fn library(&self) -> PathBuf {
        self.folder.join("libimages.so")
    }

    fn program(&self) -> PathBuf {
        self.folder.join("user")
    }

    /// The program, which finds its libraries; what it prints is [`COUNTED`], and the mode.
    fn run(&self, environment: &[(&str, &str)]) -> String {
        let std = fixture::sysroot().join("lib/rustlib").join(self.target).join("lib");
        let path = format!("{}:{}", self.folder.display(), std.display());
        let mut program = Command::new(self.program());
        program.env("LD_LIBRARY_PATH", path).env_remove("RSEQ_MODE").env_remove("GLIBC_TUNABLES");
        print_of(program.envs(environment.iter().copied()))
    }
}

const X86_64: &str = "x86_64-unknown-linux-gnu";
const COUNTED: &str = "[2.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0, 2.0]";

/// Each image has words of its own, and all sections are exact.
#[test]
fn a_dylib_and_its_user() {
    for Linker { name, flags } in linkers() {
        let linked = Dylib::link(name, X86_64, "cc", &flags);
        let registrar = if fixture::libc_registers() { "Libc" } else { "Own" };
        for (variable, value, mode) in [
            ("RSEQ_MODE", "", &*format!("Rseq({registrar})")),
            ("GLIBC_TUNABLES", "glibc.pthread.rseq=0", "Rseq(Own)"),
            ("RSEQ_MODE", "portable", "Portable(Forced)"),
        ] {
            assert_eq!(linked.run(&[(variable, value)]), format!("{COUNTED} {mode}"), "{name}");
        }
    }
}
