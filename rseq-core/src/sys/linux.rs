//! The calls that only Linux has.

use core::ffi::CStr;
use core::ptr::NonNull;

use super::Errno;
use crate::abi::{FLAG_UNREGISTER, Rseq};

/// Address space counts as memory only where it is touched.
pub(super) const RESERVED: libc::c_int = libc::MAP_NORESERVE;

/// Does it with the calling thread's `errno` as it was at the end: a handler may have interrupted
/// somebody who is about to look at it.
fn keeping_errno<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: has no precondition.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: points to the calling thread's errno, as it does below.
    let before = unsafe { errno.read() };
    let result = work();
    // SAFETY: as above.
    unsafe { errno.write(before) };
    result
}

/// Has the kernel give this address space memory page by page: a huge page would be that of many
/// CPUs, on the node of whoever came first.
pub(super) fn refuse_huge_pages(memory: NonNull<u8>, length: usize) {
    // SAFETY: changes no content. Where it fails the kernel has no huge pages; that is no error for
    // whom a handler interrupted here.
    keeping_errno(|| unsafe { libc::madvise(memory.as_ptr().cast(), length, libc::MADV_NOHUGEPAGE) });
}

/// Has pages of this address space, of which there are none yet, locked when they are touched, if
/// they are to be locked: after `mlockall(MCL_FUTURE)` all would be there at once, for CPUs that
/// never come here too.
pub(super) fn lock_what_is_touched(memory: NonNull<u8>, length: usize) {
    /// `include/uapi/asm-generic/mman-common.h`, since 4.4.
    const MLOCK_ONFAULT: libc::c_uint = 1;
    let memory = memory.as_ptr();
    // SAFETY: changes no content, as there is none. What is locked can't be told to be needed no
    // more (`madvise_dontneed_free_valid_vma` in `mm/madvise.c`): so the first call fails.
    keeping_errno(|| unsafe {
        if libc::madvise(memory.cast(), length, libc::MADV_DONTNEED) != 0 {
            libc::syscall(libc::SYS_mlock2, memory, length, MLOCK_ONFAULT);
        }
    });
}

/// There is no such system call.
pub(crate) const NO_SUCH_CALL: Errno = libc::ENOSYS;
/// The calling thread has another area, or this one under another length or signature
/// (`rseq_register` in `kernel/rseq.c`).
pub(crate) const INVALID: Errno = libc::EINVAL;
/// The calling thread has this very area already.
pub(crate) const BUSY: Errno = libc::EBUSY;

fn outcome(call: impl FnOnce() -> libc::c_long) -> Result<(), Errno> {
    // SAFETY: points to the calling thread's errno.
    keeping_errno(|| if call() == 0 { Ok(()) } else { Err(unsafe { *libc::__errno_location() }) })
}

/// `rseq(2)`: registers `area` for the calling thread, or ends its registration.
///
/// # Safety
/// `area` is valid for as long as the thread runs or until its registration has ended, and is used
/// for nothing else.
pub(crate) unsafe fn rseq(area: *mut Rseq, length: u32, flags: i32, signature: u32) -> Result<(), Errno> {
    // SAFETY: the caller's; the kernel checks length, alignment and signature.
    outcome(|| unsafe { libc::syscall(libc::SYS_rseq, area, length, flags, signature) })
}

/// True if the kernel has this area for the calling thread. Asked by what changes nothing, `errno`
/// included: it is to end the registration, and is refused for another signature, which is looked
/// at last.
pub(crate) fn is_registered(area: *mut Rseq, length: u32, signature: u32) -> bool {
    // SAFETY: points to the calling thread's errno. No registration has that signature.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let refused = rseq(area, length, FLAG_UNREGISTER, !signature);
        *errno = before;
        // A filter or the like that refuses it tells nothing.
        refused != Err(INVALID)
    }
}

