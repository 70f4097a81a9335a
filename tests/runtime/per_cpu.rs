//! The memory of `PerCpu`: who takes it, how much, where it lies, and what happens if there is
//! none.
#![cfg(target_os = "linux")]

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::mem::zeroed;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::os::unix::thread::JoinHandleExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::{fs, io, ptr, thread};

use rseq::{AllocError, Counter, CpuId, Histogram, IndexKind, MmCid, PerCpu, Stack, rseq};
use support::pages::{Pagemap, own_bytes, pages};
use support::{
    Steps, available_cpus, forced_portable, handle_signals, here, in_child, in_processes, mode, must_pass, on,
    restartable, run_on, seccomp, this_test, with_own_registration,
};

const LINE: usize = 64;

fn sum<I: IndexKind>(slots: &PerCpu<AtomicUsize, I>) -> u64 {
    slots.iter().map(|slot| slot.load(Relaxed) as u64).sum()
}

fn count(slots: &PerCpu<AtomicUsize>) {
    rseq! { commit |cpu| add(&slots[cpu], 1) }
}

/// Runs `work` in so many threads, all of which begin at once.
fn at_once(threads: usize, work: impl Fn(usize) + Sync) {
    let (barrier, work) = (Barrier::new(threads), &work);
    thread::scope(|scope| {
        for number in 0..threads {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                work(number);
            });
        }
    });
}

/// Where the value of each slot lies. Reads none.
fn places<T, I: IndexKind>(slots: &PerCpu<T, I>) -> Vec<Range<usize>> {
    let place = |slot: &T| ptr::from_ref(slot).addr();
    slots.iter().map(|slot| place(slot)..place(slot) + size_of::<T>()).collect()
}

/// A probe for pages that are taken; `None`, with a reason, where it can't be told or slots aren't
/// those of CPUs.
fn pagemap() -> Option<Pagemap> {
    let map = Pagemap::open().inspect_err(|error| println!("skipped: /proc/self/pagemap: {error}")).ok();
    map.filter(|_| restartable())
}

/// Bytes that may be zero and belong to all threads.
#[repr(transparent)]
struct Bytes<const SIZE: usize>([AtomicU8; SIZE]);

// Who takes the memory, and how much. Each of these runs in a process where nobody else has slots.

/// Counts in the slots by `touch`, on one CPU after the other: each time one page is taken, in that
/// CPU's slot.
fn pages_are_taken_by_their_owner<T: Sync, I: IndexKind>(slots: &PerCpu<T, I>, touch: impl Fn() + Sync) {
    let Some(map) = pagemap() else { return };
    let taken = || places(slots).into_iter().map(|place| map.taken(place).len()).collect::<Vec<_>>();
    slots.allocate().unwrap();
    assert!(taken().iter().all(|pages| *pages == 0), "made, but not touched: {:?}", taken());
    let mut expected = taken();
    for cpu in available_cpus() {
        on(cpu, &touch);
        expected[cpu] = 1;
        assert_eq!(taken(), expected, "touched by CPU {cpu}");
    }
}

#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn a_page_is_taken_by_its_owner() {
    static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
    pages_are_taken_by_their_owner(&SLOTS, || count(&SLOTS));
}

#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn a_page_of_60_kib_is_taken_by_its_owner() {
    // SAFETY: bytes may be zero.
    static SLOTS: PerCpu<Bytes<{ 60 << 10 }>> = unsafe { PerCpu::zeroed() };
    let at = 50_000_usize;
    // SAFETY: less than 60 KiB.
    pages_are_taken_by_their_owner(&SLOTS, || unsafe {
        rseq! { commit |cpu| add(&SLOTS[cpu].0[at], 1) }
    });
}

#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn a_page_of_a_mib_is_taken_by_its_owner() {
    // SAFETY: bytes may be zero.
    static SLOTS: PerCpu<Bytes<{ 1 << 20 }>> = unsafe { PerCpu::zeroed() };
    let at = 1_000_000_usize;
    // SAFETY: less than a MiB.
    pages_are_taken_by_their_owner(&SLOTS, || unsafe {
        rseq! { commit |cpu| add(&SLOTS[cpu].0[at], 1) }
    });
}

/// Has this process lock all that it maps from now on, or says why it can't.
fn lock_future() -> bool {
    // SAFETY: writes to, and reads, one structure. What can't be locked isn't.
    let locked = unsafe {
        let mut limit: libc::rlimit = zeroed();
        libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit);
        libc::mlockall(libc::MCL_FUTURE) == 0
    };
    if !locked {
        println!("skipped: mlockall: {}", io::Error::last_os_error());
    }
    locked
}

/// How many bytes are there and locked of the mapping that this address is in.
fn locked_bytes(address: usize) -> usize {
    let text = fs::read_to_string("/proc/self/smaps").expect("Linux has it");
    let holds = |range: &str| {
        let (start, end) = range.split_once('-')?;
        let [start, end] = [start, end].map(|end| usize::from_str_radix(end, 16).ok());
        Some((start?..end?).contains(&address))
    };
    let mapping = text.lines().skip_while(|line| !line.split(' ').next().and_then(holds).unwrap_or(false));
    let locked = mapping.skip(1).find_map(|line| line.strip_prefix("Locked:")).expect("one of its lines");
    1024 * locked.trim().trim_end_matches(" kB").parse::<usize>().expect("a number")
}

