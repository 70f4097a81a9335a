//! The operations of librseq and of tcmalloc's slabs, as `examples/operations` has them: right in every mode, and counted. `BLESS=1 cargo test --test operations`
//! writes the counts into docs/operations.md.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "support/fixture.rs"]
mod fixture;
#[path = "support/machine_code.rs"]
mod machine_code;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use machine_code::{COMPILER, Code};

/// A function of the fixture, what it does, and librseq's instructions for the same.
type Operation = (&'static str, &'static str, Option<(usize, usize)>);

/// The functions of the fixture, what they do, and what librseq's code for the same takes, where that is known: all in all, and in the window.
const OPERATIONS: [Operation; 12] = [
    ("counter", "add", Some((12, 3))),
    ("compare_and_store", "compare, store", None),
    ("list_push", "list push", Some((16, 5))),
    ("list_pop", "list pop", Some((22, 9))),
    ("compare_both_and_store", "compare two, store", None),
    ("compare_and_store_both", "compare, store two (the second by release)", None),
    ("compare_copy_and_store", "compare, copy, store by release", None),
    ("add_behind", "dereference at an offset, add", None),
    ("slab_push", "buffer push", Some((20, 6))),
    ("slab_pop", "buffer pop", Some((23, 7))),
    ("slab_push_batch", "batch push", None),
    ("slab_pop_batch", "batch pop", None),
];

/// What an operation takes.
struct Counts {
    all: usize,
    section: usize,
    window: usize,
}

impl Counts {
    /// Of a function's shortest way that commits: it stores NULL to `rseq_cs` after the commit.
    fn of(path: &[Instruction]) -> Self {
        let area = |one: &Instruction| one.memory_segment() == Register::FS && one.memory_displacement64() == 8;
        let stores =
            |one: &Instruction| one.mnemonic() == Mnemonic::Mov && one.op0_kind() == OpKind::Memory && area(one);
        let mut stores = path.iter().enumerate().filter(|(_, one)| stores(one)).map(|(at, _)| at);
        let (arm, disarm) = (stores.next().expect("it arms"), stores.next().expect("it disarms"));
        // From the instruction that takes the descriptor's address to the last before the return.
        Self { all: path.len(), section: path.len() - arm, window: disarm - arm - 1 }
    }
}

/// The table of docs/operations.md.
fn table() -> String {
    let library = fixture::Fixture::new("operations").build().join("liboperations.so");
    let bytes = std::fs::read(library).expect("it was just built");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    let mut table =
        String::from("| operation | all | from arming | in the window | librseq |\n|---|---|---|---|---|\n");
    for (function, name, librseq) in OPERATIONS {
        let counts = Counts::of(&Code::of(&file, function).fast_path());
        let theirs = librseq.map_or_else(|| "-".to_owned(), |(all, window)| format!("{all} ({window})"));
        let Counts { all, section, window } = counts;
        writeln!(table, "| {name} | {all} | {section} | {window} | {theirs} |").expect("a string takes everything");
        if let Some((most, _)) = librseq {
            assert!(section <= most, "{name} takes {section} instructions, and librseq {most}");
        }
    }
    table
}

#[test]
fn counts_are_those_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let version = fixture::print_of(Command::new("rustc").arg("--version"));
    if !version.starts_with(COMPILER) {
        println!("skipped: the table is of {COMPILER}x, and this is {version}");
        return;
    }
    let found = table();
    let text = std::fs::read_to_string(&path).expect("the documentation is there");
    let start = text.find("| operation |").expect("it has the table");
    let end = start + text[start..].find("\n\n").map_or(text.len() - start, |end| end + 1);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, format!("{}{found}{}", &text[..start], &text[end..])).expect("the folder is there");
        return;
    }
    assert_eq!(&text[start..end], found, "read what changed, then BLESS=1 cargo test --test operations");
}
