//! Broken files: whatever is in them, the answer is an error or findings, and no panic.
//! `PROPTEST_CASES` has it try more of them.

use std::io::sink;
use std::sync::LazyLock;

use super::corpus::{self, Fixture, Relocated};
use cargo_rseq::elf::Image;
use cargo_rseq::show::{self, Filter};
use cargo_rseq::{Binary, list};
use proptest::prelude::*;

/// Whole files, from which broken ones are made.
static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut files = vec![
        Fixture::classic().build(),
        Fixture::prepare().with_note("prepare cpu_id").build(),
        Fixture::classic().build_relocated(Relocated::Rela),
        Fixture::prepare().build_relocated(Relocated::Relr),
    ];
    files.extend(real());
    files
});

/// Small real ones: this compiler's own, a relocatable one and a shared object with debug
/// information. There are none where the compiler isn't.
fn real() -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().expect("there is room");
    let source = directory.path().join("section.rs");
    std::fs::write(&source, SOURCE).expect("there is room");
    let compile = |flags: &[&str]| {
        let output = directory.path().join("output");
        let mut rustc = std::process::Command::new("rustc");
        rustc
            .args(["--edition=2024", "--crate-type=cdylib", "-g", "-Cpanic=abort"])
            .args(flags)
            .arg("-o")
            .arg(&output)
            .arg(&source);
        if !rustc.status().is_ok_and(|status| status.success()) {
            println!("skipped: no file of the compiler's own, with {flags:?}");
            return None;
        }
        std::fs::read(output).ok()
    };
    [["--emit=obj"].as_slice(), &["-Clink-arg=-nostdlib"]].into_iter().filter_map(compile).collect()
}

const SOURCE: &str = r#"
    #![no_std]
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
    #[unsafe(no_mangle)]
    pub extern "C" fn add(slot: &mut u64) {
        *slot += 1;
    }
    core::arch::global_asm!(
        ".pushsection __rseq_cs, \"awR\"",
        ".balign 32",
        "22: .long 0, 0",
        ".quad 23f, 24f - 23f, 25f",
        ".popsection",
        ".pushsection .text.add, \"ax\"",
        "lea rax, [rip + 22b]",
        "mov fs:[rcx + 8], rax",
        "23: jne 25f",
        "mov [rdx], rdi",
        "24: ret",
        ".byte 0x0f, 0xb9, 0x3d",
        ".long 0x53053053",
        "25: ret",
        ".popsection",
    );
"#;

/// The compiler's files are what they are meant to be.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn whole() {
    for bytes in FILES.iter() {
        let image = Image::parse(bytes).expect("it is an ELF file");
        let binary = Binary::read(&image).expect("it has a window");
        assert_eq!(binary.verify().violations().count(), 0);
    }
    println!("{} files", FILES.len());
}

/// Everything that can be asked about a file.
fn ask(bytes: &[u8]) {
    let Ok(image) = Image::parse(bytes) else { return };
    let Ok(binary) = Binary::read(&image) else { return };
    list::write(&mut sink(), &binary.list()).expect("nothing is written");
    show::write(&mut sink(), &show::show(&binary, &Filter::All)).expect("nothing is written");
    binary.verify().write(&mut sink()).expect("nothing is written");
}

fn file() -> impl Strategy<Value = Vec<u8>> {
    (0..FILES.len()).prop_map(|number| FILES[number].clone())
}

/// Numbers that are likely to go wrong somewhere.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        any::<u32>().prop_map(u64::from),
        any::<u8>().prop_map(u64::from),
        any::<u8>().prop_map(|distance| u64::MAX - u64::from(distance)),
        (0..64_u32).prop_map(|bit| 1 << bit),
        prop::sample::select(vec![corpus::TEXT, corpus::DESCRIPTOR, 0x7fff_ffff_ffff_ffff, 0x8000_0000, 0xffff_ffff]),
    ]
}

/// Seen to go wrong: who looks for debug information adds to the address.
#[test]
fn window_at_the_last_address() {
    ask(&Fixture::classic().edit(|content| content.descriptors[0][1] = u64::MAX).build());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cut_off(bytes in file(), length: prop::sample::Index) {
        ask(&bytes[..length.index(bytes.len())]);
    }

    #[test]
    fn with_other_bytes(
        mut bytes in file(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..16),
    ) {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        ask(&bytes);
    }

    /// In the header, and in the tables of segments and sections, which begin and end the file.
    #[test]
    fn with_other_numbers(
        mut bytes in file(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<bool>(), prop::sample::select(vec![2, 4, 8]), number()), 1..8,
        ),
    ) {
        for (at, from_the_end, width, number) in changes {
            let at = at.index(bytes.len().min(1024)) & !(width - 1);
            let at = if from_the_end { (bytes.len() - 8).saturating_sub(at) } else { at };
            if let Some(field) = bytes.get_mut(at..at + width) {
                field.copy_from_slice(&number.to_le_bytes()[..width]);
            }
        }
        ask(&bytes);
    }

    /// Descriptors and arrays with anything in them.
    #[test]
    fn with_other_descriptors(
        words in prop::collection::vec([number(), number(), number(), number()], 1..8),
        exit in [number(), number()],
        pointer in number(),
    ) {
        ask(&Fixture::classic().edit(move |content| {
            content.descriptors = words.clone();
            content.exits = Some(vec![exit]);
            content.pointers = Some(vec![pointer]);
        }).build());
    }

    /// Windows of any code.
    #[test]
    fn with_other_code(code in prop::collection::vec(any::<u8>(), 1..200)) {
        ask(&Fixture::classic().with_bytes("compare", &code).build());
        ask(&Fixture::prepare().before("handler", &code).build());
    }

    /// Notes with anything in them.
    #[test]
    fn with_other_notes(notes in prop::collection::vec(any::<u8>(), 0..200), ty in 0..4_u32) {
        let bytes = corpus::note(ty, &notes);
        ask(&Fixture::classic().edit(move |content| content.notes = bytes.clone()).build());
        ask(&Fixture::classic().edit(move |content| content.notes = notes.clone()).build());
    }
}

/// As much as is looked at: it takes a while, and an end.
#[test]
#[ignore = "takes long in debug builds"]
fn as_much_as_is_looked_at() {
    let started = std::time::Instant::now();
    let many = |count: usize, length: u64| {
        let body: Vec<u8> = [0x90, 0x48, 0x89, 0x3a].repeat(0x4000);
        let bytes = Fixture::classic()
            .with_bytes("compare", &body)
            .edit(move |content| {
                content.descriptors = vec![content.descriptors[0]; count];
                content.descriptors.iter_mut().for_each(|descriptor| {
                    descriptor[1] += 0x2000;
                    descriptor[2] = length;
                });
            })
            .build();
        ask(&bytes);
        println!("{count} windows of {length} bytes: {:?}", started.elapsed());
    };
    many(1 << 16, 64);
    many(64, 1 << 16);
}