/// Where all memory is to be there and locked, pages of slots are when they are touched, and not
/// before.
#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn a_locked_page_is_taken_by_its_owner() {
    static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
    // SAFETY: bytes may be zero.
    static LARGE: PerCpu<Bytes<{ 1 << 20 }>> = unsafe { PerCpu::zeroed() };
    if !lock_future() {
        return;
    }
    if let Err(error) = SLOTS.allocate().and(LARGE.allocate()) {
        return println!("skipped: {error}, as far as memory can be locked");
    }
    pages_are_taken_by_their_owner(&SLOTS, || count(&SLOTS));
    let at = 1_000_000_usize;
    // SAFETY: less than a MiB.
    pages_are_taken_by_their_owner(&LARGE, || unsafe {
        rseq! { commit |cpu| add(&LARGE[cpu].0[at], 1) }
    });
    for place in [places(&SLOTS)[0].start, places(&LARGE)[0].start] {
        assert!(locked_bytes(place) > 0, "what was touched isn't locked");
    }
}

/// Who reads all slots, or drops them, takes no memory of CPUs that didn't count.
#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn who_reads_takes_no_page() {
    let Some(map) = pagemap() else { return };
    let slots = PerCpu::<AtomicUsize>::new();
    assert_eq!(sum(&slots), 0);
    let places = places(&slots);
    drop(slots);
    assert!(places.into_iter().all(|place| map.taken(place).is_empty()));
}

/// A thousand counters take two pages of each CPU that counts, all in all no more than twice a
/// cache line per counter and CPU.
#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn a_thousand_counters_take_a_handful_of_pages() {
    let Some(map) = pagemap() else { return };
    let slots: Vec<PerCpu<AtomicUsize>> = (0..1000).map(|_| PerCpu::new()).collect();
    let counters: Vec<Counter> = (0..1000).map(|_| Counter::new()).collect();
    let cpus = available_cpus();
    let use_all = || {
        slots.iter().for_each(count);
        counters.iter().for_each(Counter::inc);
    };
    // Memory that threads and files take in any case.
    on(cpus[0], || ());
    own_bytes();
    let before = own_bytes();
    cpus.iter().for_each(|cpu| on(*cpu, use_all));
    let bytes = own_bytes().saturating_sub(before);
    println!("{bytes} bytes for 2000 counters on {} CPUs", cpus.len());
    assert!(bytes <= 2 * 2000 * cpus.len() * LINE, "{bytes} bytes");

    let mut pages: Vec<usize> =
        slots.iter().flat_map(|slots| places(slots).into_iter().flat_map(|place| map.taken(place))).collect();
    pages.sort_unstable();
    pages.dedup();
    assert!(pages.len() <= 2 * cpus.len(), "{} pages", pages.len());
    assert!(slots.iter().all(|slots| sum(slots) == cpus.len() as u64));
    assert!(counters.iter().all(|counter| counter.sum() == cpus.len() as u64));
}

/// A thousand threads take no more than one does: not a page that a thread on each CPU hasn't
/// taken.
#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn a_thousand_threads_take_no_more_than_one() {
    const THREADS: usize = 1000;
    if pagemap().is_none() {
        return;
    }
    let counters: Vec<Counter> = (0..100).map(|_| Counter::new()).collect();
    let use_all = || counters.iter().for_each(Counter::inc);
    let (cpus, step) = (available_cpus(), Barrier::new(THREADS + 1));
    cpus.iter().for_each(|cpu| on(*cpu, use_all));
    let taken = thread::scope(|scope| {
        for _ in 0..THREADS {
            thread::Builder::new()
                .stack_size(128 << 10)
                .spawn_scoped(scope, || {
                    // Once for what a thread takes in any case; then for what is measured.
                    (0..2).for_each(|_| {
                        use_all();
                        step.wait();
                        step.wait();
                    });
                })
                .expect("a machine has so many threads");
        }
        let measured = || {
            step.wait();
            own_bytes();
            let bytes = own_bytes();
            step.wait();
            bytes
        };
        let before = measured();
        measured().saturating_sub(before)
    });
    assert!(taken <= 2 * counters.len() * cpus.len() * LINE, "{taken} bytes for {THREADS} threads");
    let all = (2 * THREADS + cpus.len()) as u64;
    assert!(counters.iter().all(|counter| counter.sum() == all));
}

// Where it lies.

/// Whose the pages are that all `PerCpu`s of a test lie in, which stay.
#[derive(Default)]
struct Owners {
    of_pages: BTreeMap<usize, (usize, usize)>,
    stay: Vec<Box<dyn Any>>,
}

impl Owners {
    /// Notes where these slots lie, and panics if one of their pages has another owner.
    fn note<T: 'static, I: IndexKind + 'static>(&mut self, slots: PerCpu<T, I>) {
        for (slot, place) in places(&slots).into_iter().enumerate() {
            for page in pages(place) {
                let owner = *self.of_pages.entry(page).or_insert((I::ARENA, slot));
                assert_eq!(owner, (I::ARENA, slot), "a page of two owners, {}", type_name::<T>());
            }
        }
        self.stay.push(Box::new(slots));
    }
}

