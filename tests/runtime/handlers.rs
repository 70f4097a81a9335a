//! Functions that handlers of signals may call. Every public one says it, and those that say so are
//! called from handlers on top of whatever a handler may interrupt.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::hint::black_box;
use std::io::Write;
use std::mem::forget;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use std::{fs, ptr, thread};

use rseq::metrics::{PerCpuRecorder, PrometheusCollector};
use rseq::opentelemetry::{Family, WithHistograms};
use rseq::prometheus::{WithBounds, powers_of_two};
use rseq::tracing::Meter;
use rseq::{
    Counter, CpuId, Histogram, MmCid, PerCpu, Pool, Pooled, Ring, Snapshot, Stack, drain, fence, portable, quiesce,
    slots, status,
};
use support::{
    forced_portable, handle_signals, here, in_processes, mode, must_fail, shorter, slowness, this_test,
    with_own_registration,
};

/// The handler's call, with the functions that this is for.
type Operation = (&'static [&'static str], fn());

static COUNTER: Counter = Counter::new();
static HISTOGRAM: Histogram = Histogram::new();
static STACK: Stack<u64> = Stack::new();
static WIDE: Stack<[u64; 5], 8> = Stack::new();
static RING: Ring<u64> = Ring::new();
static POOL: Pool<[u8; 2000], 2> = Pool::new(|| [0; 2000]);
static SLOTS: PerCpu<AtomicUsize> = PerCpu::new();
static METER: Meter = Meter::new();
static FAMILY: LazyLock<Family<Counter>> = LazyLock::new(|| {
    let family = Family::<Counter>::with_limit(2);
    family.get(&[]).inc();
    family
});
static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| serde_json::from_str(SERIALIZED).expect("it is one"));
const SERIALIZED: &str = r#"{"parts":32,"buckets":[[1,1],[10,2]]}"#;
static RECORDER: LazyLock<Arc<PerCpuRecorder>> = LazyLock::new(Arc::default);