/// `membarrier(2)`.
pub(crate) fn membarrier(command: i32, flags: u32, cpu: i32) -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    outcome(|| unsafe { libc::syscall(libc::SYS_membarrier, command, flags, cpu) })
}

/// `prctl(2)` for the time-slice extension of the calling thread, of `include/uapi/linux/prctl.h`.
fn slice_extension(command: libc::c_ulong, operand: libc::c_ulong) -> libc::c_int {
    const PR_RSEQ_SLICE_EXTENSION: libc::c_int = 79;
    const UNUSED: libc::c_ulong = 0;
    // SAFETY: takes no pointer. Kernels that don't know the command refuse it.
    unsafe { libc::prctl(PR_RSEQ_SLICE_EXTENSION, command, operand, UNUSED, UNUSED) }
}

/// True if the kernel knows time-slice extensions (Linux 7.0, where it is configured).
pub(crate) fn knows_slice_extension() -> bool {
    const GET: libc::c_ulong = 1;
    keeping_errno(|| slice_extension(GET, 0) >= 0)
}

/// Turns the time-slice extension on for the calling thread.
pub(crate) fn enable_slice_extension() -> Result<(), Errno> {
    const SET: libc::c_ulong = 2;
    const ENABLE: libc::c_ulong = 1;
    outcome(|| slice_extension(SET, ENABLE).into())
}

/// `rseq_slice_yield(2)`: gives the processor back that the calling thread has on its extension.
pub(crate) fn slice_yield() {
    /// The same on every architecture that this crate knows.
    const SYS_RSEQ_SLICE_YIELD: libc::c_long = 471;
    // SAFETY: takes no pointer.
    unsafe { libc::syscall(SYS_RSEQ_SLICE_YIELD) };
}

/// True if there is memory at this address.
#[allow(dead_code, reason = "not every architecture asks")]
pub(crate) fn is_mapped(address: usize) -> bool {
    const PAGE: usize = 4096;
    let page = core::ptr::without_provenance_mut(address & !(PAGE - 1));
    let mut is_in_core = 0;
    // SAFETY: points to the calling thread's errno; the vector has a byte for the one page that is
    // asked about.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let is_unmapped = libc::mincore(page, 1, &mut is_in_core) != 0 && *errno == libc::ENOMEM;
        *errno = before;
        !is_unmapped
    }
}

/// Ends the process with these words.
pub(crate) fn die(words: &str) -> ! {
    // SAFETY: the words are readable for their length; what can't be written isn't.
    unsafe {
        libc::write(libc::STDERR_FILENO, words.as_ptr().cast(), words.len());
        libc::abort()
    }
}

/// An entry of the auxiliary vector, 0 if there is none.
pub(crate) fn auxiliary(entry: u32) -> usize {
    // SAFETY: has no precondition.
    keeping_errno(|| unsafe { libc::getauxval(libc::c_ulong::from(entry)) as usize })
}

/// Where the executable is loaded: its program headers follow its ELF header.
pub(super) fn executable_base() -> usize {
    const ELF_HEADER: usize = cfg_select! {
        target_pointer_width = "64" => size_of::<libc::Elf64_Ehdr>(),
        _ => size_of::<libc::Elf32_Ehdr>(),
    };
    auxiliary(libc::AT_PHDR as u32).wrapping_sub(ELF_HEADER)
}

/// A program header of the executable's.
#[cfg(target_pointer_width = "64")]
type Header = libc::Elf64_Phdr;
#[cfg(not(target_pointer_width = "64"))]
type Header = libc::Elf32_Phdr;

/// The executable's thread-local storage: what a thread's is at first, where its linker has put
/// that, and how long and how aligned a thread's is.
#[allow(dead_code, reason = "not every architecture looks for it")]
pub(crate) struct Storage {
    pub(crate) content: core::ops::Range<*const u8>,
    pub(crate) address: usize,
    pub(crate) length: usize,
    pub(crate) alignment: usize,
}

