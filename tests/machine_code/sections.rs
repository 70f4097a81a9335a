//! The rseq sections of an executable, read from its file: words that the loader fills in are what
//! its relocations say.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::Path;

use object::elf::R_X86_64_RELATIVE;
use object::{Object, ObjectSection, RelocationFlags};
use rseq::abi::Descriptor;

/// The three sections and the notes, checked for what the kernel and tools expect of them.
#[derive(Debug)]
pub struct Sections {
    pub descriptors: Vec<Descriptor>,
    /// Descriptors to which `__rseq_cs_ptr_array` points.
    pub pointers: Vec<u64>,
    /// Pairs of a window's start and an address outside to which it may be left.
    pub exits: Vec<[u64; 2]>,
    /// The notes of windows.
    pub notes: Vec<Note>,
    /// The addresses at which a thread descriptor has just come into force.
    pub armed: Vec<u64>,
    /// `true` if rust-lld left its name.
    pub is_linked_by_lld: bool,
    first: u64,
    /// The four bytes before each abort handler.
    signatures: Vec<u32>,
}

/// A note of type 1.
#[derive(Debug)]
pub struct Note {
    pub descriptor: u64,
    /// The first instruction behind the window's checks.
    pub checked: u64,
    pub line: u32,
    pub column: u32,
    /// File, kind and operation.
    pub texts: [String; 3],
}

impl Sections {
    pub fn of(executable: &Path) -> Self {
        let file = std::fs::read(executable).expect("it is there");
        let file = object::File::parse(&*file).expect("the executable is an ELF file");
        let (first, descriptors) = words(&file, "__rseq_cs");
        let descriptors: Vec<Descriptor> = descriptors.as_chunks().0.iter().map(descriptor).collect();
        let (notes, armed) = notes(&file);
        let comment = file.section_by_name(".comment").and_then(|section| section.data().ok()).unwrap_or_default();
        Self {
            pointers: words(&file, "__rseq_cs_ptr_array").1,
            exits: words(&file, "__rseq_exit_point_array").1.as_chunks().0.to_vec(),
            notes,
            armed,
            is_linked_by_lld: comment.windows(11).any(|text| text == b"Linker: LLD"),
            first,
            signatures: descriptors.iter().map(|descriptor| signature(&file, descriptor)).collect(),
            descriptors,
        }
    }

    /// Panics with what is wrong, if anything is.
    pub fn check(&self, signature: u32) {
        assert!(!self.descriptors.is_empty());
        assert_eq!(self.first % align_of::<Descriptor>() as u64, 0);
        let expected: Vec<u64> = (0..self.descriptors.len() as u64).map(|index| self.first + index * 32).collect();
        let mut pointers = self.pointers.clone();
        pointers.sort_unstable();
        assert_eq!(pointers, expected, "each descriptor is listed once");
        let mut described: Vec<u64> = self.notes.iter().map(|note| note.descriptor).collect();
        described.sort_unstable();
        assert_eq!(described, expected, "each descriptor has a note");
        for note in &self.notes {
            let Descriptor { start_ip, post_commit_offset, .. } =
                self.descriptors[(note.descriptor - self.first) as usize / 32];
            assert!((start_ip..start_ip + post_commit_offset).contains(&note.checked), "{note:x?}");
        }
        let known = |start: u64| self.descriptors.iter().any(|descriptor| descriptor.start_ip == start);
        assert!(self.exits.iter().all(|[start, _]| known(*start)), "every exit is a window's");
        for descriptor in &self.descriptors {
            assert_eq!((descriptor.version, descriptor.flags), (0, 0), "{descriptor:x?}");
            let window = descriptor.start_ip..descriptor.start_ip + descriptor.post_commit_offset;
            assert!((8..256).contains(&descriptor.post_commit_offset), "{descriptor:x?}");
            assert!(!window.contains(&descriptor.abort_ip), "{descriptor:x?}");
            let mut exits = self.exits.iter().filter(|[start, _]| descriptor.start_ip == *start).peekable();
            assert!(exits.peek().is_some(), "every window can be left: {descriptor:x?}");
            assert!(exits.all(|[_, exit]| !window.contains(exit)), "{descriptor:x?}");
        }
        assert!(self.signatures.iter().all(|found| *found == signature), "{self:x?}");
    }
}

/// The address of a section, and its words.
fn words(file: &object::File<'_>, name: &str) -> (u64, Vec<u64>) {
    let section = file.section_by_name(name).unwrap_or_else(|| panic!("there is no section {name}"));
    let bytes = section.data().expect("it is in the file");
    let mut words: Vec<u64> = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    for (at, relocation) in file.dynamic_relocations().into_iter().flatten() {
        let word = at.checked_sub(section.address()).and_then(|offset| words.get_mut(offset as usize / 8));
        if let (Some(word), RelocationFlags::Elf { r_type: R_X86_64_RELATIVE }) = (word, relocation.flags()) {
            *word = relocation.addend().cast_unsigned();
        }
    }
    (section.address(), words)
}

fn descriptor(&[head, start, length, abort]: &[u64; 4]) -> Descriptor {
    Descriptor {
        version: head as u32,
        flags: (head >> 32) as u32,
        start_ip: start,
        post_commit_offset: length,
        abort_ip: abort,
    }
}

/// The four bytes before the abort handler.
fn signature(file: &object::File<'_>, descriptor: &Descriptor) -> u32 {
    // A section that isn't loaded has no address.
    let mut loaded = file.sections().filter(|section| section.address() != 0);
    let bytes = loaded.find_map(|section| section.data_range(descriptor.abort_ip - 4, 4).ok().flatten());
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).expect("it is in a section");
    u32::from_le_bytes(bytes)
}

/// The notes of type 1 and 2.
fn notes(file: &object::File<'_>) -> (Vec<Note>, Vec<u64>) {
    const HEADER: usize = 20;
    let section = file.section_by_name(".note.rseq").expect("windows have notes");
    let bytes = section.data().expect("it is in the file");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
    let address = |at: usize| (section.address() + at as u64).wrapping_add_signed(word(at).cast_signed().into());
    let (mut notes, mut armed, mut next) = (Vec::new(), Vec::new(), 0);
    while next < bytes.len() {
        assert_eq!((word(next), &bytes[next + 12..next + HEADER]), (5, &b"rseq\0\0\0\0"[..]));
        let (length, says) = (word(next + 4) as usize, next + HEADER);
        match word(next + 8) {
            1 => {
                let texts = bytes[says + 16..says + length].split(|byte| *byte == 0);
                let mut texts = texts.map(|text| String::from_utf8(text.to_vec()).expect("UTF-8"));
                notes.push(Note {
                    descriptor: address(says),
                    checked: address(says + 4),
                    line: word(says + 8),
                    column: word(says + 12),
                    texts: std::array::from_fn(|_| texts.next().expect("three texts")),
                });
            }
            2 => armed.push(address(says)),
            3..=5 => {}
            other => panic!("a note of type {other}"),
        }
        next = says + length;
    }
    (notes, armed)
}
