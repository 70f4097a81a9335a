//! Memory for slots, by address space: each CPU has a *unit* of every chunk, and the slots of a
//! `PerCpu` lie at the same distance from the start of each.
//!
//! ```text
//! chunk   | unit of CPU 0       | unit of CPU 1       | .. | unit of the shared slot | header |
//!         | A0 B0 B0 C0 ..      | A1 B1 B1 C1 ..      |
//! ```
//!
//! So small values of one CPU lie side by side, on lines and pages that no other CPU writes to, and
//! a thousand counters take two pages of each CPU that counts. Units are reserved for every CPU
//! that there can ever be; what none has touched has no memory behind it, and what is touched first
//! by the CPU that owns it is on that CPU's node: values that are all zero when they are made
//! aren't written, because the memory has these bytes already.
//!
//! Nothing here takes a lock or asks an allocator: a `PerCpu` may be used first in a signal
//! handler, in an allocator, and in a child that was forked while another thread was here.

use core::alloc::Layout;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use super::error::AllocError;
use super::spans::Spans;
use crate::arch;
use crate::cpu::slots;
use crate::sys;

/// The bytes of a unit: as many as the largest pages have, so that no page has two owners.
const UNIT: usize = 64 << 10;
/// Values don't lie across more lines than they need.
const LINE: usize = 64;
/// The bytes that a bit of [`Chunk::taken`] stands for, in chunks of small values and in those of
/// larger ones. Values have at most as many as a word has bits.
const GRANULES: [usize; 2] = [8, UNIT / BITS];
const BITS: usize = usize::BITS as usize;
const WORDS: usize = UNIT / GRANULES[0] / BITS;

/// The distance in bytes from one slot to the next.
pub(super) const fn stride<T>() -> usize {
    if size_of::<T>() <= UNIT { UNIT } else { size_of::<T>().next_power_of_two() }
}

/// The chunks whose slots are selected by one kind of index. Kinds don't share chunks: threads of
/// the same number of different kinds run at the same time.
#[derive(Debug)]
pub struct Arena {
    /// By the class of their granules.
    chunks: [AtomicPtr<Chunk>; GRANULES.len()],
    /// The values that are larger than a unit.
    large: Spans,
}

/// The end of a chunk's mapping.
#[derive(Debug)]
struct Chunk {
    /// The first unit.
    first: NonNull<u8>,
    next: AtomicPtr<Chunk>,
    granule: usize,
    /// A bit for each granule of a unit. Those that aren't taken are zero in every unit.
    taken: [AtomicUsize; WORDS],
}

/// Granules of a unit.
#[derive(Clone, Copy)]
struct Request {
    /// Which of [`GRANULES`].
    class: usize,
    count: usize,
    /// The place is a multiple of so many.
    step: usize,
}

impl Request {
    fn of(layout: Layout) -> Self {
        // Values of no size may be aligned to more than a word's granules as well.
        let class = usize::from(layout.size().max(layout.align()) > GRANULES[0] * BITS);
        let granule = GRANULES[class];
        let natural = layout.size().next_power_of_two().min(LINE);
        let step = layout.align().max(natural).div_ceil(granule);
        Self { class, count: layout.size().div_ceil(granule).max(1), step }
    }

    /// The bits of the request at the first place where it fits beside those that are taken.
    fn place(self, taken: usize) -> Option<usize> {
        let bits = usize::MAX >> (BITS - self.count);
        let places = (0..=BITS - self.count).step_by(self.step);
        places.map(|place| bits << place).find(|bits| taken & bits == 0)
    }
}

impl Arena {
    pub(crate) const fn new() -> Self {
        Self { chunks: [const { AtomicPtr::new(null_mut()) }; GRANULES.len()], large: Spans::new() }
    }