/// The bytes of a value.
fn bytes<T>(value: &T) -> &[AtomicU8] {
    // SAFETY: the types of these tests are bytes that belong to all threads, without padding.
    unsafe { std::slice::from_raw_parts(ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// Those that are looked at: all, or both ends of a large value, because each page that is touched
/// is there for every CPU that the machine may have.
fn watched<T>(value: &T) -> impl Iterator<Item = &AtomicU8> {
    const END: usize = 1 << 15;
    let bytes = bytes(value);
    let (head, rest) = bytes.split_at(bytes.len().min(END));
    head.iter().chain(&rest[rest.len().saturating_sub(END)..])
}

/// Several `PerCpu`s of this type, filled: none meets another one, and all they find are zeroes.
fn slots_lie_apart<T: Send + Sync + 'static>() -> (Vec<PerCpu<T>>, Vec<PerCpu<T, MmCid>>) {
    const MOST_BYTES: usize = 64 << 20;
    let most = MOST_BYTES / (2 * rseq::slots() * size_of::<T>().max(1));
    let copies = most.clamp(2, 40);
    // SAFETY: bytes may be zero.
    let by_cpu: Vec<PerCpu<T>> = (0..copies).map(|_| unsafe { PerCpu::zeroed() }).collect();
    // SAFETY: as above.
    let by_cid: Vec<PerCpu<T, MmCid>> = (0..copies).map(|_| unsafe { PerCpu::zeroed() }).collect();
    let all = || by_cpu.iter().flatten().chain(by_cid.iter().flatten());
    for (number, value) in all().enumerate() {
        let address = ptr::from_ref(value).addr();
        assert!(address.is_multiple_of(align_of::<T>()), "{address:#x} of {}", type_name::<T>());
        let lines = (address + size_of::<T>()).div_ceil(LINE) - address / LINE;
        assert!(lines <= size_of::<T>().div_ceil(LINE), "{lines} lines of {}", type_name::<T>());
        let found_zero = |byte: &AtomicU8| byte.swap(number as u8 | 1, Relaxed) == 0;
        assert!(watched(value).all(found_zero), "something was left in a {}", type_name::<T>());
    }
    let kept = |(number, value): (usize, &T)| watched(value).all(|byte| byte.load(Relaxed) == number as u8 | 1);
    assert!(all().enumerate().all(kept), "values of {} overlap", type_name::<T>());
    (by_cpu, by_cid)
}

macro_rules! aligned {
    ($($name:ident: $align:literal),*) => {$(
        #[repr(align($align))]
        struct $name<const SIZE: usize>(#[allow(dead_code)] [AtomicU8; SIZE]);
    )*};
}
aligned!(Aligned64: 64, Aligned512: 512, Aligned1024: 1024, Aligned4096: 4096);

#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn slots_of_every_size_lie_apart() {
    let mut owners = Owners::default();
    macro_rules! of {
        ($($value:ty),*) => {$(
            drop(slots_lie_apart::<$value>());
            let (by_cpu, by_cid) = slots_lie_apart::<$value>();
            by_cpu.into_iter().for_each(|slots| owners.note(slots));
            by_cid.into_iter().for_each(|slots| owners.note(slots));
        )*};
    }
    of!(Bytes<1>, Bytes<2>, Bytes<3>, Bytes<8>, Bytes<24>, Bytes<33>, Bytes<64>, Bytes<65>, Bytes<100>);
    of!(Bytes<512>, Bytes<513>, Bytes<4096>, Bytes<16640>, Bytes<65536>, Bytes<65537>, Bytes<3_000_000>);
    of!(AtomicUsize, Aligned64<64>, Aligned512<512>, Aligned1024<1024>, Aligned4096<4096>, Aligned4096<8192>);
}

/// Windows find slots that are gigabytes apart: each CPU its own, the first and the last byte of
/// it.
#[test]
fn slots_of_gigabytes_are_found() {
    fn are_found<const SIZE: usize>() {
        // SAFETY: bytes may be zero.
        let slots: PerCpu<Bytes<SIZE>> = unsafe { PerCpu::zeroed() };
        if let Err(error) = slots.allocate() {
            println!("skipped: {error}");
            return;
        }
        let (first, last) = (0_usize, SIZE - 1);
        let counts = || slots.iter().map(|slot| [first, last].map(|at| slot.0[at].load(Relaxed))).collect::<Vec<_>>();
        let mut expected = counts();
        for cpu in available_cpus() {
            on(cpu, || {
                // SAFETY: less than `SIZE`.
                unsafe {
                    rseq! { commit |cpu| add(&slots[cpu].0[first], 1) }
                }
                rseq! {
                    prepare |cpu| {
                        let slot = &slots[cpu].0[last];
                        let next = slot.load(Relaxed) + 1;
                    }
                    commit store(slot, next)
                }
            });
            if restartable() {
                expected[cpu] = [1, 1];
                assert_eq!(counts(), expected, "{SIZE} bytes, CPU {cpu}");
            }
        }
        let sums = counts().into_iter().fold([0, 0], |sum, slot| [sum[0] + slot[0], sum[1] + slot[1]]);
        assert_eq!(sums.map(usize::from), [available_cpus().len(); 2]);
    }
    are_found::<{ 1 << 27 }>();
    are_found::<{ (1 << 29) + 1 }>();
    are_found::<{ 1 << 30 }>();
    #[cfg(target_pointer_width = "64")]
    {
        are_found::<{ 1 << 31 }>();
        are_found::<{ 1 << 32 }>();
        are_found::<{ (1 << 33) + 1 }>();
        are_found::<{ 1 << 36 }>();
    }
}

/// Places in such slots, and behind pointers, are found as well: fields and elements whose
/// distances don't fit into 32 bits.
#[cfg(target_pointer_width = "64")]
#[test]
fn places_gigabytes_away_are_found() {
    #[repr(C)]
    struct Far {
        pointer: AtomicPtr<Far>,
        cells: [AtomicUsize; 1 << 30],
        rows: [Row; 4],
        last: AtomicUsize,
    }
    #[repr(C)]
    struct Row {
        cells: [AtomicUsize; (1 << 27) + 1],
        last: AtomicUsize,
    }
    // SAFETY: pointers and numbers may be zero.
    let slots: PerCpu<Far> = unsafe { PerCpu::zeroed() };
    if let Err(error) = slots.allocate() {
        println!("skipped: {error}");
        return;
    }
    for slot in &slots {
        slot.pointer.store(ptr::from_ref(slot).cast_mut(), Relaxed);
    }
    for cpu in available_cpus() {
        let found = on(cpu, || {
            let row = 2_usize;
            // SAFETY: each slot points to itself, and has so many rows.
            unsafe {
                rseq! {
                    critical |cpu| {
                        let other = load(&slots[cpu].pointer);
                        let last = load(&(*other).last);
                        let more = last + 7;
                        store(&slots[cpu].rows[row].last, more);
                        store(&(*other).rows[3].last, more);
                    }
                    commit store(&slots[cpu].cells[0x3fff_ffff], more)
                    => cpu
                }
            }
        });
        let slot = &slots[found];
        assert_eq!(slot.last.load(Relaxed), 0);
        let places = [&slot.rows[2].last, &slot.rows[3].last, &slot.cells[0x3fff_ffff]];
        assert_eq!(places.map(|place| place.load(Relaxed)), [7; 3], "CPU {cpu}");
    }
}

/// A stack with room for gigabytes takes pages for what is put into it, no more.
#[test]
fn a_stack_of_gigabytes() {
    const ROOM: usize = if cfg!(target_pointer_width = "64") { 1 << 27 } else { 1 << 24 };
    // SAFETY: numbers may be zero.
    let as_large: PerCpu<[usize; ROOM + 1]> = unsafe { PerCpu::zeroed() };
    if let Err(error) = as_large.allocate() {
        println!("skipped: {error}");
        return;
    }
    drop(as_large);
    let stack = Stack::<usize, ROOM>::new();
    for cpu in available_cpus() {
        on(cpu, || {
            (0..3).for_each(|item| assert_eq!(stack.push(item), Ok(())));
            if restartable() {
                assert_eq!([stack.pop(), stack.pop()], [Some(2), Some(1)]);
            }
        });
    }
}

/// They have an address as well, and it is aligned.
#[test]
fn values_of_no_size() {
    fn are_aligned<T>() {
        for _ in 0..3 {
            // SAFETY: there is no byte that could be wrong.
            let several: [PerCpu<T>; 3] = std::array::from_fn(|_| unsafe { PerCpu::zeroed() });
            let aligned = |slot: &T| ptr::from_ref(slot).addr().is_multiple_of(align_of::<T>());
            assert!(several.iter().flatten().all(aligned), "{}", type_name::<T>());
        }
    }
    are_aligned::<()>();
    are_aligned::<Aligned64<0>>();
    are_aligned::<Aligned512<0>>();
    are_aligned::<Aligned1024<0>>();
    are_aligned::<Aligned4096<0>>();
    let made = AtomicUsize::new(0);
    drop(PerCpu::<Aligned64<0>>::from_fn(|_| {
        made.fetch_add(1, Relaxed);
        Aligned64([])
    }));
    assert_eq!(made.into_inner(), rseq::slots());
}

/// Memory of dropped values is used again, without a byte of what was there.
#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn memory_is_used_again() {
    fn is_used_again<T: Send + Sync>() {
        // SAFETY: bytes may be zero.
        let zeroed = || unsafe { PerCpu::<T>::zeroed() };
        let mut first = None;
        for _ in 0..(300 / rseq::slots()).clamp(3, 100) {
            let slots = zeroed();
            let place = places(&slots)[0].start;
            assert_eq!(*first.get_or_insert(place), place, "{}", type_name::<T>());
            for byte in slots.iter().flat_map(bytes) {
                assert_eq!(byte.swap(0xff, Relaxed), 0);
            }
        }
    }
    is_used_again::<AtomicUsize>();
    is_used_again::<Bytes<600>>();
    is_used_again::<Bytes<65536>>();
    // Of values that have address space of their own it is enough that the process doesn't grow.
    let mapped = || fs::read_to_string("/proc/self/maps").expect("Linux has it").lines().count();
    let before = mapped();
    for _ in 0..100 {
        // SAFETY: bytes may be zero.
        let slots: PerCpu<Bytes<100_000>> = unsafe { PerCpu::zeroed() };
        assert!(slots.iter().take(3).flat_map(bytes).all(|byte| byte.load(Relaxed) == 0));
        bytes(slots.iter().next().expect("there are slots"))[99_999].store(1, Relaxed);
    }
    assert!(mapped() < before + 50);
}

/// The slots are those of the CPUs that there can ever be, whatever runs now.
#[test]
fn slots_are_those_of_possible_cpus() {
    let list = fs::read_to_string("/sys/devices/system/cpu/possible").expect("Linux has it");
    let last = list.trim().rsplit([',', '-']).next().expect("one at least").parse::<usize>().expect("a number");
    println!("{} slots", rseq::slots());
    assert_eq!(rseq::slots(), last + 2, "{list}");
    assert_eq!(PerCpu::<AtomicUsize>::new().iter().count(), last + 2);
    // All of them can be used, and sections use those that run.
    let slots = PerCpu::<AtomicUsize>::new();
    (0..rseq::slots()).filter_map(CpuId::new).for_each(|cpu| slots[cpu].store(1, Relaxed));
    available_cpus().into_iter().for_each(|cpu| on(cpu, || count(&slots)));
    assert_eq!(sum(&slots), (rseq::slots() + available_cpus().len()) as u64);
    if restartable() {
        assert!(available_cpus().into_iter().all(|cpu| slots.iter().nth(cpu).expect("it has one").load(Relaxed) == 2));
    }
}

/// The same on a machine with holes between its CPUs and many that may come later.
#[test]
fn slots_of_sparse_and_hot_plugged_cpus() {
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    if let Err(error) = seeing(file.path(), Command::new("true")).status() {
        return println!("skipped: needs a mount namespace (root), and there is none: {error}");
    }
    for (list, slots) in [("0-3", 5), ("0-1,8-11", 13), ("0,2-3,299", 301), ("0-8191", 8193)] {
        fs::write(file.path(), list).expect("there is room for a list");
        let printed = must_pass(seeing(file.path(), alone(here!("slots_are_those_of_possible_cpus"))));
        assert!(printed.contains(&format!("{slots} slots")), "{printed}");
        must_pass(seeing(file.path(), alone(here!("a_page_is_taken_by_its_owner"))));
        must_pass(seeing(file.path(), alone(here!("values_are_made_in_order"))));
    }
}

/// The command, to which this file is the list of possible CPUs.
fn seeing(file: &Path, mut command: Command) -> Command {
    let path = CString::new(file.as_os_str().as_bytes()).expect("no path has a 0");
    // SAFETY: makes three system calls and allocates nothing.
    unsafe { command.pre_exec(move || mount_over(&path, c"/sys/devices/system/cpu/possible")) };
    command
}

/// Lets this process alone see one file in place of another.
fn mount_over(file: &CStr, place: &CStr) -> io::Result<()> {
    let (none, private, bind) = (ptr::null(), libc::MS_REC | libc::MS_PRIVATE, libc::MS_BIND);
    // SAFETY: strings of C or null, as the calls have it.
    let done = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, private, none.cast()) == 0
            && libc::mount(file.as_ptr(), place.as_ptr(), none, bind, none.cast()) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

// How values are made and dropped.

/// A value that has an index, is larger than it looks (padding), and notes that it was dropped.
struct Noted<'n> {
    #[allow(dead_code)]
    small: u8,
    index: u64,
    dropped: &'n Mutex<Vec<u64>>,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.dropped.lock().expect("nobody panics").push(self.index);
    }
}

