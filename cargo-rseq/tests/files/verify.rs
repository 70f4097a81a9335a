//! Each check finds what it is for: one change of a good section each, and nothing else is found
//! then.

use super::corpus::{self, DESCRIPTOR, Fixture, Line, TEXT};
use cargo_rseq::elf::Image;
use cargo_rseq::verify::{CHECKS, Finding, Severity};
use cargo_rseq::{Binary, Error};

fn findings(bytes: &[u8]) -> Vec<Finding> {
    let image = Image::parse(bytes).expect("it is an ELF file");
    Binary::read(&image).expect("it has a window").verify().findings
}

fn names(findings: &[Finding], severity: Severity) -> Vec<&'static str> {
    findings.iter().filter(|finding| finding.severity == severity).map(|finding| finding.check).collect()
}

/// All that is wrong is what this check finds, and one of its messages says this.
#[track_caller]
fn violates(fixture: &Fixture, check: &str, what: &str) {
    let findings = findings(&fixture.build());
    let names = names(&findings, Severity::Violation);
    assert!(!names.is_empty() && names.iter().all(|name| *name == check), "{check}: {findings:#?}");
    assert!(CHECKS.iter().any(|known| known.name == check));
    let says = |finding: &Finding| finding.severity == Severity::Violation && finding.what.contains(what);
    assert!(findings.iter().any(says), "{what}: {findings:#?}");
}

/// Nothing is wrong, but this check has a remark.
#[track_caller]
fn remarks(fixture: &Fixture, check: &str) {
    let findings = findings(&fixture.build());
    assert_eq!(names(&findings, Severity::Violation), [""; 0], "{findings:#?}");
    assert!(names(&findings, Severity::Remark).contains(&check), "{findings:#?}");
}

#[track_caller]
fn is_good(fixture: &Fixture) {
    let findings = findings(&fixture.build());
    assert!(findings.is_empty(), "{findings:#?}");
}

fn classic() -> Fixture {
    Fixture::classic()
}

fn prepare() -> Fixture {
    Fixture::prepare()
}

#[test]
fn good_sections() {
    is_good(&classic());
    is_good(&prepare());
    is_good(&classic().with_note("critical cpu_id"));
    is_good(&prepare().with_note("prepare cpu_id"));
}

#[test]
fn sections_of_whole_entries() {
    violates(&classic().edit(|content| content.leftover = vec![0; 5]), "sections", "5 bytes");
}

#[test]
fn pointers_to_every_descriptor() {
    violates(
        &classic().edit(|content| content.pointers = Some(Vec::new())),
        "pointers",
        "lacks the descriptor 0x403000",
    );
    violates(&classic().edit(|content| content.pointers = Some(vec![DESCRIPTOR; 2])), "pointers", "2 times");
    violates(
        &classic().edit(|content| content.pointers = Some(vec![DESCRIPTOR, TEXT])),
        "pointers",
        "0x401000, where no descriptor is",
    );
    remarks(&classic().edit(|content| content.pointers = None), "pointers");
}

#[test]
fn exits_of_windows() {
    let more = |start: &'static str, target: &'static str| {
        classic().edit(move |content| {
            let exit = [content.label(start), content.label(target)];
            content.exits.as_mut().expect("it has some").push(exit);
        })
    };
    violates(&more("post", "exit"), "exits", "where no window starts");
    violates(&more("start", "commit"), "exits", "inside of the window");
    violates(&more("start", "descriptor"), "exits", "isn't in executable memory");
    remarks(&classic().edit(|content| content.exits = None), "exits");
}