    /// Memory of zeroes for a value of this layout in each slot: the address of the first, from
    /// which the others are a [`stride`] apart.
    pub(super) fn allocate(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        if layout.size() > UNIT {
            let first = map(own_length(layout)?)?;
            self.large.add(first, own_stride(layout)?);
            return Ok(first);
        }
        let request = Request::of(layout);
        let chunks = &self.chunks[request.class];
        loop {
            let head = chunks.load(Acquire);
            if let Some(memory) = iterate(head).find_map(|chunk| chunk.take(request)) {
                return Ok(memory);
            }
            let chunk = Chunk::map(GRANULES[request.class], head)?;
            if chunks.compare_exchange(head, chunk.as_ptr(), Release, Relaxed).is_err() {
                // Another thread was quicker.
                // SAFETY: nobody else knows of it.
                unsafe { unmap(chunk.as_ref().first, Chunk::length()?) };
            }
        }
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter().flat_map(|chunks| iterate(chunks.load(Acquire)))
    }

    /// True if it has any memory.
    #[allow(dead_code, reason = "not every loader unloads")]
    pub(super) fn is_in_use(&self) -> bool {
        self.chunks().next().is_some() || self.large.is_in_use()
    }

    /// Gives all of it back.
    ///
    /// # Safety
    /// Nobody uses any of it, nor allocates here, from now on.
    #[allow(dead_code, reason = "not every loader unloads")]
    pub(super) unsafe fn unmap(&self) {
        let Ok(length) = Chunk::length() else { return };
        for chunks in &self.chunks {
            let mut next = chunks.swap(null_mut(), Acquire);
            // SAFETY: null, or a chunk, which is still there.
            while let Some(chunk) = unsafe { next.as_ref() } {
                next = chunk.next.load(Relaxed);
                // SAFETY: a whole chunk, which was read for the last time.
                unsafe { unmap(chunk.first, length) };
            }
        }
        // SAFETY: the caller's.
        unsafe { self.large.unmap() };
    }

    /// The chunk that this memory is of.
    fn chunk_of(&self, memory: NonNull<u8>) -> Option<&Chunk> {
        self.chunks().find(|chunk| chunk.distance(memory.addr().get()) < UNIT)
    }

    /// The index of the slot, of whatever value, that this address lies in.
    pub(super) fn index_of(&self, address: usize) -> Option<usize> {
        let unit = |chunk: &Chunk| Some(chunk.distance(address) / UNIT).filter(|unit| *unit < slots());
        self.chunks().find_map(unit).or_else(|| self.large.index_of(address))
    }
}

/// Gives memory back.
///
/// # Safety
/// It is [`Arena::allocate`]'s for the same layout, and in use no more.
pub(super) unsafe fn free(arena: &Arena, memory: NonNull<u8>, layout: Layout) {
    if layout.size() > UNIT {
        let length = own_length(layout).expect("it was that long when it was allocated");
        arena.large.remove(memory, length / slots());
        // SAFETY: the caller's.
        return unsafe { unmap(memory, length) };
    }
    let chunk = arena.chunk_of(memory).expect("the memory is of a chunk");
    for slot in 0..slots() {
        // SAFETY: each slot's memory, which is in use no more.
        unsafe { clear(memory.add(slot * UNIT), layout.size()) };
    }
    chunk.give_back(memory, Request::of(layout));
}

/// Moves a value into a slot's memory, which is all zero. Where the value is as well, that is no
/// store, and takes no page.
///
/// # Safety
/// The memory is a slot's. The value is used no more.
pub(super) unsafe fn put<T>(memory: NonNull<T>, value: *const T) {
    // SAFETY: the bytes of the value, which is used no more but as bytes.
    if !unsafe { arch::is_zero(value.cast(), size_of::<T>()) } {
        // SAFETY: the caller's.
        unsafe { memory.as_ptr().copy_from_nonoverlapping(value, 1) };
    }
}

/// Makes memory zero again, without a store where it is zero.
///
/// # Safety
/// It is of so many bytes and in use no more.
unsafe fn clear(memory: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's.
    unsafe {
        if !arch::is_zero(memory.as_ptr(), bytes) {
            memory.write_bytes(0, bytes);
        }
    }
}