#[test]
fn values_are_made_in_order() {
    let (dropped, mut made) = (Mutex::new(Vec::new()), Vec::new());
    let indices: Vec<u64> = (0..rseq::slots() as u64).collect();
    let slots = PerCpu::<Noted>::from_fn(|index| {
        made.push(index as u64);
        Noted { small: 0, index: index as u64, dropped: &dropped }
    });
    assert_eq!(made, indices);
    assert!(slots.iter().map(|value| value.index).eq(indices.iter().copied()));
    assert!(slots.made().is_some_and(|values| values.len() == indices.len()));
    let kept = slots.iter().map(|value| ptr::from_ref(value).addr()).collect::<Vec<_>>();
    slots.allocate().unwrap();
    assert!(slots.iter().map(|value| ptr::from_ref(value).addr()).eq(kept), "made again");
    assert_eq!(*dropped.lock().unwrap(), [0_u64; 0]);
    drop(slots);
    assert_eq!(*dropped.lock().unwrap(), indices, "each is dropped once");
}

/// A panic while the values are made drops those before and gives the memory back; the panic is the
/// caller's.
#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn a_panic_in_the_making_drops_the_others() {
    let mut first = None;
    for panics_at in (0..rseq::slots()).cycle().take(3000) {
        let dropped = Mutex::new(Vec::new());
        let made = catch_unwind(AssertUnwindSafe(|| {
            PerCpu::<Noted>::try_from_fn(|index| {
                if index == panics_at {
                    resume_unwind(Box::new(index));
                }
                Noted { small: 1, index: index as u64, dropped: &dropped }
            })
        }));
        assert_eq!(made.map(drop).unwrap_err().downcast_ref(), Some(&panics_at));
        assert_eq!(dropped.into_inner().unwrap(), (0..panics_at as u64).collect::<Vec<_>>());
        // SAFETY: integers and atomics may be zero.
        let slots = unsafe { PerCpu::<[AtomicUsize; size_of::<Noted>() / 8]>::zeroed() };
        assert!(slots.iter().flatten().all(|word| word.load(Relaxed) == 0), "it was given back as it was");
        let place = places(&slots)[0].start;
        assert_eq!(*first.get_or_insert(place), place, "it wasn't given back");
    }
}