const OPERATIONS: &[Operation] = &[
    (&["Counter::inc", "Counter::add", "Counter::sum", "Counter::take"], || {
        COUNTER.inc();
        COUNTER.add(2);
        black_box((COUNTER.take(), COUNTER.sum()));
    }),
    (&["Counter::new", "Counter::allocate"], || Counter::new().allocate().expect("there is memory")),
    (&["Histogram::record", "Histogram::record_many", "Histogram::count"], || {
        HISTOGRAM.record(7);
        HISTOGRAM.record_many(1000, 3);
        black_box(HISTOGRAM.count());
    }),
    (&["Histogram::new", "Histogram::allocate"], || Histogram::<1>::new().allocate().expect("there is memory")),
    (
        &[
            "Snapshot::empty",
            "Snapshot::parts",
            "Snapshot::count",
            "Snapshot::buckets",
            "Snapshot::quantile",
            "Snapshot::min",
            "Snapshot::max",
            "Snapshot::sum",
            "Snapshot::mean",
            "Snapshot::count_up_to",
            "Bucket::first",
            "Bucket::last",
            "Bucket::middle",
            "Bucket::contains",
        ],
        || {
            let [min, max] = [SNAPSHOT.min(), SNAPSHOT.max()].map(|bucket| bucket.expect("it has values"));
            assert!(min.contains(min.middle()) && min.last() < max.first());
            assert_eq!((SNAPSHOT.quantile(0.0), SNAPSHOT.quantile(1.0)), (Some(min), Some(max)));
            assert_eq!((SNAPSHOT.count(), SNAPSHOT.count_up_to(5), SNAPSHOT.buckets().count()), (3, 1, 2));
            black_box((SNAPSHOT.sum(), SNAPSHOT.mean(), Snapshot::empty(SNAPSHOT.parts())));
        },
    ),
    (&["Stack::push", "Stack::pop", "Stack::len", "Stack::is_empty"], || {
        // Twice as many as there can be on one CPU come and go.
        let _is_full = (STACK.push(1), STACK.push(2), WIDE.push([3; 5]));
        black_box((STACK.pop(), WIDE.pop(), WIDE.pop(), STACK.len(), STACK.is_empty()));
    }),
    (&["Stack::new", "Stack::allocate"], || {
        let stack = Stack::<u64>::new();
        stack.allocate().expect("there is memory");
        stack.push(1).expect("there is room");
    }),
    (&["Pool::try_take", "Pooled::try_return", "Pooled::detach", "Pool::idle"], || {
        let Some(mut object) = POOL.try_take() else { return };
        object[0] = object[0].wrapping_add(1);
        // The other way to be rid of one in a handler. (There are a thousand at first.)
        match Pooled::try_return(object) {
            Ok(()) => _ = black_box(POOL.idle()),
            Err(object) => forget(Pooled::detach(object)),
        }
    }),
    (&["Pool::new", "Pool::allocate"], || {
        let pool = Pool::<u64>::new(|| 0);
        pool.allocate().expect("there is memory");
        assert!(pool.try_take().is_none());
    }),
    (&["Ring::push", "Ring::drain", "Ring::len", "Ring::is_empty"], || {
        let _is_full = (RING.push(1), RING.push(2));
        black_box((RING.drain().map(Iterator::count), RING.len(), RING.is_empty()));
    }),
    (&["Ring::new", "Ring::allocate"], || {
        let ring = Ring::<u64>::new();
        ring.allocate().expect("there is memory");
        ring.push(1).expect("there is room");
    }),
    (&["PerCpu::new", "PerCpu::allocate", "PerCpu::made", "PerCpu::len"], || {
        let slots = PerCpu::<AtomicUsize, MmCid>::new();
        slots.allocate().expect("there is memory");
        assert_eq!(slots.made().map(|slots| slots.len()), Some(slots.len()));
    }),
    (
        &[
            "PerCpu::zeroed",
            "PerCpu::from_fn",
            "PerCpu::try_from_fn",
            "PerCpu::iter",
            "PerCpu::iter_mut",
            "AllocError::bytes",
        ],
        || {
            // SAFETY: bytes may be zero. They have address space of their own.
            let bytes: PerCpu<[u8; 100_000]> = unsafe { PerCpu::zeroed() };
            assert_eq!(bytes.iter().filter(|slot| slot[99_999] == 0).count(), slots());
            let mut numbers = PerCpu::<usize>::from_fn(|index| index + 1);
            numbers.iter_mut().for_each(|number| *number -= 1);
            let same =
                PerCpu::<usize>::try_from_fn(|index| index).map_err(|error| error.bytes()).expect("there is memory");
            assert!(numbers.iter().eq(&same));
            assert!(PerCpu::<usize>::with(|index| index).iter().eq(&same));
        },
    ),
    (&["slots", "CpuId::new", "CpuId::get", "MmCid::new", "MmCid::get"], || {
        let last = slots() - 1;
        assert_eq!((CpuId::new(last).map(CpuId::get), MmCid::new(last).map(MmCid::get)), (Some(last), Some(last)));
    }),
    (
        &[
            "status",
            "Status::mode",
            "Status::kernel",
            "Status::libc",
            "Status::registered_bytes",
            "Status::is_v2",
            "Status::has_node_id",
            "Status::has_mm_cid",
            "Status::has_fences",
            "Status::slice_extension",
            "Status::possible_cpus",
            "Status::borrows_area",
        ],
        || {
            let status = status();
            assert!(!status.borrows_area() && status.possible_cpus() + 1 == slots());
            black_box((status.mode(), status.kernel(), status.libc(), status.registered_bytes(), status.is_v2()));
            black_box((status.has_node_id(), status.has_mm_cid(), status.has_fences(), status.slice_extension()));
        },
    ),
    (&["fence::all", "fence::cpu", "quiesce", "FenceError::errno"], || {
        let fences = [fence::all(), quiesce(), fence::cpu(first_cpu())];
        _ = black_box(fences.map(|fence| fence.map_err(|error| error.errno())));
    }),
    (
        &["drain::stop", "drain::stop_by", "drain::resume", "drain::insist", "Stopped::count", "Stopped::set_count"],
        || {
            let number = &SLOTS[first_cpu()];
            let stopped = [drain::stop(number, first_cpu()), drain::stop_by(number, fence::all)];
            for mut stopped in stopped.into_iter().flatten() {
                stopped.set_count(stopped.count() ^ 1);
            }
            drain::insist(number, 0);
            drain::resume(number);
        },
    ),
    (&["portable::force", "portable::inject_aborts"], || {
        // Once it is decided, it stays.
        assert_eq!(portable::force().is_err(), matches!(status().mode(), rseq::Mode::Rseq(_)));
        portable::inject_aborts(0);
    }),
    (&["Meter::new", "Meter::allocate", "Meter::events", "Meter::busy", "Meter::untimed"], || {
        METER.events(tracing::Level::INFO).inc();
        METER.busy(tracing::Level::INFO).record(1);
        METER.untimed().inc();
        Meter::new().allocate().expect("there is memory");
    }),
    (&["powers_of_two", "WithBounds::per_unit", "PrometheusCollector::new", "PerCpuRecorder::capped"], || {
        let bounds = WithBounds::new(&HISTOGRAM, []).per_unit(powers_of_two(1..=1).sum());
        forget((bounds, PrometheusCollector::new(RECORDER.clone())));
        black_box(RECORDER.capped());
    }),
    (
        &[
            "Family::new",
            "Family::with_limit",
            "Family::len",
            "Family::is_empty",
            "Family::each",
            "WithHistograms::new",
        ],
        || {
            FAMILY.each(|counter, _| counter.inc());
            assert!(!FAMILY.is_empty() && FAMILY.len() == 1);
            assert!(Family::<Counter>::new().is_empty() && Family::<Counter>::with_limit(7).is_empty());
            black_box(WithHistograms::new(()));
        },
    ),
];

