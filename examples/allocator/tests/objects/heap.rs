//! An allocator under test: its backend counts, and what it hands out is written and checked.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::{hint, ptr, slice};

use rseq_allocator::PerCpuAlloc;

/// A backend that counts what it has handed out. Handlers of signals may use it.
pub struct Ledger {
    objects: AtomicI64,
    bytes: AtomicI64,
    /// All that were ever handed out.
    ever: AtomicU64,
    /// True if freed memory is never used again: for front ends that hand things out twice.
    keeps: bool,
}

impl Ledger {
    pub const fn new() -> Self {
        Self { objects: AtomicI64::new(0), bytes: AtomicI64::new(0), ever: AtomicU64::new(0), keeps: false }
    }

    pub const fn keeping() -> Self {
        Self { keeps: true, ..Self::new() }
    }

    /// The objects that are out, and their bytes.
    pub fn outstanding(&self) -> (i64, i64) {
        (self.objects.load(SeqCst), self.bytes.load(SeqCst))
    }

    /// How many objects were ever handed out.
    pub fn ever(&self) -> u64 {
        self.ever.load(SeqCst)
    }

    fn book(&self, objects: i64, layout: Layout) {
        self.objects.fetch_add(objects, Relaxed);
        self.bytes.fetch_add(objects * layout.size() as i64, Relaxed);
    }
}

/// Runs `work` with all signals held back: a handler must not find the system's allocator halfway
/// through something.
fn without_signals<R>(work: impl FnOnce() -> R) -> R {
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: the first call writes `all`, the second one reads it and writes `before`.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let result = work();
    // SAFETY: written above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}

// SAFETY: the system's, or memory that is never freed.
unsafe impl GlobalAlloc for Ledger {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        let object = without_signals(|| unsafe { System.alloc(layout) });
        if !object.is_null() {
            self.ever.fetch_add(1, Relaxed);
            self.book(1, layout);
        }
        object
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        self.book(-1, layout);
        // SAFETY: the caller's. Whoever still reads it finds no pattern.
        unsafe { object.write_bytes(0xdd, layout.size()) };
        if !self.keeps {
            // SAFETY: the caller's.
            without_signals(|| unsafe { System.dealloc(object, layout) });
        }
    }
}

/// A front end over a [`Ledger`].
pub trait FrontEnd: GlobalAlloc {
    /// Gives back what is kept; says whether that was possible.
    fn trim(&self) -> bool;
    fn ledger(&self) -> &Ledger;
}

/// Implements it for each way in which the allocator is compiled.
#[macro_export]
macro_rules! front_end {
    ($allocator:ty) => {
        impl $crate::heap::FrontEnd for $allocator {
            fn trim(&self) -> bool {
                self.trim().is_ok()
            }
            fn ledger(&self) -> &$crate::heap::Ledger {
                self.backend()
            }
        }
    };
}

front_end!(PerCpuAlloc<Ledger>);

/// Of every class, of sizes that just don't fit one, of those that are the backend's, and aligned
/// to more than classes are.
const LAYOUTS: [(usize, usize); 32] = [
    (1, 1),
    (8, 8),
    (16, 16),
    (17, 1),
    (24, 8),
    (33, 1),
    (48, 16),
    (64, 8),
    (65, 1),
    (96, 8),
    (100, 4),
    (128, 16),
    (129, 1),
    (192, 8),
    (200, 8),
    (256, 8),
    (257, 1),
    (384, 16),
    (400, 8),
    (512, 8),
    (600, 8),
    (768, 8),
    (800, 8),
    (1000, 8),
    (1024, 16),
    (1025, 1),
    (2000, 8),
    (5000, 16),
    (32, 32),
    (100, 64),
    (64, 128),
    (4096, 4096),
];

/// An object in one word, which threads and handlers exchange: its address, layout and seed.
#[derive(Clone, Copy)]
struct Token(u64);

const ADDRESS_BITS: u32 = 48;
const LAYOUT_BITS: u32 = LAYOUTS.len().trailing_zeros();