/// Of what several threads make at the first use, one set is kept; every value is dropped once.
#[test]
fn every_value_that_is_made_is_dropped_once() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static DROPPED: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    struct Numbered(usize);
    impl Default for Numbered {
        fn default() -> Self {
            Self(MADE.fetch_add(1, SeqCst))
        }
    }
    impl Drop for Numbered {
        fn drop(&mut self) {
            DROPPED.lock().unwrap().push(self.0);
        }
    }
    for _ in 0..200 {
        let slots = PerCpu::<Numbered>::new();
        assert!(slots.made().is_none());
        at_once(4, |_| slots.allocate().unwrap());
        let kept = MADE.load(SeqCst) - DROPPED.lock().unwrap().len();
        assert_eq!(kept, rseq::slots());
        drop(slots);
        let mut dropped = std::mem::take(&mut *DROPPED.lock().unwrap());
        dropped.sort_unstable();
        assert!(dropped.into_iter().eq(0..MADE.swap(0, SeqCst)));
    }
    drop(PerCpu::<Numbered>::new());
    assert_eq!(MADE.load(SeqCst), 0, "nobody used it");
}

/// A value that isn't zero by default.
struct Seven {
    #[allow(dead_code)]
    padded: AtomicU8,
    count: AtomicUsize,
}

