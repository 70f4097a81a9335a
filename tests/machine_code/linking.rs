//! The same program under every optimiser and linker: exact, and none of its ELF sections dropped.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::sections::Sections;
use object::elf::{PF_W, R_X86_64_DTPMOD64, R_X86_64_DTPOFF64, R_X86_64_TLSDESC, R_X86_64_TPOFF64};
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSegment, ObjectSymbol, RelocationFlags, SegmentFlags};
use support::fixture::{self, Fixture, Linker, linkers, print_of};

/// Builds and runs the fixture, and looks at its sections; returns what it printed.
fn run(level: &str, lto: &str, linker: &[&str]) -> String {
    let fixture = Fixture::new("linking").profile(&[("opt-level", level), ("lto", lto)]).flags(linker);
    let program = fixture
        .build_apart(&format!("linking-{level}-{lto}-{}", linker.concat()).replace(['"', '/'], ""), &["linking"])
        .join("linking");
    assert_places_are_known(&program);
    let output = fixture::print_of(&mut Command::new(&program));
    let sections = Sections::of(&program);
    sections.check(0x5305_3053);
    let (count, by_lld) = (sections.descriptors.len(), sections.is_linked_by_lld);
    println!("opt-level {level}, lto {lto}, {linker:?}: {output}, {count} descriptors, linked by rust-lld: {by_lld}");
    if linker == RUST_LLD && !by_lld {
        println!("skipped: this toolchain links by something else than rust-lld");
    }
    assert!(linker != GNU_LD || !by_lld);
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

/// The linker that this toolchain takes by itself: rust-lld. (A flag without effect, for the folder
/// that all with flags share.)
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

    /// The library as a `staticlib`, of which a shared object of C's takes a function.
    fn in_shared_object_of_c(&self, compiler: &str, flags: &[String]) -> PathBuf {
        let [archive, source, shared] = ["libimages.a", "shared.c", "shared.so"].map(|name| self.folder.join(name));
        let images = Fixture::new("images");
        let mut rustc = fixture::rustc(&images.uses_for(self.target), self.target, &images.source("lib.rs"));
        print_of(rustc.args(["--crate-name=images", "--crate-type=staticlib", "-o"]).arg(&archive));
        std::fs::write(&source, "extern void add_of_c(void); void plug(void) { add_of_c(); }").expect("there is room");
        let mut compile = Command::new(compiler);
        print_of(compile.args(["-shared", "-fPIC", "-o"]).arg(&shared).arg(&source).arg(&archive).args(flags));
        shared
    }

    /// The program, which finds its libraries, by itself or in an emulator; what it prints is
    /// [`COUNTED`], and the mode.
    fn run(&self, emulator: Option<Command>, environment: &[(&str, &str)]) -> String {
        let std = fixture::sysroot().join("lib/rustlib").join(self.target).join("lib");
        let path = format!("{}:{}", self.folder.display(), std.display());
        let mut program = match emulator {
            None => Command::new(self.program()),
            Some(mut emulator) => {
                emulator.args(["-E", &format!("LD_LIBRARY_PATH={path}")]).arg(self.program());
                return print_of(&mut emulator);
            }
        };
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
        [linked.library(), linked.program()].iter().for_each(|path| assert_image_is_its_own(path));
        let registrar = if fixture::libc_registers() { "Libc" } else { "Own" };
        for (variable, value, mode) in [
            ("RSEQ_MODE", "", &*format!("Rseq({registrar})")),
            ("GLIBC_TUNABLES", "glibc.pthread.rseq=0", "Rseq(Own)"),
            ("RSEQ_MODE", "portable", "Portable(Forced)"),
        ] {
            assert_eq!(linked.run(None, &[(variable, value)]), format!("{COUNTED} {mode}"), "{name}");
        }
    }
}

/// An image has words of its own, which no other image can take for its own, and the loader changes
/// no code of it.
fn assert_image_is_its_own(path: &Path) {
    let bytes = std::fs::read(path).expect("it was just linked");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    // (One linker names its entries in tables as well, with a `$`.)
    let is_ours = |name: &&str| {
        !name.contains('$') && ["__rseq_dsl_", "8DECISION", "8POSSIBLE"].iter().any(|part| name.contains(part))
    };
    let hidden: Vec<_> = file.symbols().filter_map(|symbol| symbol.name().ok()).filter(is_ours).collect();
    assert_eq!(hidden.iter().filter(|name| name.contains("_fast_")).count(), 1, "{}: {hidden:?}", path.display());
    // (Another one names a block in a relocation of the image itself.)
    let visible = file.dynamic_symbols().filter(|symbol| symbol.is_global());
    let seen: Vec<_> = visible.filter_map(|symbol| symbol.name().ok()).filter(is_ours).collect();
    assert!(seen.is_empty(), "{}: {seen:?}", path.display());
    let is_writable = |address: &u64| {
        let mut segments = file.segments();
        let segment = segments.find(|segment| address.wrapping_sub(segment.address()) < segment.size());
        matches!(segment.map(|segment| segment.flags()), Some(SegmentFlags::Elf { p_flags }) if p_flags & PF_W != 0)
    };
    let places: Vec<_> = file.dynamic_relocations().into_iter().flatten().map(|(address, _)| address).collect();
    assert!(!places.is_empty() && places.iter().all(is_writable), "{}", path.display());
}

