//! The machine code of the hot paths, in `tests/codegen`: `BLESS=1 cargo test --test codegen` writes it anew, to be read
//! before it is committed. Whatever compiler is used, the fast path must make no call, no system call and use no lock.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "support/fixture.rs"]
mod fixture;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter, Mnemonic};
use object::{Object, ObjectSection, ObjectSymbol};

/// The goldens are of this compiler's code.
const COMPILER: &str = "rustc 1.95.";

/// The code of one function.
struct Code {
    instructions: Vec<Instruction>,
}

impl Code {
    fn of(file: &object::File<'_>, name: &str) -> Self {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name)).expect("the fixture has the function");
        let section = file.section_by_index(symbol.section_index().expect("it is defined")).expect("somewhere");
        let bytes = section.data_range(symbol.address(), symbol.size()).expect("readable").expect("inside the section");
        let decoder = Decoder::with_ip(64, bytes, symbol.address(), DecoderOptions::NONE);
        Self { instructions: decoder.into_iter().collect() }
    }

    /// The instructions from the start to the first return, where no conditional jump is taken: the compiler puts what is cold behind jumps.
    fn fast_path(&self) -> Vec<Instruction> {
        let at: BTreeMap<u64, &Instruction> = self.instructions.iter().map(|one| (one.ip(), one)).collect();
        let mut path = Vec::new();
        let mut next = self.instructions[0].ip();
        while let Some(one) = at.get(&next) {
            path.push(**one);
            match one.flow_control() {
                FlowControl::Return => return path,
                FlowControl::UnconditionalBranch => next = one.near_branch_target(),
                _ => next = one.next_ip(),
            }
            assert!(path.len() <= self.instructions.len(), "the fast path runs in circles");
        }
        panic!("the fast path leaves the function at {next:x}");
    }
}

/// The instructions as text without addresses, which are the linker's.
fn text(path: &[Instruction]) -> String {
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_rip_relative_addresses(true);
    let mut text = String::new();
    for one in path {
        let mut line = String::new();
        formatter.format(one, &mut line);
        if one.is_ip_rel_memory_operand() {
            line = without_address(&line);
        } else if one.near_branch_target() != 0 {
            line = format!("{} ..", line.split(' ').next().unwrap_or_default());
        }
        writeln!(text, "{line}").expect("a string takes everything");
    }
    text
}

/// With `[rip + ..]` in place of the operand that is addressed from there.
fn without_address(line: &str) -> String {
    match (line.find("[rip"), line.rfind(']')) {
        (Some(start), Some(end)) => format!("{}[rip + ..]{}", &line[..start], &line[end + 1..]),
        _ => line.to_owned(),
    }
}

fn check(name: &str) {
    let library = fixture::Fixture::new("codegen").build().join("libcodegen.so");
    let bytes = std::fs::read(library).expect("it was just built");
    let path = Code::of(&object::File::parse(&*bytes).expect("an ELF file"), name).fast_path();
    let found = text(&path);
    for one in &path {
        let forbidden =
            matches!(one.flow_control(), FlowControl::Call | FlowControl::IndirectCall | FlowControl::Interrupt)
                || one.has_lock_prefix()
                || matches!(one.mnemonic(), Mnemonic::Syscall | Mnemonic::Xchg | Mnemonic::Mfence);
        assert!(!forbidden, "{one} on the fast path of {name}:\n{found}");
    }
    assert!(path.iter().any(|one| one.mnemonic() == Mnemonic::Movups), "this is not the fast path:\n{found}");
    compare(name, &found);
}

/// Compares with the golden, or writes it.
fn compare(name: &str, found: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/codegen").join(format!("{name}.x86-64"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(golden, found).expect("the folder is there");
        return;
    }
    let version = fixture::print_of(Command::new("rustc").arg("--version"));
    if !version.starts_with(COMPILER) {
        println!("skipped: the golden is of {COMPILER}x, and this is {version}");
        return;
    }
    let golden = std::fs::read_to_string(golden).expect("BLESS=1 writes it");
    assert_eq!(found, golden, "read what changed, then BLESS=1 cargo test --test codegen");
}

#[test]
fn counter() {
    check("counter");
}

#[test]
fn list_push() {
    check("list_push");
}