impl Chunk {
    fn length() -> Result<usize, AllocError> {
        Ok(of_all_slots(UNIT)? + size_of::<Self>())
    }

    /// A chunk of which nothing is taken, in front of these.
    fn map(granule: usize, next: *mut Self) -> Result<NonNull<Self>, AllocError> {
        let first = map(Self::length()?)?;
        // SAFETY: the header's place, behind the units.
        let header = unsafe { first.add(UNIT * slots()) }.cast::<Self>();
        // SAFETY: it is memory of the header's size, aligned to a page.
        unsafe {
            header.write(Self {
                first,
                next: AtomicPtr::new(next),
                granule,
                taken: [const { AtomicUsize::new(0) }; _],
            });
        };
        Ok(header)
    }

    /// How far this address is behind the first unit's start. Of what lies in front of it that is a
    /// huge number.
    fn distance(&self, address: usize) -> usize {
        address.wrapping_sub(self.first.addr().get())
    }

    fn take(&self, request: Request) -> Option<NonNull<u8>> {
        let words = UNIT / self.granule / BITS;
        self.taken[..words].iter().enumerate().find_map(|(word, taken)| {
            let mut before = taken.load(Relaxed);
            let bits = loop {
                let bits = request.place(before)?;
                match taken.compare_exchange_weak(before, before | bits, Acquire, Relaxed) {
                    Ok(_) => break bits,
                    Err(changed) => before = changed,
                }
            };
            let place = bits.trailing_zeros() as usize;
            // SAFETY: a granule of the first unit.
            Some(unsafe { self.first.add((word * BITS + place) * self.granule) })
        })
    }

    fn give_back(&self, memory: NonNull<u8>, request: Request) {
        let granule = self.distance(memory.addr().get()) / self.granule;
        let bits = usize::MAX >> (BITS - request.count) << (granule % BITS);
        // The thread that takes them next sees the zeroes.
        self.taken[granule / BITS].fetch_and(!bits, Release);
    }
}

/// A chunk and those behind it.
fn iterate<'a>(first: *mut Chunk) -> impl Iterator<Item = &'a Chunk> {
    // SAFETY: null, or a chunk that stays where it is as long as the image.
    let chunk = |chunk: *mut Chunk| unsafe { chunk.as_ref() };
    core::iter::successors(chunk(first), move |before| chunk(before.next.load(Relaxed)))
}

/// The distance between slots of a value that is larger than a unit.
fn own_stride(layout: Layout) -> Result<usize, AllocError> {
    layout.size().checked_next_power_of_two().ok_or(AllocError { bytes: usize::MAX })
}

/// The length of its mapping.
fn own_length(layout: Layout) -> Result<usize, AllocError> {
    of_all_slots(own_stride(layout)?)
}

/// So many bytes for each slot: less than a half of all addresses. So the distance from one slot to
/// another is a number with a sign; and with 32 bits, an id that says "not registered" (-1 to -3)
/// leads a window beyond the last slot, whatever the distance, since there are two slots.
fn of_all_slots(each: usize) -> Result<usize, AllocError> {
    let bytes = each.checked_mul(slots());
    bytes.filter(|bytes| *bytes <= isize::MAX as usize).ok_or(AllocError { bytes: bytes.unwrap_or(usize::MAX) })
}

fn map(length: usize) -> Result<NonNull<u8>, AllocError> {
    sys::reserve(length).ok_or(AllocError { bytes: length })
}

/// # Safety
/// It was mapped by `map` with the same length, and is in use no more.
unsafe fn unmap(memory: NonNull<u8>, length: usize) {
    // SAFETY: the caller's.
    unsafe { sys::unreserve(memory, length) };
}

#[cfg(test)]
mod tests {
    use core::alloc::Layout;
    use core::ptr::NonNull;
    use std::string::ToString;
    use std::vec::Vec;

    use super::{AllocError, Arena, LINE, UNIT, clear, free, of_all_slots};
    use crate::cpu::slots;

