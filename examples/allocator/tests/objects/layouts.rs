//! The allocator against a plain model: whatever is asked for in whatever order, objects have their
//! size and alignment, keep their contents, and lie apart.
#![cfg(target_os = "linux")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::{array, mem, ptr, slice};

use super::heap::Ledger;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;
use rseq::PerCpu;
use rseq::drain::StopError;
use rseq_allocator::PerCpuAlloc;

use super::class::SIZES;

/// The bytes that a class keeps at most, on a CPU and for all of them, as the documentation has it;
/// and so many objects are asked for at once.
const CPU_BYTES: usize = 64 << 10;
const TIER_BYTES: usize = 2 << 20;
const BATCH: usize = 32;

/// A request to the allocator. Objects are selected among those that are there.
#[derive(Clone, Debug)]
enum Request {
    Alloc(Layout),
    AllocZeroed(Layout),
    /// As often as a stack overflows.
    AllocMany(Layout),
    Dealloc(Index),
    DeallocAll,
    Realloc(Index, usize),
    Trim,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..160_usize, 4 => 1..1100_usize, 1 => 1..20_000_usize]
}

fn layout() -> impl Strategy<Value = Layout> {
    let shift = prop_oneof![8 => 0..5, 1 => 5..13];
    (size(), shift).prop_map(|(size, shift)| Layout::from_size_align(size, 1_usize << shift).expect("a small layout"))
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        8 => layout().prop_map(Request::Alloc),
        4 => layout().prop_map(Request::AllocZeroed),
        1 => layout().prop_map(Request::AllocMany),
        8 => any::<Index>().prop_map(Request::Dealloc),
        1 => Just(Request::DeallocAll),
        8 => (any::<Index>(), size()).prop_map(|(index, size)| Request::Realloc(index, size)),
        1 => Just(Request::Trim),
    ]
}

/// An object, and what it should hold.
struct Object {
    address: *mut u8,
    layout: Layout,
    contents: Vec<u8>,
}

impl Object {
    /// Fills an object with bytes that no other one begins with.
    fn filled(address: *mut u8, layout: Layout, number: u32) -> Self {
        assert!(!address.is_null() && address.addr().is_multiple_of(layout.align()), "{address:?} {layout:?}");
        let mut contents = number.to_ne_bytes().repeat(layout.size().div_ceil(4));
        contents.truncate(layout.size());
        // SAFETY: of this layout, and the caller's.
        unsafe { address.copy_from_nonoverlapping(contents.as_ptr(), layout.size()) };
        Self { address, layout, contents }
    }

    fn check(&self, bytes: usize) {
        // SAFETY: at least as many bytes.
        let found = unsafe { slice::from_raw_parts(self.address, bytes) };
        assert_eq!(found, &self.contents[..bytes]);
    }
}

/// The allocator beside its objects.
struct Model {
    allocator: PerCpuAlloc<Ledger>,
    objects: Vec<Object>,
    number: u32,
}

impl Model {
    fn new() -> Self {
        Self { allocator: PerCpuAlloc::new(Ledger::new()), objects: Vec::new(), number: 0 }
    }

    fn add(&mut self, address: *mut u8, layout: Layout) {
        self.number += 1;
        self.objects.push(Object::filled(address, layout, self.number));
    }

    fn alloc(&mut self, layout: Layout) {
        // SAFETY: no size is zero.
        let address = unsafe { self.allocator.alloc(layout) };
        self.add(address, layout);
    }

    fn alloc_zeroed(&mut self, layout: Layout) {
        // SAFETY: no size is zero.
        let address = unsafe { self.allocator.alloc_zeroed(layout) };
        // SAFETY: of that size.
        let bytes = unsafe { slice::from_raw_parts(address, layout.size()) };
        assert_eq!(bytes, vec![0; layout.size()]);
        self.add(address, layout);
    }

