//! Sections in a shared object that is loaded while threads run, used, quiesced and unloaded.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "support/fixture.rs"]
mod fixture;
mod support;

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::{mem, thread};

use rseq::{PerCpu, rseq};
use support::{Steps, mode, must_pass, with_own_registration};

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
    fixture::Fixture::new("plugin").build().join("libplugin.so")
}

fn is_mapped(path: &Path) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux has it");
    maps.contains(&*path.to_string_lossy())
}

/// Uses the plugin from threads that stay alive when it is unloaded, several times. Returns whether it was unmapped in the end.
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
                    // In every other step the plugin is unloaded, and the thread goes on to be preempted in sections of the executable.
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
    let fixture = fixture::Fixture::new("plugin").flags(&["--cfg=large"]);
    let path = fixture.build_apart("large-plugin-to-unload", &["libplugin.so"]).join("libplugin.so");
    assert!(load_use_unload(&path, restartable), "the plugin is still there, so nothing is proven");
}

/// Two copies of the crate can't both register a thread: the plugin's goes portable, beside the executable's.
#[test]
#[ignore = "run by `a_plugin_beside_own_registration` in a process without libc's registration"]
fn beside_own_registration_in_process() {
    // This thread is registered by the executable now, so the plugin finds another's area on it.
    assert_eq!(mode(), rseq::Mode::Rseq(rseq::Registrar::Own));
    assert!(load_use_unload(&plugin(), false));
}

#[test]
fn a_plugin_beside_own_registration() {
    must_pass(with_own_registration("beside_own_registration_in_process"));
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
            // Ends with the plugin's area registered, and the plugin unloaded as far as anybody asked.
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
    let mut test = with_own_registration("own_registration_in_plugin_in_process");
    test.env_remove("RSEQ_TEST_EXPECTS_MODE");
    must_pass(test);
}
