//! Small ELF files with one restartable section each, made from lines of machine code by name: so
//! that each test changes one of them.

use std::collections::BTreeMap;

use object::write::elf::{FileHeader, ProgramHeader, SectionHeader, Writer};
use object::{Endianness, elf};

/// Where the code is.
pub const TEXT: u64 = 0x40_1000;
/// Where the descriptor is.
pub const DESCRIPTOR: u64 = 0x40_3000;
const POINTERS: u64 = 0x40_4000;
const EXITS: u64 = 0x40_5000;
const NOTES: u64 = 0x40_6000;
const GOT: u64 = 0x40_7000;
const RELOCATIONS: u64 = 0x40_8000;

/// A line of code.
#[derive(Clone)]
pub enum Line {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, and how far it is from behind them to a label, in four.
    Near(Vec<u8>, &'static str),
    /// Nothing: the label of what follows.
    Label,
}

/// The sections for tools.
pub struct Content {
    pub labels: BTreeMap<&'static str, u64>,
    /// Version and flags in one word, start, length, abort handler.
    pub descriptors: Vec<[u64; 4]>,
    pub pointers: Option<Vec<u64>>,
    pub exits: Option<Vec<[u64; 2]>>,
    pub notes: Vec<u8>,
    /// Behind the last whole descriptor.
    pub leftover: Vec<u8>,
    /// Where the descriptors are.
    pub at: u64,
    /// The code isn't executable.
    pub is_data: bool,
}

impl Content {
    pub fn label(&self, name: &str) -> u64 {
        self.labels[name]
    }
}

type Edit = Box<dyn Fn(&mut Content)>;

/// A section.
pub struct Fixture {
    lines: Vec<(&'static str, Line)>,
    edits: Vec<Edit>,
}

fn bytes(name: &'static str, bytes: &[u8]) -> (&'static str, Line) {
    (name, Line::Bytes(bytes.to_vec()))
}

fn near(name: &'static str, opcode: &[u8], label: &'static str) -> (&'static str, Line) {
    (name, Line::Near(opcode.to_vec(), label))
}

fn label(name: &'static str) -> (&'static str, Line) {
    (name, Line::Label)
}

impl Fixture {
    /// As librseq has it: armed by its own descriptor, with a check of the CPU and an exit.
    pub fn classic() -> Self {
        Self::new(vec![
            near("address", &[0x48, 0x8d, 0x05], "descriptor"), // lea rax, [descriptor]
            bytes("arm", &[0x64, 0x48, 0x89, 0x41, 0x08]),      // mov fs:[rcx + 8], rax
            label("start"),
            bytes("cpu", &[0x64, 0x39, 0x71, 0x04]),   // cmp fs:[rcx + 4], esi
            near("other cpu", &[0x0f, 0x85], "abort"), // jne abort
            bytes("compare", &[0x4c, 0x3b, 0x0a]),     // cmp r9, [rdx]
            near("leave", &[0x0f, 0x85], "exit"),      // jne exit
            bytes("commit", &[0x48, 0x89, 0x3a]),      // mov [rdx], rdi
            label("post"),
            bytes("done", &[0xc3]), // ret
            label("exit"),
            bytes("left", &[0x31, 0xc0, 0xc3]), // xor eax, eax; ret
            near("teardown", &[0xe9], "exit"),  // jmp exit
            bytes("trap", &[0x0f, 0xb9, 0x3d]), // ud1
            bytes("signature", &[0x53, 0x30, 0x05, 0x53]),
            label("abort"),
            near("again", &[0xe9], "exit"), // jmp exit
        ])
    }

    /// As rseq-dsl has it with a `prepare`: the thread's descriptor is in rax, the area in rcx.
    pub fn prepare() -> Self {
        Self::new(vec![
            near("handler", &[0x4c, 0x8d, 0x1d], "abort"),          // lea r11, [abort]
            near("content", &[0x0f, 0x10, 0x05], "descriptor + 8"), // movups xmm0, [descriptor + 8]
            bytes("publish", &[0x0f, 0x11, 0x40, 0x08]),            // movups [rax + 8], xmm0
            label("start"),
            bytes("armed", &[0x48, 0x39, 0x41, 0x08]), // cmp [rcx + 8], rax
            near("not armed", &[0x0f, 0x85], "exit"),  // jne exit
            bytes("cpu", &[0x39, 0x51, 0x04]),         // cmp [rcx + 4], edx
            near("other cpu", &[0x0f, 0x85], "exit"),  // jne exit
            bytes("commit", &[0x48, 0x89, 0x3e]),      // mov [rsi], rdi
            label("post"),
            bytes("disarm", &[0x48, 0xc7, 0x41, 0x08, 0, 0, 0, 0]), // mov qword ptr [rcx + 8], 0
            bytes("done", &[0xc3]),                                 // ret
            label("exit"),
            bytes("left", &[0x31, 0xc0, 0xc3]), // xor eax, eax; ret
            bytes("trap", &[0x0f, 0xb9, 0x3d]), // ud1
            bytes("signature", &[0x53, 0x30, 0x05, 0x53]),
            label("abort"),
            near("again", &[0xe9], "exit"), // jmp exit
        ])
    }