    fn dealloc(&mut self, object: Object) {
        object.check(object.layout.size());
        // SAFETY: allocated by this layout, and the model has it no more.
        unsafe { self.allocator.dealloc(object.address, object.layout) };
    }

    fn realloc(&mut self, object: Object, size: usize) {
        object.check(object.layout.size());
        // SAFETY: allocated by this layout; the size is neither zero nor large.
        let address = unsafe { self.allocator.realloc(object.address, object.layout, size) };
        Object { address, ..object }.check(object.layout.size().min(size));
        let layout = Layout::from_size_align(size, object.layout.align()).expect("a small layout");
        self.add(address, layout);
    }

    fn take(&mut self, index: &Index) -> Option<Object> {
        (!self.objects.is_empty()).then(|| self.objects.swap_remove(index.index(self.objects.len())))
    }

    fn answer(&mut self, request: &Request) {
        match request {
            Request::Alloc(layout) => self.alloc(*layout),
            Request::AllocZeroed(layout) => self.alloc_zeroed(*layout),
            Request::AllocMany(layout) => (0..300).for_each(|_| self.alloc(*layout)),
            Request::Dealloc(index) => _ = self.take(index).map(|object| self.dealloc(object)),
            Request::DeallocAll => mem::take(&mut self.objects).into_iter().for_each(|object| self.dealloc(object)),
            Request::Realloc(index, size) => _ = self.take(index).map(|object| self.realloc(object, *size)),
            Request::Trim => _ = self.allocator.trim().expect("there are fences"),
        }
    }