impl Token {
    fn new(object: *mut u8, layout: usize, seed: u64) -> Self {
        Self(object.expose_provenance() as u64 | (layout as u64) << ADDRESS_BITS | seed << (ADDRESS_BITS + LAYOUT_BITS))
    }

    fn object(self) -> *mut u8 {
        ptr::with_exposed_provenance_mut((self.0 & ((1 << ADDRESS_BITS) - 1)) as usize)
    }

    fn layout(self) -> Layout {
        let (size, align) = LAYOUTS[(self.0 >> ADDRESS_BITS) as usize % LAYOUTS.len()];
        Layout::from_size_align(size, align).expect("the layouts are valid")
    }

    /// The pattern of its bytes.
    fn pattern(self) -> u8 {
        (self.0 >> (ADDRESS_BITS + LAYOUT_BITS)) as u8
    }
}

/// So many objects at most. Half of them are more than a CPU keeps of one class, so that they go to
/// where all CPUs find them.
const PLACES: usize = 1024;

/// Objects that threads and handlers exchange by a table, so that each is freed by anybody.
pub struct Heap<A> {
    pub allocator: A,
    table: [AtomicU64; PLACES],
    random: AtomicU64,
    /// How many of the layouts are used, the smallest first.
    layouts: usize,
    done: AtomicU64,
    /// Objects that weren't as they were left, or aren't aligned, and allocations that failed.
    wrong: AtomicU64,
}

impl<A: FrontEnd> Heap<A> {
    pub const fn new(allocator: A) -> Self {
        Self::of(allocator, LAYOUTS.len())
    }

    /// One of few layouts, so that threads meet on the same stack.
    pub const fn of(allocator: A, layouts: usize) -> Self {
        Self {
            allocator,
            table: [const { AtomicU64::new(0) }; _],
            random: AtomicU64::new(0),
            layouts,
            done: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
        }
    }