#[test]
fn notes_about_windows() {
    let with = |notes: Vec<u8>| classic().edit(move |content| content.notes = notes.clone());
    let note = |descriptor, checked, kind: &str| corpus::note(1, &corpus::window_note(descriptor, checked, kind));
    let start = classic().content().label("start");
    is_good(&with(note(DESCRIPTOR, start, "critical cpu_id")));
    violates(&with(note(DESCRIPTOR + 32, start, "critical cpu_id")), "notes", "0x403020, where no descriptor is");
    violates(&with(note(DESCRIPTOR, start - 1, "critical cpu_id")), "notes", "outside of it");
    violates(&with(note(DESCRIPTOR, start, "prepare cpu_id")), "notes", "armed by its own descriptor");
    violates(&prepare().with_note("critical cpu_id"), "notes", "armed by the thread's descriptor");
    // The second is as far away from what it is about as the first is long.
    let first = note(DESCRIPTOR, start, "critical cpu_id");
    let length = first.len() as u64;
    let twice = [first, note(DESCRIPTOR - length, start - length, "critical cpu_id")].concat();
    violates(&with(twice), "notes", "has 2 notes");
    violates(&with(corpus::note(1, &[0; 12])), "notes", "too short");
    violates(&with(corpus::note(1, &[1; 20])), "notes", "no end");
    violates(&with(corpus::note(2, &[0; 4])), "notes", "behind an arming");
    let mut cut = note(DESCRIPTOR, start, "critical cpu_id");
    cut.truncate(40);
    violates(&with(cut), "notes", "outside of the section");
}

#[test]
fn forms_of_descriptors() {
    violates(&classic().edit(|content| content.descriptors[0][0] = 1), "descriptor", "version 1");
    violates(&classic().edit(|content| content.descriptors[0][0] = 4 << 32), "descriptor", "flags 0x4");
}

#[test]
fn descriptors_are_aligned() {
    let misaligned = classic().edit(|content| {
        content.at += 8;
        content.pointers = Some(vec![content.at]);
    });
    // Code arms what is no descriptor any more.
    let findings = findings(&misaligned.build());
    assert!(names(&findings, Severity::Violation).contains(&"descriptor"), "{findings:#?}");
}

#[test]
fn windows_in_code() {
    let length = |length: u64| classic().edit(move |content| content.descriptors[0][2] = length);
    violates(&length(0), "window", "length is 0");
    let found = findings(&length(u64::MAX).build());
    assert!(found.iter().any(|finding| finding.what.contains("beyond the last address")), "{found:#?}");
    let found = findings(&length(70_000).build());
    assert!(found.iter().any(|finding| finding.what.contains("70000 bytes")), "{found:#?}");
    let found = findings(&classic().edit(|content| content.is_data = true).build());
    assert!(found.iter().any(|finding| finding.what.contains("isn't all in executable memory")), "{found:#?}");
}

#[test]
fn abort_handlers_outside_of_the_window() {
    // The signature stands there, as an operand of a harmless instruction.
    let inside = classic()
        .before("commit", &[0x41, 0xb8, 0x53, 0x30, 0x05, 0x53]) // mov r8d, signature
        .edit(|content| content.descriptors[0][3] = content.label("commit"))
        .with("other cpu", Line::Near(vec![0x0f, 0x85], "exit"));
    violates(&inside, "abort", "inside of its window");
    let elsewhere = classic()
        .with("other cpu", Line::Near(vec![0x0f, 0x85], "exit"))
        .edit(|content| content.descriptors[0][3] = 0x40_3020);
    let found = findings(&elsewhere.build());
    assert_eq!(names(&found, Severity::Violation), ["abort", "signature"], "{found:#?}");
}

#[test]
fn signatures() {
    violates(&classic().with_bytes("signature", &[0x53, 0x30, 0x05, 0x54]), "signature", "0x54053053");
}

#[test]
fn windows_of_whole_instructions() {
    violates(&classic().edit(|content| content.descriptors[0][2] -= 1), "instructions", "in the middle");
    violates(&classic().with_bytes("compare", &[0x06, 0x90, 0x90]), "instructions", "can't be disassembled");
}

#[test]
fn one_store_at_the_end() {
    violates(&classic().with_bytes("commit", &[0x48, 0x8b, 0x3a]), "commit", "stores nothing"); // mov rdi, [rdx]
    violates(&classic().with_bytes("commit", &[0xf3, 0xa4]), "commit", "several steps"); // rep movsb
    is_good(&classic().with_bytes("commit", &[0x48, 0x01, 0x3a])); // add [rdx], rdi
    is_good(&classic().with_bytes("commit", &[0x66, 0x89, 0x3a])); // mov [rdx], di
}

#[test]
fn stores_before_the_commit() {
    let stores = || classic().before("commit", &[0x49, 0x89, 0x38]); // mov [r8], rdi
    remarks(&stores(), "stores");
    is_good(&stores().with_note("critical cpu_id"));
}