impl Default for Seven {
    fn default() -> Self {
        Self { padded: AtomicU8::new(0), count: AtomicUsize::new(7) }
    }
}

#[test]
fn values_needn_t_be_zero() {
    const EACH: u64 = 10_000;
    for _ in 0..3 {
        let slots = PerCpu::<Seven>::new();
        at_once(4, |_| (0..EACH).for_each(|_| rseq! { commit |cpu| add(&slots[cpu].count, 1) }));
        let all: u64 = slots.iter().map(|seven| seven.count.load(Relaxed) as u64).sum();
        assert_eq!(all, 4 * EACH + 7 * rseq::slots() as u64);
    }
}

// First uses wherever they may come from.

#[test]
fn the_first_use_comes_from_several_threads() {
    const EACH: u64 = 100;
    for _ in 0..300 {
        let (slots, by_cid, counter) = (PerCpu::new(), PerCpu::<AtomicUsize, MmCid>::new(), Counter::new());
        at_once(4, |_| {
            for _ in 0..EACH {
                count(&slots);
                counter.inc();
                rseq! {
                    prepare |cid: MmCid| { let slot = &by_cid[cid]; let next = slot.load(Relaxed) + 1; }
                    commit store(slot, next)
                }
            }
        });
        assert_eq!([sum(&slots), sum(&by_cid), counter.sum()], [4 * EACH; 3]);
    }
}

/// A handler makes the values while it interrupts somebody who makes them.
#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn a_first_use_on_top_of_another() {
    static SLOTS: PerCpu<Interrupted> = PerCpu::new();
    static MADE: AtomicUsize = AtomicUsize::new(0);
    struct Interrupted(AtomicUsize);
    impl Default for Interrupted {
        fn default() -> Self {
            if MADE.fetch_add(1, SeqCst) == 1 {
                // SAFETY: has no precondition; the handler is `use_it`.
                unsafe { libc::raise(libc::SIGUSR1) };
            }
            Self(AtomicUsize::new(0))
        }
    }
    extern "C" fn use_it(_: libc::c_int) {
        rseq! { commit |cpu| add(&SLOTS[cpu].0, 100) }
    }
    handle_signals(use_it);
    rseq! { commit |cpu| add(&SLOTS[cpu].0, 1) }
    assert_eq!(MADE.load(SeqCst), 2 * rseq::slots(), "both made them");
    assert_eq!(SLOTS.iter().map(|slot| slot.0.load(Relaxed)).sum::<usize>(), 101);
}

