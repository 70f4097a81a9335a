//! The windows of this program, as the descriptors in its ELF files say.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::fs::File;
use std::path::PathBuf;

use object::{Object, ObjectSection, ReadCache};
use rseq::abi::Descriptor;
use rseq_abi::note::window;
use rseq_abi::{note, section};

/// A window: the code of a section that the kernel restarts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Window {
    pub start: u64,
    /// Behind the commit instruction.
    pub post: u64,
    /// Where the kernel sends a thread that it interrupts in the window.
    pub abort_handler: u64,
    /// Where an attempt goes on that was aborted, be it by the kernel or by the check at the start.
    pub aborted: u64,
    /// Where the window may be left to without committing.
    pub exits: Vec<u64>,
    /// Its note, if it has one.
    pub note: Option<Note>,
}

/// The note of a window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Note {
    /// Where the section stands in the source: file, line and column.
    pub place: String,
    /// It goes by concurrency ids, not by CPUs.
    pub by_cid: bool,
}

impl Window {
    /// True if its section goes by concurrency ids, as far as is known.
    pub fn by_cid(&self) -> bool {
        self.note.as_ref().is_some_and(|note| note.by_cid)
    }

    /// Where an attempt goes on that is through with the window: it has committed, or taken an
    /// exit.
    pub fn ways_out(&self) -> impl Iterator<Item = u64> {
        [self.post].into_iter().chain(self.exits.iter().copied())
    }
}

/// An executable or shared object of this process.
struct Image {
    path: PathBuf,
    /// Where it is loaded, less the address that it was linked for.
    base: u64,
}

/// The windows of all images, by their starts.
pub(super) struct Windows(BTreeMap<u64, Window>);

impl Windows {
    pub fn of_this_process() -> Self {
        Self(images().iter().flat_map(windows).map(|window| (window.start, window)).collect())
    }

    pub fn all(&self) -> impl Iterator<Item = &Window> {
        self.0.values()
    }

    pub fn starts(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }

    pub fn starting_at(&self, ip: u64) -> Option<&Window> {
        self.0.get(&ip)
    }

    /// True if a descriptor covers one window, whole, or no code at all.
    pub fn covers_one(&self, descriptor: &Descriptor) -> bool {
        let length = descriptor.post_commit_offset;
        length == 0 || self.starting_at(descriptor.start_ip).is_some_and(|window| window.post == window.start + length)
    }
}

/// Every image of the process. What has no file (the kernel's own) has no windows.
fn images() -> Vec<Image> {
    unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _: usize, images: *mut c_void) -> libc::c_int {
        // SAFETY: of `dl_iterate_phdr`, and the pointer that was handed to it.
        let (info, images) = unsafe { (&*info, &mut *images.cast::<Vec<Image>>()) };
        // SAFETY: a C string, or null.
        let name = if info.dlpi_name.is_null() { c"" } else { unsafe { CStr::from_ptr(info.dlpi_name) } };
        // The executable has no name, and comes first.
        let path = if images.is_empty() { "/proc/self/exe".into() } else { name.to_string_lossy().into_owned() };
        images.push(Image { path: path.into(), base: info.dlpi_addr });
        0
    }
    let mut images: Vec<Image> = Vec::new();
    // SAFETY: the callback changes `images` alone.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut images).cast()) };
    images
}

fn windows(image: &Image) -> Vec<Window> {
    let Ok(file) = File::open(&image.path) else { return Vec::new() };
    // Of a file with debug information, little is read.
    let file = ReadCache::new(file);
    let Ok(file) = object::File::parse(&file) else { return Vec::new() };
    // In memory, because in the file of what can be loaded anywhere the words are still to be
    // computed.
    let bytes = |name: &str| {
        let section = file.section_by_name(name)?;
        let at = image.base + section.address();
        // SAFETY: a section of a loaded image, relocated by now, which nothing writes to.
        Some(unsafe { std::slice::from_raw_parts(at as *const u8, section.size() as usize) })
    };
    // SAFETY: words of 64 bits, whatever they hold.
    let words = |name| unsafe { bytes(name).unwrap_or_default().align_to::<u64>() }.1;
    let exits = words(section::EXITS).as_chunks::<2>().0;
    let mut notes = notes(bytes(section::NOTES).unwrap_or_default());
    let descriptors = words(section::DESCRIPTORS).as_chunks::<4>().0;
    let described = |words: &[u64; 4]| window(words, exits, notes.remove(&(words.as_ptr().addr() as u64)));
    descriptors.iter().map(described).collect()
}

/// The window of a descriptor. Of the ways out of it, the first is that of an aborted attempt.
fn window(&[_, start, length, abort_handler]: &[u64; 4], exits: &[[u64; 2]], note: Option<Note>) -> Window {
    let mut exits = exits.iter().filter(|[of, _]| *of == start).map(|[_, exit]| *exit);
    let aborted = exits.next().unwrap_or(abort_handler);
    Window { start, post: start + length, abort_handler, aborted, exits: exits.collect(), note }
}

/// The notes of windows (`docs/tool-authors.md` has their format), by the addresses of their
/// descriptors.
fn notes(mut bytes: &[u8]) -> BTreeMap<u64, Note> {
    let mut notes = BTreeMap::new();
    while let Some((is_windows, description, rest)) = split_note(bytes) {
        notes.extend(is_windows.then(|| window_note(description)).flatten());
        bytes = rest;
    }
    notes
}

/// Says whether the first note is a window's; its description, and the notes behind it.
fn split_note(bytes: &[u8]) -> Option<(bool, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(note::HEADER as usize)?;
    let [name, length, ty] = [0, 4, 8].map(|at| number(head, at).unwrap_or_default());
    let (owner, rest) = rest.split_at_checked(name.next_multiple_of(note::ALIGNMENT) as usize)?;
    let (description, rest) = rest.split_at_checked(length.next_multiple_of(note::ALIGNMENT) as usize)?;
    let is_ours = CStr::from_bytes_until_nul(owner).is_ok_and(|owner| owner.to_bytes() == note::NAME.as_bytes());
    Some((is_ours && ty == note::WINDOW, description, rest))
}

/// The descriptor that a window's note is of, and what it says.
fn window_note(description: &[u8]) -> Option<(u64, Note)> {
    let distance = i64::from(number(description, window::DESCRIPTOR)?.cast_signed());
    let descriptor = (description.as_ptr().addr() as u64).wrapping_add_signed(distance);
    let (line, column) = (number(description, window::LINE)?, number(description, window::COLUMN)?);
    let mut strings = description.get(window::TEXTS as usize..)?.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let (file, kind) = (strings.next()?, strings.next()?);
    Some((descriptor, Note { place: format!("{file}:{line}:{column}"), by_cid: kind.ends_with("mm_cid") }))
}

fn number(bytes: &[u8], at: u32) -> Option<u32> {
    let at = at as usize;
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}