    /// The next of a sequence that is the same in each run, though not who gets what (splitmix64).
    fn random(&self) -> u64 {
        let step = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        let mixed = (step ^ step >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Something with an object that anybody may have left: replaces, frees or resizes it.
    pub fn step(&self, spin: u32) {
        let random = self.random();
        let place = &self.table[random as usize % self.table.len()];
        let layout = (random >> 16) as usize % self.layouts;
        let seed = random >> 40;
        match (random >> 32) % 1024 {
            0 => self.half().for_each(|place| self.free(Token(place.swap(0, SeqCst)))),
            1 => self.half().for_each(|place| {
                let new = self.allocate(layout, seed, 0);
                self.free(Token(place.swap(new.0, SeqCst)));
            }),
            2..512 => {
                let new = self.allocate(layout, seed, spin);
                self.free(Token(place.swap(new.0, SeqCst)));
            }
            512..768 => self.free(Token(place.swap(0, SeqCst))),
            _ => {
                let resized = self.resize(Token(place.swap(0, SeqCst)), layout, seed, spin);
                self.free(Token(place.swap(resized.0, SeqCst)));
            }
        }
        self.done.fetch_add(1, Relaxed);
    }

    /// Every other place.
    fn half(&self) -> impl Iterator<Item = &AtomicU64> {
        self.table.iter().step_by(2)
    }

    fn allocate(&self, layout: usize, seed: u64, spin: u32) -> Token {
        let of_layout = Token::new(ptr::null_mut(), layout, seed).layout();
        // SAFETY: no size is zero.
        let object = unsafe { self.allocator.alloc(of_layout) };
        self.fill(Token::new(object, layout, seed), spin)
    }

    /// Writes to an object that is the caller's, takes its time, and sees whether it is the
    /// caller's alone.
    fn fill(&self, token: Token, spin: u32) -> Token {
        let (object, layout) = (token.object(), token.layout());
        if object.is_null() || !object.addr().is_multiple_of(layout.align()) {
            self.wrong.fetch_add(1, Relaxed);
            return Token(0);
        }
        // SAFETY: of this layout.
        unsafe { object.write_bytes(token.pattern(), layout.size()) };
        for turn in 0..spin {
            hint::black_box(turn);
        }
        self.check(token, layout.size());
        token
    }

    /// The first bytes are as they were left.
    fn check(&self, token: Token, bytes: usize) {
        // SAFETY: an object of that many bytes.
        let bytes = unsafe { slice::from_raw_parts(token.object(), bytes) };
        let whole = bytes.iter().all(|byte| *byte == token.pattern());
        self.wrong.fetch_add(u64::from(!whole), Relaxed);
    }

    fn free(&self, token: Token) {
        if token.0 != 0 {
            self.check(token, token.layout().size());
            // SAFETY: allocated by this layout, and taken out of the table by this thread alone.
            unsafe { self.allocator.dealloc(token.object(), token.layout()) };
        }
    }

    fn resize(&self, token: Token, layout: usize, seed: u64, spin: u32) -> Token {
        let new_layout = Token::new(ptr::null_mut(), layout, seed).layout();
        if token.0 == 0 || token.layout().align() != new_layout.align() {
            return token;
        }
        self.check(token, token.layout().size());
        // SAFETY: as for `free`.
        let object = unsafe { self.allocator.realloc(token.object(), token.layout(), new_layout.size()) };
        if object.is_null() {
            self.wrong.fetch_add(1, Relaxed);
            return token;
        }
        let kept = Token(Token::new(object, 0, 0).0 | token.0 & !((1 << ADDRESS_BITS) - 1));
        self.check(kept, token.layout().size().min(new_layout.size()));
        self.fill(Token::new(object, layout, seed), spin)
    }

    /// Frees everything, gives everything back, and counts: the steps that were taken, and far more
    /// for each thing that is wrong.
    pub fn sum(&self) -> u64 {
        const WRONG: u64 = 1 << 40;
        self.table.iter().for_each(|place| self.free(Token(place.swap(0, SeqCst))));
        let trimmed = self.allocator.trim();
        let outstanding = self.allocator.ledger().outstanding();
        let wrong = self.wrong.load(SeqCst) + u64::from(!trimmed) + u64::from(outstanding != (0, 0));
        self.done.load(SeqCst) + wrong * WRONG
    }

    /// The same as a verdict.
    #[track_caller]
    pub fn must_be_exact(&self) {
        assert_eq!(self.sum(), self.done.load(SeqCst), "{:?} outstanding", self.allocator.ledger().outstanding());
    }

    pub fn wrong(&self) -> u64 {
        self.wrong.load(SeqCst)
    }
}

/// A heap of its own, as a `Count` for disturbed runs.
#[macro_export]
macro_rules! heaps {
    ($($name:ident: $heap:ty = $new:expr;)*) => {$(
        mod $name {
            use super::*;
            static HEAP: $heap = $new;
            fn add(spin: u32) {
                HEAP.step(spin);
            }
            fn sum() -> u64 {
                HEAP.sum()
            }
            pub const COUNT: support::Count = support::Count { add, leave: || (), sum, aborts: || 0 };
        }
    )*};
}

/// Has `others` threads take steps until the result is dropped.
pub fn meanwhile<A: FrontEnd + Sync>(heap: &'static Heap<A>, others: usize) -> impl Drop {
    struct Running {
        goes_on: &'static AtomicUsize,
        threads: Vec<std::thread::JoinHandle<()>>,
    }
    impl Drop for Running {
        fn drop(&mut self) {
            self.goes_on.store(0, SeqCst);
            for thread in self.threads.drain(..) {
                thread.join().expect("steps don't panic");
            }
        }
    }
    let goes_on: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(1)));
    let work = move || {
        while goes_on.load(Relaxed) == 1 {
            heap.step(0);
        }
    };
    Running { goes_on, threads: (0..others).map(|_| std::thread::spawn(work)).collect() }
}