/// The executable's thread-local storage, if this is a place in the executable. Asks nobody for a
/// lock.
#[allow(dead_code, reason = "not every architecture looks for it")]
pub(crate) fn storage_of_executable<T>(place: *const T) -> Option<Storage> {
    let first = core::ptr::with_exposed_provenance::<Header>(auxiliary(libc::AT_PHDR as u32));
    let count = if first.is_null() { 0 } else { auxiliary(libc::AT_PHNUM as u32) };
    // SAFETY: the program headers of the executable, so many, which the kernel says lie there.
    let headers = unsafe { core::slice::from_raw_parts(if count == 0 { core::ptr::dangling() } else { first }, count) };
    let of_kind = |kind| headers.iter().filter(move |header| header.p_type == kind);
    // How far from where its linker has put it the executable is.
    let moved_by = match of_kind(libc::PT_PHDR).next() {
        Some(own) => first.addr().wrapping_sub(own.p_vaddr as usize),
        None => {
            let start = of_kind(libc::PT_LOAD).find(|header| header.p_offset == 0)?;
            executable_base().wrapping_sub(start.p_vaddr as usize)
        }
    };
    let inside = |header: &Header| {
        place.addr().wrapping_sub(moved_by).wrapping_sub(header.p_vaddr as usize) < header.p_memsz as usize
    };
    if !of_kind(libc::PT_LOAD).any(inside) {
        return None;
    }
    let storage = of_kind(libc::PT_TLS).next()?;
    let address = storage.p_vaddr as usize;
    let content = core::ptr::with_exposed_provenance::<u8>(address.wrapping_add(moved_by));
    Some(Storage {
        content: content..content.wrapping_add(storage.p_filesz as usize),
        address,
        length: storage.p_memsz as usize,
        alignment: (storage.p_align as usize).max(1),
    })
}

/// An open file.
struct File(libc::c_int);

impl File {
    fn open(path: &CStr) -> Option<Self> {
        // SAFETY: the path is a C string.
        let file = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        (file >= 0).then_some(Self(file))
    }

    /// The bytes that come next in it, as far as `buffer` has room; nothing at its end.
    fn read<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        // SAFETY: the buffer is writable for its length.
        let length = unsafe { libc::read(self.0, buffer.as_mut_ptr().cast(), buffer.len()) };
        buffer.get(..usize::try_from(length).ok()?)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: our own file, closed once.
        unsafe { libc::close(self.0) };
    }
}

/// True if the environment variable is set to exactly this value: when the process started, if the
/// system says that, since another thread may be changing it now.
pub(crate) fn environment_says(name: &CStr, value: &CStr) -> bool {
    keeping_errno(|| started_with(name, value)).unwrap_or_else(|| is_set(name, value))
}

fn is_set(name: &CStr, value: &CStr) -> bool {
    // SAFETY: the name is a C string.
    let found = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: not null, so it is a C string of the environment, which nobody may change while
    // others read it.
    !found.is_null() && unsafe { CStr::from_ptr(found) } == value
}

/// True if the process was started with the environment variable set to exactly this value; `None`
/// if the kernel doesn't say. Its copy, unlike libc's, is changed by no other thread.
fn started_with(name: &CStr, value: &CStr) -> Option<bool> {
    let file = File::open(c"/proc/self/environ")?;
    let mut search = Search::of(name, value);
    let mut buffer = [0; 512];
    loop {
        match file.read(&mut buffer)? {
            [] => return Some(false),
            bytes if bytes.iter().any(|byte| search.finds(*byte)) => return Some(true),
            _ => {}
        }
    }
}

/// Unmaps memory. (musl's function waits for the end of what its thread may just be doing: for who
/// unlocks a mutex that processes share.)
///
/// # Safety
/// As of `munmap`.
pub(super) unsafe fn unmap(memory: NonNull<u8>, length: usize) {
    // SAFETY: the caller's.
    unsafe { libc::syscall(libc::SYS_munmap, memory.as_ptr(), length) };
}