fn first_cpu() -> CpuId {
    CpuId::new(0).expect("every machine has a CPU")
}

/// The operation that the handler calls next, and how often it has called each.
static NEXT: AtomicUsize = AtomicUsize::new(0);
static CALLED: [AtomicUsize; OPERATIONS.len()] = [const { AtomicUsize::new(0) }; OPERATIONS.len()];

extern "C" fn call_next(_: libc::c_int) {
    let next = NEXT.fetch_add(1, SeqCst) % OPERATIONS.len();
    // SAFETY: the calling thread's, which a handler is to leave as it was.
    let errno = || unsafe { *libc::__errno_location() };
    let before = errno();
    OPERATIONS[next].1();
    assert_eq!(errno(), before, "{:?}", OPERATIONS[next].0);
    CALLED[next].fetch_add(1, SeqCst);
}

/// Has handlers come on top of `activity` until it says that this is enough. If that doesn't come
/// to pass, the process is ended: whoever hangs can't fail.
fn interrupted(handler: extern "C" fn(libc::c_int), mut activity: impl FnMut() -> bool) {
    static HANDLER: AtomicUsize = AtomicUsize::new(0);
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    extern "C" fn handle(signal: libc::c_int) {
        // SAFETY: stored below from such a function.
        let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(HANDLER.load(SeqCst)) };
        handler(signal);
        HANDLED.fetch_add(1, SeqCst);
    }
    fn disturb(thread: libc::pthread_t) {
        for turn in 0.. {
            let before = HANDLED.load(SeqCst);
            // SAFETY: the thread is there, because it waits for this one.
            unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
            while HANDLED.load(SeqCst) == before && !IS_OVER.load(SeqCst) {
                thread::yield_now();
            }
            if IS_OVER.load(SeqCst) {
                return;
            }
            // Then the other one gets on, by more or less.
            (0..turn % 64 * 32).for_each(|step| _ = black_box(step));
        }
    }
    end_in_time();
    HANDLER.store(handler as usize, SeqCst);
    handle_signals(handle);
    // SAFETY: has no precondition.
    let this = unsafe { libc::pthread_self() };
    let disturbing = thread::spawn(move || disturb(this));
    while !activity() {}
    IS_OVER.store(true, SeqCst);
    disturbing.join().expect("it doesn't panic");
}