/// Handlers make slots of their own, and drop them, at any instruction of threads that do the same.
#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn first_uses_on_top_of_each_other() {
    static WRONG: AtomicUsize = AtomicUsize::new(0);
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    fn make_and_drop() {
        let (slots, large) = (PerCpu::new(), PerCpu::<Bytes<600>>::from_fn(|_| Bytes([const { AtomicU8::new(9) }; _])));
        count(&slots);
        let right = sum(&slots) == 1 && large.iter().flat_map(bytes).all(|byte| byte.load(Relaxed) == 9);
        WRONG.fetch_add(usize::from(!right), SeqCst);
    }
    extern "C" fn on_signal(_: libc::c_int) {
        make_and_drop();
        HANDLED.fetch_add(1, SeqCst);
    }
    handle_signals(on_signal);
    let repeat = || {
        while HANDLED.load(SeqCst) < 1000 {
            make_and_drop();
        }
    };
    let threads = [(); 2].map(|()| thread::spawn(repeat));
    while HANDLED.load(SeqCst) < 1000 {
        for thread in &threads {
            // SAFETY: the thread hasn't been joined.
            unsafe { libc::pthread_kill(thread.as_pthread_t() as _, libc::SIGUSR1) };
        }
        thread::yield_now();
    }
    threads.into_iter().for_each(|thread| thread.join().expect("it panics nowhere"));
    assert_eq!(WRONG.load(SeqCst), 0);
}

/// Where the kernel refuses the barrier that a first use takes on machines which load in any order,
/// windows count in the slot that all share, until a thread comes that may make one.
#[test]
fn a_first_use_without_a_barrier() {
    const NEEDS_A_BARRIER: bool = cfg!(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "s390x")));
    let slots = PerCpu::new();
    let shared = || slots.iter().last().map_or(0, |slot: &AtomicUsize| slot.load(Relaxed));
    let refused = || {
        seccomp::refuse(libc::SYS_membarrier, libc::EPERM).expect("any thread may filter itself");
        (0..100).for_each(|_| count(&slots));
    };
    thread::scope(|scope| scope.spawn(refused).join().expect("goes on"));
    assert_eq!(sum(&slots), 100);
    if restartable() {
        assert_eq!(shared(), if NEEDS_A_BARRIER { 100 } else { 0 });
    }
    let before = shared();
    (0..100).for_each(|_| count(&slots));
    assert_eq!(sum(&slots), 200);
    if restartable() {
        assert_eq!(shared(), before);
    }
}

/// A child that is forked while other threads use slots for the first time, and drop them, does so
/// itself.
#[test]
fn a_forked_child_makes_slots() {
    println!("mode: {:?}", mode());
    fn make_and_drop() -> bool {
        let (slots, large) = (PerCpu::new(), PerCpu::<Bytes<600>>::from_fn(|_| Bytes([const { AtomicU8::new(5) }; _])));
        (0..10).for_each(|_| count(&slots));
        sum(&slots) == 10 && large.iter().flat_map(bytes).all(|byte| byte.load(Relaxed) == 5)
    }
    let steps = Steps::default();
    thread::scope(|scope| {
        let _end = steps.until_dropped();
        for _ in 0..3 {
            scope.spawn(|| {
                while !steps.has_ended() {
                    assert!(make_and_drop());
                }
            });
        }
        for _ in 0..50 {
            assert_eq!(in_child(|| (0..20).all(|_| make_and_drop())), 0);
        }
    });
}

/// It has the values as they were. What it changes is its own, and its sections are exact.
#[test]
fn a_forked_child_has_the_values_as_they_were() {
    const EACH: u64 = 10_000;
    static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
    static UNUSED: Counter = Counter::new();
    available_cpus().into_iter().for_each(|cpu| on(cpu, || (0..EACH).for_each(|_| count(&SLOTS))));
    let before = sum(&SLOTS);
    let child = in_child(|| {
        let same = sum(&SLOTS) == before;
        for cpu in available_cpus() {
            run_on(&[cpu]);
            (0..EACH).for_each(|_| count(&SLOTS));
            UNUSED.add(EACH);
        }
        same && sum(&SLOTS) == 2 * before && UNUSED.sum() == before
    });
    assert_eq!(child, 0);
    assert_eq!((sum(&SLOTS), UNUSED.sum()), (before, 0));
}

/// A sum never falls while others add, from whatever thread it is asked.
#[test]
fn sums_grow_while_threads_add() {
    // On one CPU a sum changes once for each time that the thread which looks at it loses the CPU.
    let enough = if available_cpus().len() > 1 { 20_000 } else { 200 };
    static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
    static COUNTER: Counter = Counter::new();
    let (steps, added) = (Steps::default(), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _end = steps.until_dropped();
        for _ in 0..3 {
            scope.spawn(|| {
                while !steps.has_ended() {
                    count(&SLOTS);
                    COUNTER.inc();
                    added.fetch_add(1, Relaxed);
                }
            });
        }
        let watch = || {
            let (mut last, mut changes) = ((0, 0), 0);
            while changes < enough {
                let now = (sum(&SLOTS), COUNTER.sum());
                assert!(now.0 >= last.0 && now.1 >= last.1, "{last:?}, then {now:?}");
                changes += usize::from(now != last);
                last = now;
            }
        };
        at_once(2, |_| watch());
    });
    let added = added.into_inner();
    assert_eq!((sum(&SLOTS), COUNTER.sum()), (added as u64, added as u64));
}

// No memory.

/// Lets this process map nothing more until it is dropped.
struct NoMemory(libc::rlimit);

impl NoMemory {
    fn set() -> Self {
        // Memory that is freed here is there for messages: the allocator has it already.
        drop(vec![0_u8; 64 << 10]);
        // SAFETY: the structure is the kernel's to fill, and then to read.
        unsafe {
            let mut before: libc::rlimit = zeroed();
            assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &mut before), 0);
            let none = libc::rlimit { rlim_cur: 1, ..before };
            assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &none), 0);
            Self(before)
        }
    }
}

