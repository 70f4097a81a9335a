//! The files that are read: every machine, both byte orders, both widths, relocated in each way,
//! and relocatable.

use super::corpus::{self, DESCRIPTOR, File, Fixture, Relocated, TEXT};
use cargo_rseq::elf::{self, Image};
use cargo_rseq::verify::Severity;
use cargo_rseq::{Binary, Error};
use object::write::{Object, Relocation, StandardSection, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

/// The machines, their signatures and what there is to know: `RSEQ_SIG` of the kernel's selftests.
const MACHINES: &[(u16, bool, Endianness, &str, u32)] = &[
    (object::elf::EM_X86_64, true, Endianness::Little, "x86_64", 0x5305_3053),
    (object::elf::EM_386, false, Endianness::Little, "i686", 0x5305_3053),
    (object::elf::EM_AARCH64, true, Endianness::Little, "aarch64", 0xd428_bc00),
    (object::elf::EM_ARM, false, Endianness::Little, "arm", 0xe7f5_def3),
    (object::elf::EM_ARM, false, Endianness::Big, "arm", 0xe7f5_def3),
    (object::elf::EM_RISCV, true, Endianness::Little, "riscv64", 0xf140_1073),
    (object::elf::EM_S390, true, Endianness::Big, "s390x", 0xb2ff_0fff),
    (object::elf::EM_PPC64, true, Endianness::Little, "powerpc64", 0x0fe5_000b),
    (object::elf::EM_PPC64, true, Endianness::Big, "powerpc64", 0x0fe5_000b),
    (object::elf::EM_LOONGARCH, true, Endianness::Little, "loongarch64", 0x002a_0010),
];

#[test]
fn machines() {
    for &(machine, is_64, endian, name, signature) in MACHINES {
        let is_big = endian == Endianness::Big;
        let word = |word: u64| if is_big { word.to_be_bytes() } else { word.to_le_bytes() };
        let words = |words: &[u64]| words.iter().flat_map(|number| word(*number)).collect::<Vec<u8>>();
        let mut code = vec![0; 32];
        code.extend(if is_big { signature.to_be_bytes() } else { signature.to_le_bytes() });
        code.extend([0; 4]);
        let mut file = File::new(machine);
        (file.is_64, file.endian) = (is_64, endian);
        file.section(".text", TEXT, object::elf::SHF_EXECINSTR, code);
        file.section("__rseq_cs", DESCRIPTOR, object::elf::SHF_WRITE, words(&[0, TEXT + 8, 16, TEXT + 36]));
        file.section("__rseq_cs_ptr_array", DESCRIPTOR + 0x1000, object::elf::SHF_WRITE, words(&[DESCRIPTOR]));
        let bytes = file.build();
        let image = Image::parse(&bytes).expect("it is an ELF file");
        assert_eq!((image.architecture().to_string().as_str(), image.architecture().signature()), (name, signature));
        let binary = Binary::read(&image).expect("it has a window");
        let row = &binary.list()[0];
        assert_eq!(
            (row.start.0, row.size, row.abort.0, row.descriptor.0),
            (TEXT + 8, 16, TEXT + 36, DESCRIPTOR),
            "{name}"
        );
        // All that needs no disassembler is right; of the code nobody says that it is.
        let report = binary.verify();
        let of_code = ["commit", "instructions", "calls", "arming", "branches", "stores", "stack"];
        let found: Vec<_> = report.violations().filter(|finding| !of_code.contains(&finding.check)).collect();
        assert!(found.is_empty(), "{name}: {found:#?}");
        assert_eq!(report.not_done.is_empty(), matches!(name, "x86_64" | "i686"), "{name}");
        assert_eq!(report.not_done_because.is_some(), !report.not_done.is_empty());
    }
}

#[test]
fn other_machines_are_refused() {
    let bytes = File::new(object::elf::EM_MIPS).build();
    let error = Image::parse(&bytes).expect_err("it isn't known");
    assert!(matches!(error, Error::Machine { machine: object::elf::EM_MIPS }), "{error}");
    assert!(error.to_string().contains("s390x"), "{error}");
}

#[test]
fn relocated_words() {
    for by in [Relocated::Rela, Relocated::Relr] {
        for fixture in [Fixture::classic(), Fixture::prepare()] {
            let bytes = fixture.build_relocated(by);
            let image = Image::parse(&bytes).expect("it is an ELF file");
            let binary = Binary::read(&image).expect("it has a window");
            assert_eq!(binary.list()[0].start.0, fixture.content().label("start"));
            let findings = binary.verify().findings;
            assert!(findings.is_empty(), "{findings:#?}");
        }
    }
}

/// The output of an assembler for a section as librseq has it: the descriptor refers to code, and
/// code to what is elsewhere, by relocations.
#[test]
fn relocatable_files() {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, object::Endianness::Little);
    let text = object.section_id(StandardSection::Text);
    let cold = object.add_section(Vec::new(), b".text.unlikely".to_vec(), SectionKind::Text);
    let [descriptors, pointers, exits] = ["__rseq_cs", "__rseq_cs_ptr_array", "__rseq_exit_point_array"]
        .map(|name| object.add_section(Vec::new(), name.into(), SectionKind::Data));
    #[rustfmt::skip]
    let code = [
        0x48, 0x8d, 0x05, 0, 0, 0, 0, // lea rax, [descriptor]
        0x64, 0x48, 0x89, 0x41, 0x08, // mov fs:[rcx + 8], rax
        0x0f, 0x85, 0, 0, 0, 0,       // jne abort
        0x48, 0x89, 0x3a,             // mov [rdx], rdi
        0xc3,                         // ret
    ];
    object.append_section_data(text, &code, 16);
    object.append_section_data(cold, &[0x0f, 0xb9, 0x3d, 0x53, 0x30, 0x05, 0x53, 0xc3], 1);
    object.append_section_data(descriptors, &[[0; 16].as_slice(), &9_u64.to_le_bytes(), &[0; 8]].concat(), 32);
    object.append_section_data(pointers, &[0; 8], 8);
    object.append_section_data(exits, &[0; 16], 8);
    object.add_symbol(Symbol {
        name: b"add_one".to_vec(),
        value: 0,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    let symbols = [text, cold, descriptors].map(|section| object.section_symbol(section));
    let [in_text, in_cold, in_descriptors] = symbols;
    let (word, near) = (object::elf::R_X86_64_64, object::elf::R_X86_64_PC32);
    for (section, offset, r_type, symbol, addend) in [
        (text, 3, near, in_descriptors, -4),
        (text, 14, near, in_cold, 7 - 4),
        (descriptors, 8, word, in_text, 12),
        (descriptors, 24, word, in_cold, 7),
        (pointers, 0, word, in_descriptors, 0),
        (exits, 0, word, in_text, 12),
        (exits, 8, word, in_cold, 7),
    ] {
        let flags = RelocationFlags::Elf { r_type };
        object.add_relocation(section, Relocation { offset, symbol, addend, flags }).expect("it is known");
    }
    let bytes = object.write().expect("it is whole");
    let image = Image::parse(&bytes).expect("it is an ELF file");
    assert!(image.is_relocatable());
    let binary = Binary::read(&image).expect("it has a window");
    let row = &binary.list()[0];
    assert_eq!((row.function.as_deref(), row.operation.as_deref()), (Some("add_one"), Some("mov [rdx], rdi")));
    let findings = binary.verify().findings;
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn sections_of_tcmalloc_s_kind() {
    // No array of exits, a descriptor from the global offset table, a signature in a `nop`, and a
    // branch to behind the window.
    let fixture = Fixture::classic()
        .with("address", corpus::Line::Near(vec![0x48, 0x8b, 0x05], "got"))
        .with_bytes("trap", &[0x0f, 0x1f, 0x05])
        .with("leave", corpus::Line::Near(vec![0x0f, 0x86], "post"))
        .edit(|content| content.exits = None);
    for bytes in [fixture.build(), fixture.build_relocated(Relocated::Rela)] {
        let image = Image::parse(&bytes).expect("it is an ELF file");
        let report = Binary::read(&image).expect("it has a window").verify();
        assert!(report.findings.iter().all(|finding| finding.severity == Severity::Remark), "{report:#?}");
        assert!(report.findings.iter().any(|finding| finding.check == "branches"));
    }
}

#[test]
fn files_that_are_none() {
    let directory = tempfile::tempdir().expect("there is room");
    assert!(matches!(elf::read(directory.path()), Err(Error::NotAFile(_))));
    assert!(matches!(elf::read(&directory.path().join("none")), Err(Error::Unreadable { .. })));
    for bytes in [b"".as_slice(), b"\x7fELF", b"#!/bin/sh\n", &[0; 4096]] {
        assert!(matches!(Image::parse(bytes), Err(Error::Elf(_))));
    }
}

#[test]
fn more_than_is_looked_at() {
    let many = Fixture::classic().edit(|content| content.descriptors = vec![content.descriptors[0]; 70_000]);
    let bytes = many.build();
    let image = Image::parse(&bytes).expect("it is an ELF file");
    assert!(matches!(Binary::read(&image), Err(Error::TooManyWindows(70_000))));
    let long = Fixture::classic().edit(|content| {
        content.descriptors = vec![content.descriptors[0]; 1_000];
        content.descriptors.iter_mut().for_each(|descriptor| descriptor[2] = 60_000);
    });
    let bytes = long.build();
    let image = Image::parse(&bytes).expect("it is an ELF file");
    assert!(matches!(Binary::read(&image), Err(Error::TooMuchCode(60_000_000))));
}