/// Ends the process by a signal, unless it is over in time.
fn end_in_time() {
    const LIMIT: u32 = 100;
    // SAFETY: asks for a signal.
    unsafe { libc::alarm(LIMIT * slowness()) };
}

/// Calls every operation on top of `activity`, from the first one of the process on.
fn each_on_top_of(mut activity: impl FnMut()) {
    let (each, mut turns) = ((10 / shorter()).max(1), 100 / shorter());
    let _ready = (&*SNAPSHOT, &*RECORDER, &*FAMILY);
    interrupted(call_next, || {
        activity();
        // One that handlers may take.
        drop(POOL.take());
        turns = turns.saturating_sub(1);
        turns == 0 && CALLED.iter().all(|called| called.load(SeqCst) as u64 >= each)
    });
    mode();
}

#[test]
#[ignore = "run by `handlers_come_on_top_of_anything`"]
fn over_the_same() {
    let mut turn = 0;
    each_on_top_of(|| {
        let (same, before) = (turn % OPERATIONS.len(), CALLED[turn % OPERATIONS.len()].load(SeqCst));
        turn += 1;
        while CALLED[same].load(SeqCst) == before {
            NEXT.store(same, SeqCst);
            OPERATIONS[same].1();
        }
    });
}

fn allocate() {
    // Sizes of each way that allocators go, and one that grows.
    let blocks: [Vec<u8>; 8] = std::array::from_fn(|turn| vec![1; 20 << turn]);
    let objects: [Box<[u8; 2000]>; 8] = std::array::from_fn(|_| Box::new([1; 2000]));
    black_box((blocks, objects, (0..300_u64).collect::<Vec<_>>(), vec![0_u8; 1 << 20]));
}

#[test]
#[ignore = "run by `handlers_come_on_top_of_anything`"]
fn over_allocations() {
    each_on_top_of(allocate);
}

#[test]
#[ignore = "run by `handlers_come_on_top_of_anything`"]
fn over_printing() {
    let mut kept = fs::File::options().write(true).open("/dev/null").expect("it is there");
    each_on_top_of(|| {
        println!("{:?} at the {}th", thread::current().id(), NEXT.load(SeqCst));
        writeln!(kept, "{}", 1.5).expect("it takes anything");
        // SAFETY: a C string, and the stream of that name.
        unsafe {
            libc::printf(c"by libc\n".as_ptr());
            libc::fflush(ptr::null_mut());
        }
    });
}

#[test]
#[ignore = "run by `handlers_come_on_top_of_anything`"]
fn over_forks() {
    each_on_top_of(|| {
        // SAFETY: the child calls what may be called there, and ends.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            end_in_time();
            OPERATIONS.iter().for_each(|(_, call)| call());
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        let mut status = 1;
        // SAFETY: waits for the child made above; a signal may come first.
        while unsafe { libc::waitpid(child, &mut status, 0) } != child {}
        assert_eq!(status, 0, "how the child ended");
    });
}

/// A library that nobody has loaded.
fn library() -> &'static Path {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("handlers");
        fs::create_dir_all(&folder).expect("there is room for a folder");
        let (source, library) = (folder.join("loaded.c"), folder.join("loaded.so"));
        fs::write(&source, "#include <stdio.h>\nint loaded(void) { return puts(\"\"); }\n")
            .expect("there is room for it");
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(compiled.expect("cc is there").success());
        library
    });
    &LIBRARY
}

#[test]
#[ignore = "run by `handlers_come_on_top_of_anything`"]
fn over_loading() {
    let name = std::env::var("RSEQ_TEST_LIBRARY").expect("whoever runs this says it");
    let name = CString::new(name).expect("it has no NUL");
    each_on_top_of(|| {
        // SAFETY: it initialises nothing. The name is looked up, and the handle closed.
        unsafe {
            let handle = libc::dlopen(name.as_ptr(), libc::RTLD_NOW);
            assert!(!handle.is_null());
            assert!(!libc::dlsym(handle, c"loaded".as_ptr()).is_null());
            assert!(libc::dlsym(handle, c"nothing".as_ptr()).is_null());
            assert_eq!(libc::dlclose(handle), 0);
        }
    });
}