    /// Frees and trims everything: nothing is outstanding.
    fn end(mut self) {
        self.answer(&Request::DeallocAll);
        self.answer(&Request::Trim);
        assert_eq!(self.allocator.backend().outstanding(), (0, 0));
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn objects_are_as_they_should_be(requests in vec(request(), 1..200)) {
        let mut model = Model::new();
        for request in &requests {
            model.answer(request);
        }
        model.objects.iter().for_each(|object| object.check(object.layout.size()));
        model.end();
    }

}

proptest! {
    #![proptest_config(Config { failure_persistence: None, cases: 20, ..Config::default() })]

    /// The bytes that are kept are bounded, on each CPU and between them, at every moment.
    #[test]
    fn little_is_kept(layout in layout(), count in 0..40_000_usize) {
        let mut model = Model::new();
        // No more than a class has: memory for what isn't touched is free.
        let count = count.min((32 << 20) / layout.size());
        let outstanding = |model: &Model| model.allocator.backend().outstanding().1;
        // SAFETY: no size is zero.
        let objects: Vec<_> = (0..count).map(|_| unsafe { model.allocator.alloc(layout) }).collect();
        let class = SIZES.into_iter().find(|size| *size >= layout.size() && layout.align() <= 16);
        let bytes = class.unwrap_or(layout.size());
        let bound = CPU_BYTES * rseq::slots() + TIER_BYTES + BATCH * bytes;
        for (place, object) in objects.iter().enumerate() {
            // SAFETY: allocated above.
            unsafe { model.allocator.dealloc(*object, layout) };
            let kept = outstanding(&model) - ((count - place - 1) * bytes) as i64;
            prop_assert!(kept <= bound as i64, "{kept} bytes are kept, where {bound} may be");
        }
        model.answer(&Request::Trim);
        prop_assert_eq!(outstanding(&model), 0);
        model.end();
    }
}

/// Nothing is kept of what is freed in a row, in whatever order, if it is much more than may be
/// kept: also on another CPU than the one that frees. But what is asked for again and again is.
#[test]
fn what_is_freed_in_a_row_is_given_back() {
    if skipped_where_nothing_is_kept() {
        return;
    }
    let cpus = support::available_cpus();
    for size in [16, 64, 200, 1024] {
        let layout = Layout::from_size_align(size, 8).expect("a small layout");
        // Twice what is kept, and what it takes until it isn't.
        let count = 2 * (255 + 2 * (512 * BATCH).min(TIER_BYTES / size));
        for order in 0..3 {
            let allocator = PerCpuAlloc::new(Ledger::new());
            // SAFETY: no size is zero.
            let allocate = |count| (0..count).map(|_| Address(unsafe { allocator.alloc(layout) })).collect::<Vec<_>>();
            // SAFETY: of `allocate`, and freed once.
            let free = |objects: &[Address]| objects.iter().for_each(|one| unsafe { allocator.dealloc(one.0, layout) });
            let mut objects = support::on(cpus[0], || allocate(count));
            match order {
                0 => {}
                1 => objects.reverse(),
                _ => {
                    let (left, right) = objects.split_at(count / 2);
                    objects = left.iter().zip(right).flat_map(|(one, other)| [*one, *other]).collect();
                }
            }
            let (some, rest) = objects.split_at(100);
            support::on(cpus[cpus.len() - 1], || free(some));
            support::on(cpus[0], || free(rest));
            assert_eq!(allocator.backend().outstanding(), (0, 0), "{size}, {order}");
            support::on(cpus[0], || free(&allocate(100)));
            assert_ne!(allocator.backend().outstanding(), (0, 0), "what is asked for once more is kept");
        }
    }
}

/// An object that a thread may hand on.
#[derive(Clone, Copy)]
struct Address(*mut u8);

// SAFETY: memory that is nobody's but the holder's.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}

/// An object that one CPU frees is one that another one gets: the backend isn't asked again.
#[test]
fn cpus_hand_on_what_they_free() {
    if skipped_where_nothing_is_kept() {
        return;
    }
    let cpus = support::available_cpus();
    let (one, other) = (cpus[0], cpus[cpus.len() - 1]);
    let allocator = PerCpuAlloc::new(Ledger::new());
    let layout = Layout::new::<[u64; 8]>();
    let round = || {
        // SAFETY: no size is zero.
        let objects = support::on(one, || (0..5_000).map(|_| Address(unsafe { allocator.alloc(layout) })).collect());
        support::on(other, || {
            // SAFETY: allocated above, and freed once.
            Vec::into_iter(objects).for_each(|one: Address| unsafe { allocator.dealloc(one.0, layout) });
        });
    };
    round();
    // The objects that the other CPU keeps for itself are missing once.
    round();
    let before = allocator.backend().ever();
    (0..20).for_each(|_| round());
    assert_eq!(allocator.backend().ever(), before);
    allocator.trim().expect("there are fences");
    assert_eq!(allocator.backend().outstanding(), (0, 0));
}

/// Where sections run under locks, the allocator is its backend.
#[test]
fn portable_mode_hands_on() {
    let allocator = PerCpuAlloc::new(Ledger::new());
    let layout = Layout::new::<[u64; 4]>();
    // SAFETY: no size is zero; each is freed once.
    unsafe {
        let object = allocator.alloc(layout);
        let (out, _) = allocator.backend().outstanding();
        allocator.dealloc(object, layout);
        let (kept, _) = allocator.backend().outstanding();
        let keeps = matches!(support::mode(), rseq::Mode::Rseq(_));
        assert_eq!((out, kept), if keeps { (BATCH as i64, BATCH as i64) } else { (1, 0) }, "{:?}", support::mode());
    }
    allocator.trim().expect("there are fences");
    assert_eq!(allocator.backend().outstanding(), (0, 0));
}

#[test]
fn portable_mode_hands_on_where_it_is_forced() {
    support::in_processes(module_path!(), support::forced_portable, &["portable_mode_hands_on"]);
}

/// Says that it is skipped.
fn skipped_where_nothing_is_kept() -> bool {
    let keeps = matches!(support::mode(), rseq::Mode::Rseq(_));
    if !keeps {
        println!("skipped: nothing is kept in portable mode");
    }
    !keeps
}

/// Keeps this thread on one CPU, where it finds again what it freed.
fn stay() {
    support::run_on(&support::available_cpus()[..1]);
}

/// An object that is resized within its class stays where it is; one that leaves it doesn't.
#[test]
fn resizing_within_a_class_stays_in_place() {
    let allocator = PerCpuAlloc::new(Ledger::new());
    let layout = |size| Layout::from_size_align(size, 8).expect("a small layout");
    // SAFETY: each call has the layout that the object has by then.
    unsafe {
        let object = allocator.alloc(layout(520));
        for (from, to) in [(520, 513), (513, 640), (640, 600)] {
            assert_eq!(allocator.realloc(object, layout(from), to), object);
        }
        let larger = allocator.realloc(object, layout(600), 641);
        assert_ne!(larger, object);
        allocator.dealloc(larger, layout(641));
    }
}

/// The object that was freed last is used first.
#[test]
fn freed_objects_are_used_again() {
    let allocator = PerCpuAlloc::new(Ledger::new());
    let layout = Layout::new::<[u64; 4]>();
    // SAFETY: of this layout, and freed once each time.
    let round = || unsafe {
        let object = allocator.alloc(layout);
        allocator.dealloc(object, layout);
    };
    round();
    let (before, _) = allocator.backend().outstanding();
    (0..100_000).for_each(|_| round());
    let (after, _) = allocator.backend().outstanding();
    // A thread that is moved finds other stacks.
    assert!(after <= before * rseq::slots() as i64, "{after} objects are out, and {before} were");
}

/// Dropping an allocator gives back what it keeps.
#[test]
fn a_dropped_allocator_keeps_nothing() {
    static LEDGER: Ledger = Ledger::new();
    struct Shared;
    // SAFETY: the ledger's.
    unsafe impl GlobalAlloc for Shared {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's.
            unsafe { LEDGER.alloc(layout) }
        }
        unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
            // SAFETY: the caller's.
            unsafe { LEDGER.dealloc(object, layout) }
        }
    }
    let allocator = PerCpuAlloc::new(Shared);
    let layout = Layout::new::<[u64; 4]>();
    // SAFETY: of this layout, each freed once.
    unsafe {
        let objects: [_; 1000] = array::from_fn(|_| allocator.alloc(layout));
        objects.iter().for_each(|object| allocator.dealloc(*object, layout));
    }
    assert!(skipped_where_nothing_is_kept() || LEDGER.outstanding() != (0, 0));
    drop(allocator);
    assert_eq!(LEDGER.outstanding(), (0, 0));
}

