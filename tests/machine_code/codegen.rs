//! The machine code of the hot paths, in `goldens/x86_64`: `BLESS=1 cargo test --test machine_code
//! codegen` writes it anew, to be read before it is committed. Whatever compiler is used, the fast
//! path must make no call, no system call and use no lock.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fmt::Write;
use std::sync::LazyLock;

use super::code::{Code, section};
use super::golden::compare;
use iced_x86::{FlowControl, Formatter, Instruction, IntelFormatter, Mnemonic, OpKind, Register};
use support::fixture::Fixture;

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

/// A function of the fixture's shared object.
fn code(name: &str) -> Code {
    static LIBRARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let library = Fixture::new("codegen").build().join("libcodegen.so");
        std::fs::read(library).expect("it was just built")
    });
    Code::of(&object::File::parse(&**LIBRARY).expect("an ELF file"), name)
}

/// Compares the function's fast path with its golden; returns it.
fn check(name: &str) -> Vec<Instruction> {
    let path = code(name).fast_path();
    check_instructions(name, &path);
    path
}

/// The same of a section that copies, with all that lies between arming and disarming: the shortest
/// way leaves out what few bytes are copied by.
fn check_copying(name: &str, most: usize) {
    let all = code(name).all();
    let arm = all.iter().position(arms).expect("it arms");
    let disarm = arm + 1 + all[arm + 1..].iter().position(arms).expect("it disarms");
    let section = &all[arm..=disarm];
    check_instructions(name, section);
    assert!(section.len() <= most, "{} instructions:\n{}", section.len(), text(section));
}

/// The instructions are the golden's, and none of them is one that has no place on a fast path.
fn check_instructions(name: &str, path: &[Instruction]) {
    let found = text(path);
    for one in path {
        let forbidden =
            matches!(one.flow_control(), FlowControl::Call | FlowControl::IndirectCall | FlowControl::Interrupt)
                || one.has_lock_prefix()
                || matches!(one.mnemonic(), Mnemonic::Syscall | Mnemonic::Xchg | Mnemonic::Mfence);
        assert!(!forbidden, "{one} on the fast path of {name}:\n{found}");
    }
    assert!(path.iter().any(arms), "this is not the fast path:\n{found}");
    compare(&format!("x86_64/{name}"), &found);
}

/// A store to a field behind two words of a structure: of the descriptor's address, or of NULL, to
/// `rseq_cs`.
fn arms(one: &Instruction) -> bool {
    one.mnemonic() == Mnemonic::Mov && one.op0_kind() == OpKind::Memory && one.memory_displacement64() == 8
}

/// A section that is all window has at most so many instructions from the one that takes its
/// descriptor to its end, and none of them uses memory for what has no place there.
fn check_window(name: &str, most: usize) {
    let path = check_section(name, most);
    assert!(!path.iter().any(|one| one.mnemonic() == Mnemonic::Push), "spilled:\n{}", text(&path));
}

/// The same, but registers may be saved for the sake of the cold paths.
fn check_section(name: &str, most: usize) -> Vec<Instruction> {
    let path = check(name);
    let (section, _) = section(&path);
    assert_eq!(section[0].mnemonic(), Mnemonic::Lea, "of the descriptor:\n{}", text(section));
    println!("{name}: {} of {}", section.len(), path.len());
    assert!(section.len() <= most, "{} instructions:\n{}", section.len(), text(section));
    let on_stack = |one: &Instruction| one.memory_base() == Register::RSP || one.memory_base() == Register::RBP;
    assert!(!path.iter().any(on_stack), "spilled:\n{}", text(&path));
    path
}

/// A function's fast path in numbers: its instructions, those of them from the first arming to the
/// last disarming, and the bytes of the whole function. `None` if it is never armed. Of a copy, the
/// shortest way has that of many bytes, which is one instruction: see [`check_copying`].
fn counts(code: &Code) -> [Option<usize>; 3] {
    let path = code.fast_path();
    let mut stores = path.iter().enumerate().filter(|(_, one)| arms(one)).map(|(at, _)| at);
    let armed = stores.next().zip(stores.next_back()).map(|(arm, disarm)| disarm - arm + 1);
    [Some(path.len()), armed, Some(code.bytes())]
}

#[test]
fn counter() {
    check("counter");
}

#[test]
fn list_push() {
    check("list_push");
}

#[test]
fn counter_window() {
    check_window("counter_window", 9);
}

#[test]
fn list_pop() {
    check_window("list_pop", 17);
}

#[test]
fn types() {
    check_window("counter_inc", 9);
    check_window("histogram_record", 11);
    check_section("stack_push", 18);
    check_section("stack_pop", 18);
    check_section("ring_push", 24);
}

#[test]
fn gigabytes_away() {
    check_section("far", 60);
}

#[test]
fn items_of_several_words() {
    check_copying("wide_stack_push", 38);
    check_copying("wide_stack_pop", 38);
    check_copying("wide_ring_push", 43);
}

#[test]
fn pool() {
    let path = check("pool_take_and_return");
    assert!(path.len() <= 54, "{} instructions:\n{}", path.len(), text(&path));
}

#[test]
fn array_push() {
    check("array_push");
}

/// The area is found once for several windows, but for each attempt where the section's own code
/// repeats the window: there it would have to be kept.
#[test]
fn where_the_area_is_found() {
    let loads = |name| check(name).iter().filter(|one| finds_area(one)).count();
    assert_eq!((loads("counter_twice"), loads("counter_with_aborts")), (1, 1));
}

/// Adds the place of the thread's block to what is loaded, in an executable or a library.
fn finds_area(one: &Instruction) -> bool {
    one.mnemonic() == Mnemonic::Add && one.is_ip_rel_memory_operand()
}

/// No fast path gets longer, and no function larger, unless somebody wants it to.
#[test]
fn all_counts() {
    let mut found =
        "function: instructions of its fast path, those from first arming to last disarming, bytes\n".to_owned();
    for name in COUNTED {
        let [path, armed, bytes] =
            counts(&code(name)).map(|count| count.map_or("-".to_owned(), |count| count.to_string()));
        writeln!(found, "{name}: {path}, {armed}, {bytes}").expect("a string takes everything");
    }
    compare("x86_64/counts", &found);
}

const COUNTED: [&str; 16] = [
    "counter",
    "counter_window",
    "counter_twice",
    "counter_with_aborts",
    "counter_inc",
    "histogram_record",
    "list_push",
    "list_pop",
    "array_push",
    "stack_push",
    "stack_pop",
    "wide_stack_push",
    "wide_stack_pop",
    "ring_push",
    "wide_ring_push",
    "pool_take_and_return",
];