const ACTIVITIES: &[&str] = &["over_the_same", "over_allocations", "over_printing", "over_forks", "over_loading"];

fn with_library(mut command: Command) -> Command {
    command.env("RSEQ_TEST_LIBRARY", library());
    command
}

#[test]
fn handlers_come_on_top_of_anything() {
    in_processes(module_path!(), |name| with_library(this_test(name, &format!("{:?}", mode()))), ACTIVITIES);
}

#[test]
fn they_do_with_own_registration() {
    in_processes(module_path!(), |name| with_library(with_own_registration(name)), ACTIVITIES);
}

#[test]
fn they_do_in_portable_mode() {
    in_processes(module_path!(), |name| with_library(forced_portable(name)), ACTIVITIES);
}

/// The control: what allocates, in a handler on top of the allocator.
#[test]
#[ignore = "run by `what_is_not_safe_is_caught` in a process that it ends"]
fn what_allocates_over_allocations() {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn take(_: libc::c_int) {
        drop([(); 8].map(|()| POOL.take()));
        TAKEN.fetch_add(1, SeqCst);
    }
    // Who stands still needs no longer.
    thread::spawn(|| {
        let mut before = usize::MAX;
        while before != TAKEN.load(SeqCst) {
            before = TAKEN.load(SeqCst);
            thread::sleep(Duration::from_secs(1) * slowness());
        }
        // SAFETY: ends the process, whatever others are at.
        unsafe { libc::_exit(1) };
    });
    interrupted(take, || {
        allocate();
        TAKEN.load(SeqCst) > 100_000
    });
}

#[test]
fn what_is_not_safe_is_caught() {
    let mut runs = 0;
    must_fail(|| {
        runs += 1;
        let output =
            this_test(here!("what_allocates_over_allocations"), "").env_remove("RSEQ_TEST_EXPECTS_MODE").output();
        !output.expect("the test executable can be run").status.success()
    });
    println!("in run {runs}");
}

/// The word in the documentation of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Safe,
    Unsafe,
    Missing,
}

impl Word {
    fn of(documentation: &str) -> Self {
        let text = documentation.to_lowercase();
        match (text.contains("async-signal-safe"), text.contains("not async-signal-safe")) {
            (true, false) => Self::Safe,
            (true, true) => Self::Unsafe,
            (false, _) => Self::Missing,
        }
    }
}

/// The public functions of the facade, and what they say of themselves.
fn functions() -> BTreeMap<String, Word> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &Path| fs::read_to_string(file).expect("it can be read");
    let mut files = Vec::new();
    ["src", "rseq-core/src"].iter().for_each(|folder| files_below(&root.join(folder), &mut files));
    // Names that the facade exports, and those of the modules that it exports.
    let mut exported = exports(&read(&root.join("src/lib.rs")));
    let modules: Vec<(&PathBuf, String)> = files.iter().filter_map(|file| Some((file, module(file)?))).collect();
    let (public, _): (Vec<_>, Vec<_>) = modules.into_iter().partition(|(_, name)| exported.contains(name));
    public.iter().for_each(|(file, _)| exported.extend(exports(&read(file))));
    let mut functions = BTreeMap::new();
    for file in &files {
        let module = public.iter().find(|(path, _)| *path == file).map(|(_, name)| name.as_str());
        for (owner, name, word) in functions_of(&read(file)) {
            let owners = if owner == "$kind" { vec!["CpuId", "MmCid"] } else { vec![owner.as_str()] };
            for owner in owners {
                let path = match (owner, module) {
                    ("", _) if exported.contains(&name) => name.clone(),
                    ("", Some(module)) => format!("{module}::{name}"),
                    ("", None) => continue,
                    (owner, None) if !exported.contains(owner) => continue,
                    (owner, _) => format!("{owner}::{name}"),
                };
                functions.insert(path, word);
            }
        }
    }
    functions
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The module that a file is.
fn module(file: &Path) -> Option<String> {
    let file = if file.ends_with("mod.rs") { file.parent()? } else { file };
    Some(file.file_stem()?.to_str()?.to_owned())
}

