//! Sections in a shared object that is loaded while threads run, used, quiesced and unloaded.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::{mem, thread};

use rseq::{PerCpu, rseq};
use support::fixture::{self, Fixture};
use support::{Steps, forced_portable, here, mode, must_pass, this_test, with_own_registration};

static SLOTS: PerCpu<AtomicU64> = PerCpu::new();
/// Held by the one test at a time that counts.
static ONE_RUN: Mutex<()> = Mutex::new(());

fn count() {
    rseq! {
        prepare |cpu| { let slot = &SLOTS[cpu]; let next = slot.load(Relaxed) + 1; }
        commit store(slot, next)
    }
}

/// The loaded plugin.
struct Plugin {
    handle: *mut libc::c_void,
}

impl Plugin {
    fn load(path: &Path) -> Self {
        let name = CString::new(path.as_os_str().as_encoded_bytes()).expect("no path has a NUL");
        // SAFETY: the plugin's initialisers are those of std alone.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "{} can't be loaded", path.display());
        Self { handle }
    }

    fn symbol(&self, name: &str) -> *mut libc::c_void {
        let name = CString::new(name).expect("no name has a NUL");
        // SAFETY: the handle is open.
        let symbol = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        assert!(!symbol.is_null(), "{name:?}");
        symbol
    }

    fn add(&self) -> extern "C" fn() {
        // SAFETY: the symbol's type in the plugin.
        unsafe { mem::transmute(self.symbol("plugin_add")) }
    }

    fn sum(&self) -> u64 {
        // SAFETY: the symbol's type in the plugin.
        let sum: extern "C" fn() -> u64 = unsafe { mem::transmute(self.symbol("plugin_sum")) };
        sum()
    }

    fn says(&self, name: &str) -> bool {
        // SAFETY: the type of both symbols that are asked for.
        let function: extern "C" fn() -> bool = unsafe { mem::transmute(self.symbol(name)) };
        function()
    }

    fn unload(&self) {
        // SAFETY: no thread is in the plugin, and none has a pointer into it.
        assert_eq!(unsafe { libc::dlclose(self.handle) }, 0);
    }
}

fn plugin() -> PathBuf {
    Fixture::new("plugin").build().join("libplugin.so")
}

/// The pages of this process's address space.
fn pages() -> usize {
    let numbers = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    numbers.split(' ').next().and_then(|pages| pages.parse().ok()).expect("it begins with a number")
}

/// How many pages so many rounds leave behind.
fn left_behind(rounds: usize, round: impl Fn()) -> usize {
    // Memory that is kept for good, after the first ones.
    (0..3).for_each(|_| round());
    let before = pages();
    (0..rounds).for_each(|_| round());
    pages().saturating_sub(before)
}

fn is_mapped(path: &Path) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux has it");
    maps.contains(&*path.to_string_lossy())
}

/// Uses the plugin from threads that stay alive when it is unloaded, several times. Returns whether
/// it was unmapped in the end.
fn load_use_unload(path: &Path, restartable: bool) -> bool {
    const THREADS: u64 = 4;
    const EACH: u64 = 20_000;
    const ROUNDS: u64 = 5;
    let _run = ONE_RUN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let counted = || SLOTS.iter().map(|slot| slot.load(Relaxed)).sum::<u64>();
    let before = counted();
    let steps = Steps::default();
    let done = AtomicU64::new(0);
    let add = Mutex::new(None::<extern "C" fn()>);
    let all_done = || {
        while done.load(SeqCst) < THREADS {
            thread::yield_now();
        }
        done.store(0, SeqCst);
    };
    thread::scope(|scope| {
        let _end = steps.until_dropped();
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut step = 0;
                while let Some(next) = steps.after(step) {
                    step = next;
                    // In every other step the plugin is unloaded, and the thread goes on to be
                    // preempted in sections of the executable.
                    let add =
                        (step % 2 == 1).then(|| add.lock().expect("nobody panics with it").expect("it is loaded"));
                    (0..EACH).for_each(|_| {
                        add.inspect(|add| add());
                        count();
                    });
                    done.fetch_add(1, SeqCst);
                }
            });
        }
        for _ in 0..ROUNDS {
            let plugin = Plugin::load(path);
            assert_eq!(plugin.says("plugin_is_restartable"), restartable);
            let before = plugin.sum();
            *add.lock().expect("nobody panics with it") = Some(plugin.add());
            steps.advance();
            all_done();
            assert_eq!(plugin.sum() - before, THREADS * EACH);
            assert!(plugin.says("plugin_quiesce"));
            plugin.unload();
            steps.advance();
            all_done();
        }
    });
    assert_eq!(counted() - before, 2 * ROUNDS * THREADS * EACH);
    // A handler of fork in unmapped code would end the process here.
    // SAFETY: the child ends at once.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: the child made above.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    !is_mapped(path)
}