    fn new(lines: Vec<(&'static str, Line)>) -> Self {
        Self { lines, edits: Vec::new() }
    }

    /// Another line instead of this one.
    pub fn with(mut self, name: &str, line: Line) -> Self {
        *self.line(name) = line;
        self
    }

    /// Other bytes instead of this line.
    pub fn with_bytes(self, name: &str, bytes: &[u8]) -> Self {
        self.with(name, Line::Bytes(bytes.to_vec()))
    }

    /// These bytes in front of a line.
    pub fn before(mut self, name: &str, new: &[u8]) -> Self {
        let at = self.lines.iter().position(|(line, _)| *line == name).expect("there is such a line");
        self.lines.insert(at, bytes("new", new));
        self
    }

    /// Other content of the sections for tools.
    pub fn edit(mut self, edit: impl Fn(&mut Content) + 'static) -> Self {
        self.edits.push(Box::new(edit));
        self
    }

    /// With a note about the window.
    pub fn with_note(self, kind: &'static str) -> Self {
        self.edit(move |content| {
            let (descriptor, checked) = (content.descriptors[0], content.label("commit"));
            assert_ne!(descriptor[1], 0);
            content.notes = note(1, &window_note(content.at, checked, kind));
        })
    }

    fn line(&mut self, name: &str) -> &mut Line {
        &mut self.lines.iter_mut().find(|(line, _)| *line == name).expect("there is such a line").1
    }

    fn labels(&self) -> BTreeMap<&'static str, u64> {
        let mut labels = BTreeMap::from([
            ("descriptor", DESCRIPTOR),
            ("descriptor + 8", DESCRIPTOR + 8),
            ("elsewhere", DESCRIPTOR + 32),
            ("got", GOT),
        ]);
        let mut next = TEXT;
        for (name, line) in &self.lines {
            labels.insert(name, next);
            next += match line {
                Line::Bytes(bytes) => bytes.len() as u64,
                Line::Near(opcode, _) => opcode.len() as u64 + 4,
                Line::Label => 0,
            };
        }
        labels
    }

    fn code(&self, labels: &BTreeMap<&'static str, u64>) -> Vec<u8> {
        let mut code = Vec::new();
        for (_, line) in &self.lines {
            match line {
                Line::Bytes(bytes) => code.extend(bytes),
                Line::Near(opcode, label) => {
                    let behind = TEXT + (code.len() + opcode.len()) as u64 + 4;
                    code.extend(opcode);
                    code.extend((labels[label].wrapping_sub(behind) as u32).to_le_bytes());
                }
                Line::Label => {}
            }
        }
        code
    }

    /// The sections for tools.
    pub fn content(&self) -> Content {
        let labels = self.labels();
        let [start, post, abort, exit] = ["start", "post", "abort", "exit"].map(|name| labels[name]);
        let mut content = Content {
            labels,
            descriptors: vec![[0, start, post - start, abort]],
            pointers: Some(vec![DESCRIPTOR]),
            exits: Some(vec![[start, exit]]),
            notes: Vec::new(),
            leftover: Vec::new(),
            at: DESCRIPTOR,
            is_data: false,
        };
        for edit in &self.edits {
            edit(&mut content);
        }
        content
    }

    /// The executable.
    pub fn build(&self) -> Vec<u8> {
        let content = self.content();
        let execute = if content.is_data { elf::SHF_WRITE } else { elf::SHF_EXECINSTR };
        let mut descriptors = words(content.descriptors.as_flattened());
        descriptors.extend(&content.leftover);
        let mut file = File::new(elf::EM_X86_64);
        file.section(".text", TEXT, execute, self.code(&content.labels));
        file.section("__rseq_cs", content.at, elf::SHF_WRITE, descriptors);
        if let Some(pointers) = &content.pointers {
            file.section("__rseq_cs_ptr_array", POINTERS, elf::SHF_WRITE, words(pointers));
        }
        if let Some(exits) = &content.exits {
            file.section("__rseq_exit_point_array", EXITS, elf::SHF_WRITE, words(exits.as_flattened()));
        }
        if !content.notes.is_empty() {
            file.section(".note.rseq", NOTES, 0, content.notes.clone());
        }
        file.section(".got", GOT, elf::SHF_WRITE, words(&[DESCRIPTOR]));
        file.build()
    }