/// A search for a variable with a value among entries that each end with a zero, byte by byte.
struct Search<'s> {
    entry: [&'s [u8]; 3],
    /// How many bytes of this entry are those of the one that is looked for; `None` if one isn't.
    same: Option<usize>,
}

impl<'s> Search<'s> {
    fn of(name: &'s CStr, value: &'s CStr) -> Self {
        Self { entry: [name.to_bytes(), b"=", value.to_bytes_with_nul()], same: Some(0) }
    }

    /// Takes the next byte, and says whether it is the last of the entry.
    fn finds(&mut self, byte: u8) -> bool {
        let mut rest = self.same.into_iter().flat_map(|same| self.entry.iter().copied().flatten().skip(same));
        let is_same = rest.next() == Some(&byte);
        self.same = match byte {
            0 => Some(0),
            _ => self.same.filter(|_| is_same).map(|same| same + 1),
        };
        is_same && byte == 0
    }
}

/// One more than the highest CPU id that the kernel can report; at least 1.
pub(crate) fn possible_cpus() -> u32 {
    keeping_errno(|| listed_cpus().or_else(cpus_of_masks)).unwrap_or(1)
}

/// One more than the highest possible CPU id, as the kernel lists them.
fn listed_cpus() -> Option<u32> {
    end_of_list(File::open(c"/sys/devices/system/cpu/possible")?.read(&mut [0; 256])?)
}

/// The bits of the kernel's sets of CPUs, some more than it knows (`sched_getaffinity` in
/// `kernel/sched/syscalls.c`). For where `/sys` isn't mounted. Not `sysconf`, which may allocate
/// (glibc before 2.35).
fn cpus_of_masks() -> Option<u32> {
    let mut set = [0_usize; (1 << 16) / usize::BITS as usize];
    // SAFETY: writes no more than the set has bytes, and says how many.
    let bytes = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(&set), set.as_mut_ptr()) };
    u32::try_from(bytes).ok().filter(|bytes| *bytes > 0).map(|bytes| (8 * bytes).min(MOST_CPUS))
}

/// So many that the numbers which say "not registered" are no ids of CPUs, in a window's
/// multiplication either. (Linux has 8192 at most.)
const MOST_CPUS: u32 = (1 << 16) - 2;

/// One more than the highest number of a list such as `0-3,8-11`; `None` if it isn't such a list.
fn end_of_list(list: &[u8]) -> Option<u32> {
    let list = core::str::from_utf8(list).ok()?.trim_ascii();
    let mut end = 0;
    for range in list.split(',') {
        let last = range.rsplit('-').next()?;
        end = end.max(last.parse::<u32>().ok()?.checked_add(1)?);
    }
    (end <= MOST_CPUS).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::{Search, end_of_list};

    #[test]
    fn variables_are_found_among_others() {
        let finds = |entries: &[u8]| {
            let mut search = Search::of(c"MODE", c"on");
            entries.iter().any(|byte| search.finds(*byte))
        };
        assert!(finds(b"MODE=on\0") && finds(b"A=b\0MODE=on\0C=\0") && finds(b"\0MODE=on\0"));
        let others: [&[u8]; 8] =
            [b"", b"MODE=on", b"MODE=one\0", b"MODE=o\0", b"MODE\0", b"AMODE=on\0", b"A=MODE=on\0", b"MODE=\0on\0"];
        others.iter().for_each(|entries| assert!(!finds(entries), "{entries:?}"));
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(end_of_list(b"0\n"), Some(1));
        assert_eq!(end_of_list(b"0-1\n"), Some(2));
        assert_eq!(end_of_list(b"0-3,8-11,64"), Some(65));
        assert_eq!(end_of_list(b""), None);
        assert_eq!(end_of_list(b"none"), None);
        assert_eq!(end_of_list(b"0-4294967295"), None);
        assert_eq!(end_of_list(b"0-99999999"), None);
    }
}