/// A backend that runs out of memory in the middle of a batch.
#[test]
fn want_of_memory_is_passed_on() {
    struct Few {
        left: Cell<usize>,
        ledger: Ledger,
    }
    // SAFETY: the ledger's, or nothing.
    unsafe impl GlobalAlloc for Few {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let Some(left) = self.left.get().checked_sub(1) else { return ptr::null_mut() };
            self.left.set(left);
            // SAFETY: the caller's.
            unsafe { self.ledger.alloc(layout) }
        }
        unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
            // SAFETY: the caller's.
            unsafe { self.ledger.dealloc(object, layout) }
        }
    }
    stay();
    let allocator = PerCpuAlloc::new(Few { left: Cell::new(5), ledger: Ledger::new() });
    let layout = Layout::new::<[u64; 4]>();
    // SAFETY: no size is zero; each is freed once.
    unsafe {
        let objects: [_; 5] = array::from_fn(|_| allocator.alloc(layout));
        assert!(objects.iter().all(|object| !object.is_null()));
        assert!(allocator.alloc(layout).is_null() && allocator.alloc_zeroed(layout).is_null());
        assert!(allocator.realloc(objects[0], layout, 1000).is_null(), "the object stays as it is");
        objects.iter().for_each(|object| allocator.dealloc(*object, layout));
    }
    allocator.trim().expect("there are fences");
    assert_eq!(allocator.backend().ledger.outstanding(), (0, 0));
}