#[test]
fn sections_of_a_plugin() {
    let restartable = matches!(mode(), rseq::Mode::Rseq(rseq::Registrar::Libc));
    let unmapped = load_use_unload(&plugin(), restartable);
    assert!(unmapped, "the plugin is still there, so nothing is proven");
}

/// With too many thread-locals to have static storage: the blocks of its threads are in the plugin
/// itself.
#[test]
fn sections_of_a_plugin_with_blocks_of_its_own() {
    let restartable = matches!(mode(), rseq::Mode::Rseq(rseq::Registrar::Libc));
    let fixture = Fixture::new("plugin").flags(&["--cfg=large"]);
    let path = fixture.build_apart("large-plugin-to-unload", &["libplugin.so"]).join("libplugin.so");
    assert!(load_use_unload(&path, restartable), "the plugin is still there, so nothing is proven");
}

/// Two copies of the crate can't both register a thread: the plugin's goes portable, beside the
/// executable's.
#[test]
#[ignore = "run by `a_plugin_beside_own_registration` in a process without libc's registration"]
fn beside_own_registration_in_process() {
    // This thread is registered by the executable now, so the plugin finds another's area on it.
    assert_eq!(mode(), rseq::Mode::Rseq(rseq::Registrar::Own));
    assert!(load_use_unload(&plugin(), false));
}

#[test]
fn a_plugin_beside_own_registration() {
    must_pass(with_own_registration(here!("beside_own_registration_in_process")));
}

/// A plugin that registered threads itself stays loaded if the kernel and libc still refer to it.
/// They don't where it registered libc's own areas, which libc didn't.
#[test]
#[ignore = "run by `a_plugin_with_own_registration` in a process without libc's registration"]
fn own_registration_in_plugin_in_process() {
    let path = plugin();
    let plugin = Plugin::load(&path);
    let add = plugin.add();
    let steps = Steps::default();
    let used = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = steps.until_dropped();
        scope.spawn(|| {
            add();
            used.store(true, SeqCst);
            // Ends with the plugin's area registered, and the plugin unloaded as far as anybody
            // asked.
            while !steps.has_ended() {
                thread::yield_now();
            }
        });
        while !used.load(SeqCst) {
            thread::yield_now();
        }
        assert!(plugin.says("plugin_is_restartable"));
        assert_eq!(plugin.sum(), 1);
        plugin.unload();
        // SAFETY: looks a name up.
        let has_areas = !unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()) }.is_null();
        assert_eq!(is_mapped(&path), !has_areas);
        // The thread goes on, and is interrupted, with what the plugin registered.
        thread::sleep(std::time::Duration::from_millis(50));
    });
}

#[test]
fn a_plugin_with_own_registration() {
    let mut test = with_own_registration(here!("own_registration_in_plugin_in_process"));
    test.env_remove("RSEQ_TEST_EXPECTS_MODE");
    must_pass(test);
}

