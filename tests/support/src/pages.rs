//! Which pages of this process have memory behind them.

use std::fs::{File, read_to_string};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// `/proc/self/pagemap`: a word for each page (the kernel's
/// `Documentation/admin-guide/mm/pagemap.rst`).
pub struct Pagemap(File);

impl Pagemap {
    /// Says why where it can't be read.
    pub fn open() -> io::Result<Self> {
        let map = Self(File::open("/proc/self/pagemap")?);
        // Where reading is forbidden, opening may not be.
        map.word(0)?;
        Ok(map)
    }

    fn word(&self, page: usize) -> io::Result<u64> {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, page as u64 * 8)?;
        Ok(u64::from_ne_bytes(word))
    }

    /// The pages of this memory that take memory, by their numbers. One that was only read has the
    /// page of zeroes behind it, which all share.
    pub fn taken(&self, memory: Range<usize>) -> Vec<usize> {
        const PRESENT_OR_SWAPPED: u64 = 3 << 62;
        const NO_OTHER_HAS_IT: u64 = 1 << 56;
        let taken = |page: &usize| {
            let word = self.word(*page).expect("it could be read before");
            word & PRESENT_OR_SWAPPED != 0 && word & NO_OTHER_HAS_IT != 0
        };
        pages(memory).filter(taken).collect()
    }
}

/// The pages that this memory lies in, by their numbers.
pub fn pages(memory: Range<usize>) -> Range<usize> {
    memory.start / page()..memory.end.div_ceil(page())
}

/// The bytes of a page.
pub fn page() -> usize {
    // SAFETY: has no precondition.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// The bytes of memory that this process has of its own.
pub fn own_bytes() -> usize {
    let text = read_to_string("/proc/self/smaps_rollup").expect("Linux has it since 4.14");
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("one of its lines");
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number")
}