    /// The same in a file that can be loaded anywhere: words are 0, and relocations have their
    /// values.
    pub fn build_relocated(&self, by: Relocated) -> Vec<u8> {
        let content = self.content();
        let mut file = File::new(elf::EM_X86_64);
        file.e_type = elf::ET_DYN;
        file.section(".text", TEXT, elf::SHF_EXECINSTR, self.code(&content.labels));
        let sections = [
            ("__rseq_cs", DESCRIPTOR, content.descriptors.as_flattened().to_vec()),
            ("__rseq_cs_ptr_array", POINTERS, content.pointers.unwrap_or_default()),
            ("__rseq_exit_point_array", EXITS, content.exits.unwrap_or_default().as_flattened().to_vec()),
            (".got", GOT, vec![DESCRIPTOR]),
        ];
        let mut relocations = Vec::new();
        for (name, address, mut content) in sections {
            for (number, word) in content.iter_mut().enumerate().filter(|(_, word)| **word >= TEXT) {
                relocations.push((address + 8 * number as u64, *word));
                if by == Relocated::Rela {
                    *word = 0;
                }
            }
            file.section(name, address, elf::SHF_WRITE, words(&content));
        }
        match by {
            Relocated::Rela => {
                let rela: Vec<u64> =
                    relocations.iter().flat_map(|(at, word)| [*at, u64::from(elf::R_X86_64_RELATIVE), *word]).collect();
                file.table(".rela.dyn", RELOCATIONS, elf::SHT_RELA, 24, words(&rela));
            }
            Relocated::Relr => {
                let addresses: Vec<u64> = relocations.iter().map(|(at, _)| *at).collect();
                file.table(".relr.dyn", RELOCATIONS, elf::SHT_RELR, 8, words(&addresses));
            }
        }
        file.build()
    }
}

/// Where the values of relocated words are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Relocated {
    Rela,
    Relr,
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A note of rseq-dsl's.
pub fn note(ty: u32, description: &[u8]) -> Vec<u8> {
    let mut note: Vec<u8> = [5, description.len() as u32, ty].iter().flat_map(|word| word.to_le_bytes()).collect();
    note.extend(b"rseq\0\0\0\0");
    note.extend(description);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// The first note, about a window.
pub fn window_note(descriptor: u64, checked: u64, kind: &str) -> Vec<u8> {
    let at = NOTES + 20;
    let mut description: Vec<u8> = [descriptor.wrapping_sub(at) as u32, checked.wrapping_sub(at + 4) as u32, 7, 5]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    description.extend(format!("src/queue.rs\0{kind}\0store(slot, next)\0").bytes());
    description
}

/// An ELF file with one segment for each section.
pub struct File {
    machine: u16,
    pub is_64: bool,
    pub endian: Endianness,
    pub e_type: u16,
    sections: Vec<Section>,
}

struct Section {
    name: &'static str,
    address: u64,
    flags: u32,
    ty: u32,
    entry: u64,
    bytes: Vec<u8>,
}

impl File {
    pub fn new(machine: u16) -> Self {
        Self { machine, is_64: true, endian: Endianness::Little, e_type: elf::ET_EXEC, sections: Vec::new() }
    }

    pub fn section(&mut self, name: &'static str, address: u64, flags: u32, bytes: Vec<u8>) {
        self.sections.push(Section { name, address, flags, ty: elf::SHT_PROGBITS, entry: 0, bytes });
    }

    pub fn table(&mut self, name: &'static str, address: u64, ty: u32, entry: u64, bytes: Vec<u8>) {
        self.sections.push(Section { name, address, flags: 0, ty, entry, bytes });
    }

    pub fn build(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(self.endian, self.is_64, &mut out);
        writer.reserve_file_header();
        writer.reserve_program_headers(self.sections.len() as u32);
        let places: Vec<_> = self
            .sections
            .iter()
            .map(|section| (writer.add_section_name(section.name.as_bytes()), writer.reserve(section.bytes.len(), 8)))
            .collect();
        for _ in &self.sections {
            writer.reserve_section_index();
        }
        writer.reserve_shstrtab_section_index();
        writer.reserve_shstrtab();
        writer.reserve_section_headers();
        writer
            .write_file_header(&FileHeader {
                os_abi: 0,
                abi_version: 0,
                e_type: self.e_type,
                e_machine: self.machine,
                e_entry: TEXT,
                e_flags: 0,
            })
            .expect("what was reserved is a valid header");
        for (section, (_, offset)) in self.sections.iter().zip(&places) {
            let size = section.bytes.len() as u64;
            writer.write_program_header(&ProgramHeader {
                p_type: elf::PT_LOAD,
                p_flags: elf::PF_R | if section.flags & elf::SHF_EXECINSTR != 0 { elf::PF_X } else { 0 },
                p_offset: *offset as u64,
                p_vaddr: section.address,
                p_paddr: section.address,
                p_filesz: size,
                p_memsz: size,
                p_align: 1,
            });
        }
        for (section, (_, offset)) in self.sections.iter().zip(&places) {
            writer.pad_until(*offset);
            writer.write(&section.bytes);
        }
        writer.write_shstrtab();
        writer.write_null_section_header();
        for (section, (name, offset)) in self.sections.iter().zip(&places) {
            writer.write_section_header(&SectionHeader {
                name: Some(*name),
                sh_type: section.ty,
                sh_flags: u64::from(section.flags | elf::SHF_ALLOC),
                sh_addr: section.address,
                sh_offset: *offset as u64,
                sh_size: section.bytes.len() as u64,
                sh_link: 0,
                sh_info: 0,
                sh_addralign: 1,
                sh_entsize: section.entry,
            });
        }
        writer.write_shstrtab_section_header();
        out
    }
}