    static NONE: Arena = Arena::new();

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn values_lie_apart_and_come_back() {
        static ARENA: Arena = Arena::new();
        let layouts = [
            (8, 8),
            (24, 8),
            (1, 1),
            (0, 1),
            (0, 4096),
            (64, 64),
            (512, 8),
            (513, 1),
            (1024, 128),
            (4096, 4096),
            (UNIT, 8),
        ];
        for round in 0..3 {
            let mut taken: Vec<(NonNull<u8>, Layout)> = Vec::new();
            for (size, align) in layouts.iter().copied().cycle().take(500) {
                let layout = layout(size, align);
                let memory = ARENA.allocate(layout).unwrap();
                assert!(memory.addr().get().is_multiple_of(align));
                let line = memory.addr().get() % LINE;
                assert!(line + size <= LINE || size > LINE / 2, "{size} bytes lie across two lines");
                for slot in 0..slots() {
                    // SAFETY: the memory of a slot.
                    let bytes = unsafe { core::slice::from_raw_parts_mut(memory.add(slot * UNIT).as_ptr(), size) };
                    assert!(bytes.iter().all(|byte| *byte == 0), "round {round}: memory that isn't zero");
                    bytes.fill(1);
                }
                taken.push((memory, layout));
            }
            taken.sort_unstable_by_key(|(memory, _)| *memory);
            for pair in taken.windows(2) {
                // Those of no size may lie anywhere.
                assert!(pair[0].0.addr().get() + pair[0].1.size() <= pair[1].0.addr().get());
            }
            for (memory, layout) in taken {
                // SAFETY: allocated above.
                unsafe { free(&ARENA, memory, layout) };
            }
        }
    }

    #[test]
    fn a_thousand_counters_take_two_pages_of_a_unit() {
        static ARENA: Arena = Arena::new();
        let mut pages: Vec<usize> =
            (0..1000).map(|_| ARENA.allocate(layout(8, 8)).unwrap().addr().get() / 4096).collect();
        pages.dedup();
        assert_eq!(pages.len(), 2);
    }

    #[test]
    fn what_was_given_back_is_taken_again() {
        static ARENA: Arena = Arena::new();
        let layout = layout(100, 4);
        let first = ARENA.allocate(layout).unwrap();
        let second = ARENA.allocate(layout).unwrap();
        // SAFETY: allocated above, and not used.
        unsafe { free(&ARENA, first, layout) };
        assert_eq!(ARENA.allocate(layout), Ok(first));
        assert_ne!(first, second);
    }

    #[test]
    fn threads_never_get_the_same() {
        static ARENA: Arena = Arena::new();
        let taken = || (0..500).map(|_| ARENA.allocate(layout(16, 8)).unwrap().addr()).collect::<Vec<_>>();
        let mut all = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(taken)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2000);
    }

    #[test]
    fn too_much_is_an_error() {
        let error = NONE.allocate(layout(isize::MAX as usize & !7, 8)).unwrap_err();
        assert_eq!(error.bytes(), usize::MAX, "the size of all slots is no number");
        // The least that is more than a half of all addresses, though the system may have as much.
        let each = isize::MAX as usize / slots() + 1;
        let bytes = each * slots();
        assert_eq!(of_all_slots(each), Err(AllocError { bytes }));
        assert_eq!(of_all_slots(each - 1), Ok(bytes - slots()));
        // More than 56 bits, which programs have with five levels of page tables; on s390x they
        // have all 64.
        #[cfg(all(target_pointer_width = "64", not(target_arch = "s390x")))]
        {
            let each = ((1_usize << 57) / slots()).next_power_of_two();
            let error = NONE.allocate(layout(each, 8)).unwrap_err();
            assert_eq!(error.bytes(), each * slots());
            assert_eq!(error.to_string(), std::format!("no memory for slots of {} bytes", each * slots()));
        }
    }

    #[test]
    fn memory_is_cleared() {
        let mut memory = [0, 0, 3, 0_u8];
        // SAFETY: four bytes.
        unsafe { clear(NonNull::from(&mut memory).cast(), 4) };
        assert_eq!(memory, [0; 4]);
    }
}
