//! Reads this program's own rseq sections, from its file for their places and from memory for their
//! contents: in a position-independent executable the words are 0 in the file.

use object::{Object, ObjectSection};
use rseq::abi::Descriptor;

/// The three sections, checked for what the kernel and tools expect of them.
#[derive(Debug)]
pub struct Sections {
    pub descriptors: Vec<Descriptor>,
    /// Descriptors to which `__rseq_cs_ptr_array` points.
    pub pointers: Vec<usize>,
    /// Pairs of a window's start and an address outside to which it may be left.
    pub exits: Vec<[usize; 2]>,
    /// The notes of windows.
    pub notes: Vec<Note>,
    /// The addresses at which a thread descriptor has just come into force.
    pub armed: Vec<usize>,
    first: usize,
}

/// A note of type 1.
#[derive(Debug)]
pub struct Note {
    pub descriptor: usize,
    /// The first instruction behind the window's checks.
    pub checked: usize,
    pub line: u32,
    pub column: u32,
    /// File, kind and operation.
    pub texts: [String; 3],
}

impl Sections {
    /// Of the running executable.
    pub fn of_this_executable() -> Self {
        let file = std::fs::read("/proc/self/exe").expect("Linux has it");
        let file = object::File::parse(&*file).expect("the executable is an ELF file");
        let base = base();
        let find = |name: &str| {
            let section = file.section_by_name(name).unwrap_or_else(|| panic!("there is no section {name}"));
            (base + section.address() as usize, section.size() as usize)
        };
        let (first, size) = find("__rseq_cs");
        let (notes, armed) = notes(find(".note.rseq"));
        Self {
            notes,
            armed,
            descriptors: words(first, size, 4).map(descriptor).collect(),
            pointers: {
                let (at, size) = find("__rseq_cs_ptr_array");
                words(at, size, 1).map(|word| word[0]).collect()
            },
            exits: {
                let (at, size) = find("__rseq_exit_point_array");
                words(at, size, 2).map(|pair| [pair[0], pair[1]]).collect()
            },
            first,
        }
    }

    /// Panics with what is wrong, if anything is.
    pub fn check(&self, signature: u32) {
        assert!(!self.descriptors.is_empty());
        assert_eq!(self.first % align_of::<Descriptor>(), 0);
        let expected: Vec<usize> = (0..self.descriptors.len()).map(|index| self.first + index * 32).collect();
        let mut pointers = self.pointers.clone();
        pointers.sort_unstable();
        assert_eq!(pointers, expected, "each descriptor is listed once");
        let mut described: Vec<usize> = self.notes.iter().map(|note| note.descriptor).collect();
        described.sort_unstable();
        assert_eq!(described, expected, "each descriptor has a note");
        for note in &self.notes {
            let Descriptor { start_ip, post_commit_offset, .. } = self.descriptors[(note.descriptor - self.first) / 32];
            assert!((start_ip..start_ip + post_commit_offset).contains(&(note.checked as u64)), "{note:x?}");
        }
        let known = |start: usize| self.descriptors.iter().any(|descriptor| descriptor.start_ip == start as u64);
        assert!(self.exits.iter().all(|[start, _]| known(*start)), "every exit is a window's");
        for descriptor in &self.descriptors {
            assert_eq!((descriptor.version, descriptor.flags), (0, 0), "{descriptor:x?}");
            let window = descriptor.start_ip..descriptor.start_ip + descriptor.post_commit_offset;
            assert!((8..256).contains(&descriptor.post_commit_offset), "{descriptor:x?}");
            assert!(!window.contains(&descriptor.abort_ip), "{descriptor:x?}");
            let mut exits = self.exits.iter().filter(|[start, _]| descriptor.start_ip == *start as u64).peekable();
            assert!(exits.peek().is_some(), "every window can be left: {descriptor:x?}");
            assert!(exits.all(|[_, exit]| !window.contains(&(*exit as u64))), "{descriptor:x?}");
            // SAFETY: the four bytes before an abort handler, in this executable's code.
            let found = unsafe { ((descriptor.abort_ip - 4) as *const u32).read_unaligned() };
            assert_eq!(found, signature, "{descriptor:x?}");
        }
    }
}

/// `size` bytes at `start`, in groups of so many words.
fn words(start: usize, size: usize, group: usize) -> impl Iterator<Item = &'static [usize]> {
    // SAFETY: a section of this executable, which stays loaded and is never written to after it was
    // relocated.
    let words = unsafe { std::slice::from_raw_parts(start as *const usize, size / 8) };
    words.chunks_exact(group)
}

fn descriptor(words: &[usize]) -> Descriptor {
    let [head, start, length, abort] = [0, 1, 2, 3].map(|index| words[index] as u64);
    Descriptor {
        version: head as u32,
        flags: (head >> 32) as u32,
        start_ip: start,
        post_commit_offset: length,
        abort_ip: abort,
    }
}

/// The notes of type 1 and 2 in a section.
fn notes((at, size): (usize, usize)) -> (Vec<Note>, Vec<usize>) {
    const HEADER: usize = 20;
    // SAFETY: a section of this executable, which stays loaded and is never written to.
    let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, size) };
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four"));
    let address = |offset: usize| (at + offset).wrapping_add_signed(word(offset) as i32 as isize);
    let (mut notes, mut armed, mut next) = (Vec::new(), Vec::new(), 0);
    while next < size {
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

/// The linker of the running executable, if it left its name.
#[allow(dead_code, reason = "the fixture `linking` asks")]
pub fn linker() -> &'static str {
    let file = std::fs::read("/proc/self/exe").expect("Linux has it");
    let file = object::File::parse(&*file).expect("the executable is an ELF file");
    let comment = file.section_by_name(".comment").and_then(|section| section.data().ok()).unwrap_or_default();
    if comment.windows(11).any(|text| text == b"Linker: LLD") { "LLD" } else { "another linker" }
}

/// Where the executable is loaded, less the address it was linked for.
fn base() -> usize {
    unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, _: usize, base: *mut libc::c_void) -> libc::c_int {
        // SAFETY: of `dl_iterate_phdr`, and the pointer that was handed to it. The executable comes
        // first.
        unsafe { *base.cast::<usize>() = (*info).dlpi_addr as usize };
        1
    }
    let mut base = 0_usize;
    // SAFETY: the callback writes to `base` alone.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut base).cast()) };
    base
}