/// Shared objects and programs of another machine, of whose linkers the C compiler takes its own
/// and rust-lld. They run in portable mode, where there is an emulator.
fn on_another_machine(target: &'static str, compiler: &str, emulator: &str) {
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !fixture::is_installed(target) || !is_there(compiler) {
        return println!("skipped: needs the target {target} and {compiler}");
    }
    let of_rust = format!("-B{}/gcc-ld", fixture::tools().display());
    for (name, linker) in [("bfd", vec![]), ("lld", vec![of_rust, "-fuse-ld=lld".to_owned()])] {
        let flags: Vec<_> = linker.into_iter().chain(["-Wl,-z,text".to_owned()]).collect();
        let linked = Dylib::link(name, target, compiler, &flags);
        [linked.library(), linked.program()].iter().for_each(|path| assert_image_is_its_own(path));
        assert_image_is_its_own(&linked.in_shared_object_of_c(compiler, &flags));
        if !is_there(emulator) {
            println!("not run: there is no {emulator}");
            continue;
        }
        let mut emulator = Command::new(emulator);
        emulator.arg("-L").arg(format!("/usr/{}", compiler.trim_end_matches("-gcc")));
        let printed = linked.run(Some(emulator), &[]);
        assert!(printed.starts_with(&format!("{COUNTED} Portable(")), "{name}: {printed}");
    }
}

/// Another machine's code that this one runs: by 32 bits, where windows find out where areas are.
#[test]
fn on_i686() {
    const I686: &str = "i686-unknown-linux-gnu";
    if !fixture::is_installed(I686) || !fixture::runs_32_bits() {
        return println!("skipped: needs the target {I686}, gcc-multilib, and a kernel that runs such programs");
    }
    for Linker { name, mut flags } in linkers() {
        flags.push("-m32".to_owned());
        let linked = Dylib::link(name, I686, "cc", &flags);
        [linked.library(), linked.program()].iter().for_each(|path| assert_image_is_its_own(path));
        assert_image_is_its_own(&linked.in_shared_object_of_c("cc", &flags));
        for (tunables, registrar) in
            [("", if fixture::libc_registers() { "Libc" } else { "Own" }), ("glibc.pthread.rseq=0", "Own")]
        {
            let printed = linked.run(None, &[("GLIBC_TUNABLES", tunables)]);
            assert_eq!(printed, format!("{COUNTED} Rseq({registrar})"), "{name}");
        }
    }
}

macro_rules! other_machines {
    ($($name:ident $target:literal $compiler:literal $emulator:literal)*) => {$(
        #[test]
        fn $name() {
            on_another_machine($target, $compiler, $emulator);
        }
    )*};
}

other_machines! {
    on_aarch64 "aarch64-unknown-linux-gnu" "aarch64-linux-gnu-gcc" "qemu-aarch64"
    on_arm "armv7-unknown-linux-gnueabihf" "arm-linux-gnueabihf-gcc" "qemu-arm"
    on_riscv64 "riscv64gc-unknown-linux-gnu" "riscv64-linux-gnu-gcc" "qemu-riscv64"
    on_s390x "s390x-unknown-linux-gnu" "s390x-linux-gnu-gcc" "qemu-s390x"
    on_powerpc64 "powerpc64le-unknown-linux-gnu" "powerpc64le-linux-gnu-gcc" "qemu-ppc64le"
}

/// Names that aren't libc's: Rust's and this crate's, those that a compiler calls for itself, and
/// two numbers of libc's.
const NOT_OF_LIBC: [&str; 12] = [
    "_ZN",
    "_R",
    "anon.",
    "__rseq_",
    "__rust",
    "rust_",
    "_Unwind_",
    "__aeabi_",
    "__float",
    "__aarch64_",
    "_GLOBAL_OFFSET_TABLE_",
    ".",
];

/// The functions of libc's that a library of Rust's asks for.
fn functions_of_libc(library: &Path) -> BTreeSet<String> {
    let bytes = std::fs::read(library).expect("it was just built");
    let archive = ArchiveFile::parse(&*bytes).expect("an archive");
    let mut functions = BTreeSet::new();
    for member in archive.members() {
        let member = member.and_then(|member| member.data(&*bytes)).expect("it is whole");
        let Ok(file) = object::File::parse(member) else { continue };
        let undefined = file.symbols().filter(object::ObjectSymbol::is_undefined);
        let names = undefined.filter_map(|symbol| symbol.name().ok().map(str::to_owned));
        functions
            .extend(names.filter(|name| !name.is_empty() && !NOT_OF_LIBC.iter().any(|start| name.starts_with(start))));
    }
    functions
}

/// Functions of libc's that sections, types and handlers reach are those of docs/soundness.md, and
/// nothing stands there that they don't.
#[test]
fn functions_of_libc_are_those_of_the_table() {
    let page = include_str!("../../docs/soundness.md");
    let table = page.split("<!-- functions of libc -->").nth(1).expect("the page has the table");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<String> = rows
        .flat_map(|row| row.split(" |").next().unwrap_or("").split(", ").map(|name| name.trim_matches('`').to_owned()))
        .collect();
    let mut found = BTreeSet::new();
    for target in [X86_64, "x86_64-unknown-linux-musl", "i686-unknown-linux-gnu"] {
        if !fixture::is_installed(target) {
            println!("skipped: {target} isn't installed");
            continue;
        }
        for options in [&[][..], &["--no-default-features"]] {
            let crates = Fixture::new("images").crates_for(target, options);
            let functions = crates.iter().flat_map(|krate| functions_of_libc(krate)).collect();
            assert_eq!(&functions - &listed, BTreeSet::new(), "{target}: not in docs/soundness.md");
            found.extend(functions);
        }
    }
    assert_eq!(&listed - &found, BTreeSet::new(), "in docs/soundness.md, and nowhere else");
}