/// The names in what is public by `pub use`.
fn exports(source: &str) -> BTreeSet<String> {
    let public = source.split("pub mod __private").next().unwrap_or_default();
    let uses = public.split("\npub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let words = uses.flat_map(|names| names.split(|letter: char| letter != '_' && !letter.is_alphanumeric()));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The public functions of a file: the type that each is of, its name, and its word.
fn functions_of(source: &str) -> Vec<(String, String, Word)> {
    let (mut found, mut owner, mut above) = (Vec::new(), (0, String::new()), String::new());
    for line in source.lines() {
        let (indent, line) = (line.len() - line.trim_start().len(), line.trim());
        if line.starts_with("///") || line.starts_with("#[") {
            above.push_str(line);
            above.push('\n');
            continue;
        }
        let above = std::mem::take(&mut above);
        if let Some(rest) = line.strip_prefix("impl") {
            owner = (indent, implemented(rest));
        }
        let words = line.strip_prefix("pub ").map(|rest| rest.split("fn ").collect::<Vec<_>>());
        let Some(&[qualifiers, rest]) = words.as_deref() else { continue };
        let is_function =
            qualifiers.split_whitespace().all(|word| ["const", "unsafe", "extern", "\"C\""].contains(&word));
        if is_function && !above.contains("doc(hidden)") {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            let of = if indent > owner.0 { owner.1.clone() } else { String::new() };
            found.push((of, name.to_owned(), Word::of(&above)));
        }
    }
    found
}

/// The type in the head of an `impl`, behind its generics. What is of a trait has no `pub`.
fn implemented(head: &str) -> String {
    let mut depth = 0;
    let is_outside = |letter: &char| {
        depth += i32::from(*letter == '<') - i32::from(*letter == '>');
        depth == 0 && *letter != '>'
    };
    let outside: String = head.replace("->", "").chars().filter(is_outside).collect();
    outside.trim().split([' ', '{']).next().unwrap_or_default().to_owned()
}

/// The words of the page: by function, whether handlers may call it.
fn page() -> BTreeMap<String, Word> {
    let page = include_str!("../../docs/handlers.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter_map(|row| row.split('|').collect::<Vec<_>>().try_into().ok());
    let mut functions = BTreeMap::new();
    for row in rows {
        let [owner, safe, rest, _]: [&str; 4] = row;
        for (column, word) in [(safe, Word::Safe), (rest, Word::Unsafe)] {
            for name in column.split('`').skip(1).step_by(2) {
                let of = owner.trim().strip_prefix('`').map_or(String::new(), |owner| owner.replace('`', "::"));
                functions.insert(format!("{of}{name}"), word);
            }
        }
    }
    functions
}

/// Each function has the word in its documentation, and it is the page's.
#[test]
fn every_function_says_it() {
    let (functions, page) = (functions(), page());
    let missing: Vec<_> = functions.iter().filter(|(_, word)| **word == Word::Missing).collect();
    assert!(missing.is_empty(), "no word on async-signal-safety in the documentation of {missing:#?}");
    let differ: Vec<_> = functions.iter().filter(|(name, word)| page.get(*name) != Some(word)).collect();
    assert!(differ.is_empty(), "docs/handlers.md has another word, or none, for {differ:#?}");
    let gone: Vec<_> = page.keys().filter(|name| !functions.contains_key(*name)).collect();
    assert!(gone.is_empty(), "docs/handlers.md has what there isn't: {gone:#?}");
    assert!(functions.len() > 90, "all are found: {functions:#?}");
}

/// Each that is safe is called by handlers here, and no other.
#[test]
fn every_safe_function_is_called() {
    let functions = functions();
    let safe = functions.iter().filter(|(_, word)| **word == Word::Safe).map(|(name, _)| name.as_str());
    let called = OPERATIONS.iter().flat_map(|(names, _)| names.iter().copied());
    assert_eq!(called.collect::<BTreeSet<_>>(), safe.collect::<BTreeSet<_>>());
}
