//! The windows of this program, as the descriptors in its ELF files say.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::fs;
use std::path::PathBuf;

use object::{Object, ObjectSection};
use rseq::abi::Descriptor;

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
}

impl Window {
    /// Where an attempt goes on that is through with the window: it has committed, or taken an exit.
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

    pub fn starts(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }

    pub fn starting_at(&self, ip: u64) -> Option<&Window> {
        self.0.get(&ip)
    }

    /// Whether a descriptor covers one window, whole, or no code at all.
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
    let Ok(bytes) = fs::read(&image.path) else { return Vec::new() };
    let Ok(file) = object::File::parse(&*bytes) else { return Vec::new() };
    // In memory, because in the file of what can be loaded anywhere the words are still to be computed.
    let words = |name: &str| {
        let section = file.section_by_name(name)?;
        let at = image.base + section.address();
        // SAFETY: a section of a loaded image, relocated by now, which nothing writes to.
        Some(unsafe { std::slice::from_raw_parts(at as *const u64, section.size() as usize / 8) })
    };
    let exits = words("__rseq_exit_point_array").unwrap_or_default().as_chunks::<2>().0;
    let descriptors = words("__rseq_cs").unwrap_or_default().as_chunks::<4>().0;
    descriptors.iter().map(|words| window(words, exits)).collect()
}

/// The window of a descriptor. Of the ways out of it, the first is that of an aborted attempt.
fn window(&[_, start, length, abort_handler]: &[u64; 4], exits: &[[u64; 2]]) -> Window {
    let mut exits = exits.iter().filter(|[of, _]| *of == start).map(|[_, exit]| *exit);
    let aborted = exits.next().unwrap_or(abort_handler);
    Window { start, post: start + length, abort_handler, aborted, exits: exits.collect() }
}