#[test]
fn branches_to_known_places() {
    violates(&classic().with("leave", Line::Near(vec![0x0f, 0x85], "done")), "branches", "isn't listed");
    violates(&classic().with_bytes("compare", &[0x74, 0xfd, 0x90]), "branches", "middle of an instruction"); // je to its second byte
    is_good(&classic().with("leave", Line::Near(vec![0x0f, 0x85], "start")));
    is_good(&classic().with("leave", Line::Near(vec![0x0f, 0x85], "abort")));
    // Nobody says where the window may be left to.
    remarks(&classic().edit(|content| content.exits = None), "branches");
    // By way of what goes on to a listed place.
    remarks(&classic().with("leave", Line::Near(vec![0x0f, 0x85], "teardown")), "branches");
}

#[test]
fn nothing_is_called() {
    let with = |bytes: &[u8]| classic().before("commit", bytes);
    violates(&with(&[0x0f, 0x05]), "calls", "calls the kernel"); // syscall
    violates(&with(&[0xcd, 0x80]), "calls", "calls the kernel"); // int 0x80
    violates(&with(&[0x0f, 0x34]), "calls", "calls the kernel"); // sysenter
    violates(&with(&[0xcc]), "calls", "traps"); // int3
    violates(&with(&[0x0f, 0x0b]), "calls", "traps"); // ud2
    violates(&with(&[0xff, 0xe0]), "calls", "only a register or memory"); // jmp rax
    violates(&with(&[0xff, 0xd0]), "calls", "calls a function"); // call rax
    violates(&with(&[0xe8, 0x10, 0, 0, 0]), "calls", "calls a function"); // call
    violates(&with(&[0xc3]), "calls", "returns"); // ret
}

#[test]
fn the_stack_pointer_stays() {
    let with = |bytes: &[u8]| classic().before("commit", bytes).with_note("critical cpu_id");
    violates(&with(&[0x50]), "stack", "changes the stack pointer"); // push rax
    violates(&with(&[0x58]), "stack", "changes the stack pointer"); // pop rax
    violates(&with(&[0x48, 0x83, 0xec, 0x08]), "stack", "changes the stack pointer"); // sub rsp, 8
    is_good(&with(&[0x48, 0x8b, 0x44, 0x24, 0x08])); // mov rax, [rsp + 8]
}

#[test]
fn nothing_is_written_to_the_area() {
    let with = |bytes: &[u8]| classic().before("commit", bytes).with_note("critical cpu_id");
    violates(&with(&[0x64, 0xc7, 0x01, 0, 0, 0, 0]), "area", "cpu_id_start"); // mov dword ptr fs:[rcx], 0
    violates(&with(&[0x64, 0xc7, 0x41, 0x04, 0, 0, 0, 0]), "area", "cpu_id"); // ..fs:[rcx + 4]
    violates(&with(&[0x64, 0x48, 0xc7, 0x41, 0x08, 0, 0, 0, 0]), "area", "rseq_cs"); // mov qword ptr fs:[rcx + 8], 0
    violates(&with(&[0x64, 0xc6, 0x41, 0x17, 0]), "area", "node_id"); // mov byte ptr fs:[rcx + 0x17], 0
    violates(&with(&[0x64, 0xc7, 0x41, 0x18, 0, 0, 0, 0]), "area", "mm_cid"); // ..fs:[rcx + 0x18]
    is_good(&with(&[0x64, 0xc7, 0x41, 0x20, 0, 0, 0, 0])); // behind it
    is_good(&with(&[0xc7, 0x41, 0x04, 0, 0, 0, 0])); // another place
    // The register is no longer the area's.
    is_good(&with(&[0x31, 0xc9, 0x64, 0xc7, 0x41, 0x04, 0, 0, 0, 0])); // xor ecx, ecx; mov dword ptr fs:[rcx + 4], 0
    let prepared = prepare().before("commit", &[0xc7, 0x41, 0x18, 0, 0, 0, 0]).with_note("prepare mm_cid"); // mov dword ptr [rcx + 0x18], 0
    violates(&prepared, "area", "mm_cid");
}