/// Nothing is left of a plugin, but for what its threads are registered by.
#[test]
#[ignore = "run by `nothing_is_left_of_a_plugin` in processes of its own"]
fn left_of_a_plugin_in_process() {
    const ROUNDS: usize = 100;
    let path = plugin();
    let round = || {
        let plugin = Plugin::load(&path);
        plugin.add()();
        // SAFETY: the symbol's type in the plugin.
        let use_all: extern "C" fn() -> usize = unsafe { mem::transmute(plugin.symbol("plugin_use_all")) };
        assert_eq!(use_all(), 3 * rseq::slots(), "each is a plugin of its own");
        plugin.unload();
        // SAFETY: nobody else asks.
        assert!(unsafe { libc::dlerror() }.is_null());
    };
    round();
    if is_mapped(&path) {
        return println!("skipped: the plugin registered this thread, and stays loaded");
    }
    let left = left_behind(ROUNDS, round);
    assert!(left < ROUNDS, "{left} pages");
    // The control: a page of each.
    let leaking = left_behind(ROUNDS, || {
        round();
        // SAFETY: new memory, which nobody uses.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, PRIVATE, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
    });
    assert!(leaking >= ROUNDS, "{leaking} pages");
}

const PRIVATE: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

#[test]
fn nothing_is_left_of_a_plugin() {
    must_pass(this_test(here!("left_of_a_plugin_in_process"), &format!("{:?}", mode())));
    must_pass(forced_portable(here!("left_of_a_plugin_in_process")));
    let mut own = with_own_registration(here!("left_of_a_plugin_in_process"));
    own.env_remove("RSEQ_TEST_EXPECTS_MODE");
    must_pass(own);
}

/// A library whose destructor takes its time. It is loaded ahead of the plugin, so its turn comes
/// after that.
const SLOW: &str = "#include <unistd.h>\n__attribute__((destructor)) static void end(void) { usleep(100000); }\n";

/// Threads of a plugin, and one that asks for its values, go on when the process ends, until it is
/// over.
#[test]
#[ignore = "run by `threads_go_on_at_the_end_of_the_process` in a process of its own"]
fn at_the_end_in_process() {
    let path = plugin();
    let slow = CString::new(std::env::var("RSEQ_TEST_SLOW").expect("whoever runs this says so")).expect("no NUL");
    // SAFETY: it initialises nothing.
    assert!(!unsafe { libc::dlopen(slow.as_ptr(), libc::RTLD_NOW) }.is_null());
    let plugin = Plugin::load(&path);
    // SAFETY: the symbol's type in the plugin.
    let sum: extern "C" fn() -> u64 = unsafe { mem::transmute(plugin.symbol("plugin_sum")) };
    let add = plugin.add();
    static TURNS: AtomicU64 = AtomicU64::new(0);
    for _ in 0..2 {
        thread::spawn(move || {
            loop {
                add();
                assert!(sum() > 0);
                TURNS.fetch_add(1, SeqCst);
            }
        });
    }
    while TURNS.load(SeqCst) < 1000 {
        thread::yield_now();
    }
    println!("test result: 1 passed");
    // SAFETY: has no precondition.
    unsafe { libc::exit(0) };
}

#[test]
fn threads_go_on_at_the_end_of_the_process() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("slow");
    std::fs::create_dir_all(&folder).expect("there is room for a folder");
    let (source, library) = (folder.join("slow.c"), folder.join("slow.so"));
    std::fs::write(&source, SLOW).expect("there is room for it");
    fixture::print_of(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source));
    for preloaded in [String::new(), format!("{}:{}", plugin().display(), library.display())] {
        let mut test = this_test(here!("at_the_end_in_process"), &format!("{:?}", mode()));
        // Then they are libraries of the program's, which are initialised ahead of it.
        test.env("RSEQ_TEST_SLOW", &library).env("LD_PRELOAD", preloaded);
        must_pass(test);
    }
}