/// A stack that is being trimmed can't be trimmed, but all others can.
#[test]
fn trimming_goes_on_behind_a_stack_that_is_busy() {
    /// Trims once more when it is first given something back, and keeps what came of it.
    struct Nested {
        ledger: Ledger,
        busy: AtomicBool,
        inner: OnceLock<(Result<usize, StopError>, i64)>,
    }
    // SAFETY: the ledger's.
    unsafe impl GlobalAlloc for Nested {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's.
            unsafe { self.ledger.alloc(layout) }
        }
        unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
            // SAFETY: the caller's.
            unsafe { self.ledger.dealloc(object, layout) };
            if !self.busy.swap(true, Relaxed) {
                let inner = ALLOCATOR.trim();
                self.inner.set((inner, self.ledger.outstanding().0)).expect("once");
            }
        }
    }
    static ALLOCATOR: PerCpuAlloc<Nested> =
        PerCpuAlloc::new(Nested { ledger: Ledger::new(), busy: AtomicBool::new(false), inner: OnceLock::new() });
    stay();
    for size in [16, 64, 1024] {
        let layout = Layout::from_size_align(size, 8).expect("a small layout");
        // SAFETY: no size is zero; freed once.
        unsafe { ALLOCATOR.dealloc(ALLOCATOR.alloc(layout), layout) };
    }
    let before = ALLOCATOR.backend().ledger.outstanding().0;
    assert!(before >= 3 * 32, "{before}");
    let outer = ALLOCATOR.trim();
    let (inner, left) = ALLOCATOR.backend().inner.get().expect("something was given back");
    assert_eq!(*inner, Err(StopError::Busy));
    // Those of one stack, of which one had been given back.
    assert_eq!((outer, *left), (Ok(32), 31));
    assert_eq!(ALLOCATOR.backend().ledger.outstanding(), (0, 0));
}

/// Where there is no memory for stacks, all is the backend's.
#[test]
fn works_without_memory_for_stacks() {
    const ROOM: usize = 1 << 20;
    /// Hands out a static's memory, and counts what is out.
    struct Bump {
        memory: UnsafeCell<[u128; ROOM / 16]>,
        next: AtomicUsize,
        out: AtomicUsize,
    }
    // SAFETY: no byte is handed out twice.
    unsafe impl Sync for Bump {}
    // SAFETY: as above; aligned to 16, which is enough for classes.
    unsafe impl GlobalAlloc for Bump {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            self.out.fetch_add(1, Relaxed);
            let start = self.next.fetch_add(layout.size().next_multiple_of(16), Relaxed);
            if start + layout.size() > ROOM {
                ptr::null_mut()
            } else {
                self.memory.get().cast::<u8>().wrapping_add(start)
            }
        }
        unsafe fn dealloc(&self, _: *mut u8, _: Layout) {
            self.out.fetch_sub(1, Relaxed);
        }
    }
    static ALLOCATOR: PerCpuAlloc<Bump> =
        PerCpuAlloc::new(Bump { memory: UnsafeCell::new([0; _]), next: AtomicUsize::new(0), out: AtomicUsize::new(0) });
    let out = || ALLOCATOR.backend().out.load(Relaxed);
    let layout = Layout::new::<[u64; 4]>();
    let code = support::in_child(|| {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: reads a structure. From here on the child gets no address space.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_AS, &none) } == 0;
        // SAFETY: bytes of zero.
        let slots = || unsafe { ManuallyDrop::new(PerCpu::<[u8; 1024]>::zeroed()) };
        // All that there was before is used up.
        while slots().allocate().is_ok() {}
        // SAFETY: no size is zero.
        let objects: [*mut u8; 20] = array::from_fn(|_| unsafe { ALLOCATOR.alloc(layout) });
        let had = objects.iter().all(|object| !object.is_null()) && out() == 20;
        // SAFETY: allocated above.
        objects.iter().for_each(|object| unsafe { ALLOCATOR.dealloc(*object, layout) });
        limited && had && out() == 0 && ALLOCATOR.trim() == Ok(0)
    });
    assert_eq!(code, 0);
}