impl Drop for NoMemory {
    fn drop(&mut self) {
        // SAFETY: the limit that was in force.
        unsafe { libc::setrlimit(libc::RLIMIT_AS, &self.0) };
    }
}

/// The message of a panic.
fn message(panic: Box<dyn Any + Send>) -> String {
    *panic.downcast::<String>().expect("a message with a number")
}

/// Where there is no memory everything says so, nothing changes, and all goes on when there is some
/// again.
#[test]
#[ignore = "run by `in_processes_of_their_own`"]
fn want_of_memory_is_an_error() {
    static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
    static BY_CID: PerCpu<AtomicUsize, MmCid> = PerCpu::new();
    // SAFETY: bytes may be zero.
    static LARGE: PerCpu<Bytes<{ 1 << 20 }>> = unsafe { PerCpu::zeroed() };
    static COUNTER: Counter = Counter::new();
    static HISTOGRAM: Histogram = Histogram::new();
    println!("mode: {:?}", mode());
    let all = || [SLOTS.allocate(), BY_CID.allocate(), LARGE.allocate(), COUNTER.allocate(), HISTOGRAM.allocate()];
    let mut makes = 0;
    let make = |_: usize| makes += 1;
    let mut with = None;
    let mut panics = [const { None }; 4];
    std::panic::set_hook(Box::new(|_| ()));
    {
        let no_memory = NoMemory::set();
        let errors = all();
        with = with.or(Some(PerCpu::<()>::try_from_fn(make).map(drop)));
        panics[0] = catch_unwind(|| count(&SLOTS)).err();
        panics[1] = catch_unwind(|| {
            rseq! {
                prepare |cid: MmCid| { let slot = &BY_CID[cid]; let next = slot.load(Relaxed) + 1; }
                commit store(slot, next)
            }
        })
        .err();
        panics[2] = catch_unwind(|| HISTOGRAM.record(7)).err();
        panics[3] = catch_unwind(|| LARGE.iter().len()).err();
        let made = (SLOTS.made().is_some(), BY_CID.made().is_some(), LARGE.made().is_some());
        drop(no_memory);
        assert!(errors.iter().all(Result::is_err), "{errors:?}");
        assert_eq!(made, (false, false, false));
    }
    drop(std::panic::take_hook());
    assert!(with.is_some_and(|with| with.is_err_and(|error: AllocError| error.bytes() > 0)));
    assert_eq!(makes, 0);
    for panic in panics {
        let message = message(panic.expect("it panicked"));
        assert!(message.starts_with("no memory for slots of "), "{message}");
    }
    assert_eq!((COUNTER.sum(), HISTOGRAM.count()), (0, 0));

    assert_eq!(all(), [Ok(()); 5]);
    count(&SLOTS);
    COUNTER.inc();
    HISTOGRAM.record(7);
    rseq! { commit |cid: MmCid| add(&BY_CID[cid], 1) }
    assert_eq!([sum(&SLOTS), sum(&BY_CID), COUNTER.sum(), HISTOGRAM.count()], [1; 4]);
    // Slots that are made need no more memory, wherever they are used next.
    let no_memory = NoMemory::set();
    (0..100).for_each(|_| count(&SLOTS));
    let small = PerCpu::<AtomicU32>::new().allocate();
    drop(no_memory);
    assert_eq!((sum(&SLOTS), small), (101, Ok(())), "a chunk has room for more");
}

fn alone(name: &str) -> Command {
    this_test(name, &format!("{:?}", mode()))
}

/// Tests that run in a process where nobody else has slots, signals or limits.
const ALONE: &[&str] = &[
    "a_page_is_taken_by_its_owner",
    "a_page_of_60_kib_is_taken_by_its_owner",
    "a_page_of_a_mib_is_taken_by_its_owner",
    "a_locked_page_is_taken_by_its_owner",
    "who_reads_takes_no_page",
    "a_thousand_counters_take_a_handful_of_pages",
    "a_thousand_threads_take_no_more_than_one",
    "slots_of_every_size_lie_apart",
    "memory_is_used_again",
    "a_panic_in_the_making_drops_the_others",
    "a_first_use_on_top_of_another",
    "first_uses_on_top_of_each_other",
    "want_of_memory_is_an_error",
];

#[test]
fn in_processes_of_their_own() {
    in_processes(module_path!(), alone, ALONE);
}

/// The tests that depend on how threads are registered, or not.
const IN_EVERY_MODE: &[&str] = &[
    "a_page_is_taken_by_its_owner",
    "a_first_use_on_top_of_another",
    "first_uses_on_top_of_each_other",
    "the_first_use_comes_from_several_threads",
    "a_forked_child_makes_slots",
    "a_forked_child_has_the_values_as_they_were",
    "want_of_memory_is_an_error",
    "sums_grow_while_threads_add",
];

#[test]
fn with_own_registration_too() {
    in_processes(module_path!(), with_own_registration, IN_EVERY_MODE);
}

#[test]
fn in_portable_mode_too() {
    in_processes(module_path!(), forced_portable, IN_EVERY_MODE);
}