#[test]
fn the_window_s_descriptor_is_armed() {
    let another = |content: &mut corpus::Content| {
        // A second window of the same code, so that there is another descriptor.
        content.descriptors.push(content.descriptors[0]);
        content.pointers = Some(vec![DESCRIPTOR, DESCRIPTOR + 32]);
    };
    let found = findings(&classic().edit(another).build());
    assert_eq!(names(&found, Severity::Violation), ["arming"], "{found:#?}");
    assert!(found[0].what.contains("arms the descriptor 0x403000; this window's is 0x403020"), "{found:#?}");
    violates(&classic().with_bytes("arm", &[0x90; 5]), "arming", "nothing that leads to the window");
    violates(&classic().before("start", &[0x90]), "arming", "between arming and the start");
    // A function is called in between, which may do anything to rax.
    remarks(&classic().before("arm", &[0xe8, 0x10, 0, 0, 0]), "arming");
    // The address that it stores comes from further away.
    remarks(&classic().with_bytes("address", &[0x48, 0x8b, 0x02]), "arming"); // mov rax, [rdx]
}

#[test]
fn descriptors_are_found_by_other_ways() {
    is_good(&classic().with("address", Line::Near(vec![0x48, 0x8b, 0x05], "got"))); // mov rax, [got]
    is_good(&classic().with_bytes("address", &[0xb8, 0x00, 0x30, 0x40, 0x00])); // mov eax, descriptor
    let immediate = classic()
        .with_bytes("address", &[0x90])
        .with_bytes("arm", &[0x64, 0x48, 0xc7, 0x41, 0x08, 0x00, 0x30, 0x40, 0x00]);
    is_good(&immediate); // mov qword ptr fs:[rcx + 8], descriptor
}

#[test]
fn the_window_is_published() {
    violates(&prepare().with_bytes("handler", &[0x90; 7]), "arming", "isn't told the window's abort handler");
    violates(
        &prepare().with("handler", Line::Near(vec![0x4c, 0x8d, 0x1d], "exit")),
        "arming",
        "is told the abort handler",
    );
    violates(&prepare().with_bytes("publish", &[0x90; 4]), "arming", "nothing that leads to the window");
    let shifted = prepare().edit(|content| {
        content.descriptors.push(content.descriptors[0]);
        content.descriptors[1][2] += 8;
        content.pointers = Some(vec![DESCRIPTOR, DESCRIPTOR + 32]);
    });
    let found = findings(&shifted.build());
    assert!(
        found.iter().any(|finding| finding.what.contains("is told the length 0x16; this window's is 0x1e")),
        "{found:#?}"
    );
}

#[test]
fn published_windows_ask_whether_they_are_armed() {
    violates(
        &prepare().with_bytes("armed", &[0x90; 4]).with_bytes("not armed", &[0x90; 6]),
        "armed",
        "doesn't begin by asking",
    );
    violates(&prepare().with_bytes("not armed", &[0x90; 6]), "armed", "doesn't begin by asking");
    violates(&prepare().with("not armed", Line::Near(vec![0x0f, 0x85], "cpu")), "armed", "doesn't begin by asking");
    violates(&prepare().with_bytes("armed", &[0x48, 0x39, 0x51, 0x08]), "armed", "doesn't begin by asking"); // cmp [rcx + 8], rdx
}

#[test]
fn published_windows_are_disarmed() {
    violates(&prepare().with_bytes("disarm", &[0x90; 8]), "disarm", "doesn't disarm");
    violates(&prepare().with_bytes("disarm", &[0x48, 0xc7, 0x41, 0x10, 0, 0, 0, 0]), "disarm", "doesn't disarm"); // another place
}

#[test]
fn everything_is_found_at_once() {
    let fixture = classic()
        .with_bytes("commit", &[0x48, 0x8b, 0x3a])
        .with_bytes("signature", &[0; 4])
        .edit(|content| content.pointers = Some(Vec::new()));
    assert_eq!(names(&findings(&fixture.build()), Severity::Violation), ["pointers", "signature", "commit"]);
}

#[test]
fn the_readme_names_every_check() {
    let rows = include_str!("../../README.md").lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: Vec<&str> = rows.skip_while(|name| *name != CHECKS[0].name).collect();
    assert_eq!(rows, CHECKS.iter().map(|check| check.name).collect::<Vec<_>>());
}

#[test]
fn files_without_sections() {
    let bytes = corpus::File::new(object::elf::EM_X86_64).build();
    let image = Image::parse(&bytes).expect("it is an ELF file");
    assert!(matches!(Binary::read(&image), Err(Error::NoSections)));
}
