//! Shared objects that are loaded later, many of them, or with many thread-locals: they ask the loader for no static thread-local storage, and are exact.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "support/fixture.rs"]
mod fixture;
#[path = "fixtures/plugin/src/plugins.rs"]
mod plugins;
mod support;

use std::collections::BTreeSet;
use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{fs, mem};

use fixture::{Fixture, print_of};
use object::elf::{DF_STATIC_TLS, DT_FLAGS, R_X86_64_TPOFF32, R_X86_64_TPOFF64};
use object::read::elf::{Dyn, ElfFile64, ProgramHeader};
use object::{Endianness, Object, RelocationFlags};
use support::{Count, Disturbance, forced_portable, mode, must_be_exact, must_lose, must_pass, with_own_registration};

/// More than this process would have static storage for.
const MANY: usize = 64;

/// The plugin by itself, and a program that doesn't use the crate.
fn small() -> (PathBuf, PathBuf) {
    let folder = Fixture::new("plugin").build();
    (folder.join("libplugin.so"), folder.join("host"))
}

/// The plugin with 64 KiB of thread-locals, for which there never is static storage.
fn large() -> PathBuf {
    static LARGE: OnceLock<PathBuf> = OnceLock::new();
    LARGE.get_or_init(|| Fixture::new("plugin").flags(&["--cfg=large"]).build().join("libplugin.so")).clone()
}

/// Who registers threads, as plugins say it where nothing is in their way.
fn registrar() -> u32 {
    if fixture::libc_registers() { 1 } else { 2 }
}

/// The host, with these arguments, and what it says of the plugins: who registered their threads.
fn host(plugin: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut host = Command::new(small().1);
    host.env_remove("GLIBC_TUNABLES").env_remove("RSEQ_MODE").envs(environment.iter().copied());
    print_of(host.arg(arguments[0]).arg(plugin).args(&arguments[1..]))
}

#[test]
fn the_host_is_without_the_crate() {
    let bytes = fs::read(small().1).expect("it was just built");
    let file = object::File::parse(&*bytes).expect("an ELF file");
    assert!(file.section_by_name(".note.rseq").is_none() && file.section_by_name("__rseq_cs").is_none());
}

#[test]
fn many_plugins_of_a_host_without_the_crate() {
    for plugin in [small().0, large()] {
        assert_eq!(host(&plugin, &["64"], &[]), format!("{{{}}}", registrar()));
    }
}

#[test]
fn many_plugins_of_a_host_with_the_crate() {
    for plugin in [small().0, large()] {
        assert_eq!(plugins::use_copies(&plugin, MANY, false), BTreeSet::from([registrar()]));
    }
}

/// They share the areas that libc doesn't use.
#[test]
fn many_plugins_register_threads_themselves() {
    for plugin in [small().0, large()] {
        assert_eq!(host(&plugin, &["64"], &[("GLIBC_TUNABLES", "glibc.pthread.rseq=0")]), "{2}");
    }
}

#[test]
fn many_plugins_in_portable_mode() {
    assert_eq!(host(&large(), &["64"], &[("RSEQ_MODE", "portable")]), "{0}");
}

#[test]
fn plugins_in_namespaces_of_their_own() {
    assert_eq!(host(&small().0, &["3", "namespaces"], &[]), format!("{{{}}}", registrar()));
}

/// What is thread-local in this file, and what it wants of it from the loader: the flag for static storage, and relocations that need it.
fn wants_static_storage(path: &Path) -> bool {
    let bytes = fs::read(path).expect("it was just built");
    let file: ElfFile64<'_, Endianness> = ElfFile64::parse(&*bytes).expect("an ELF file");
    let endian = file.endian();
    let dynamic = file.elf_program_headers().iter().find_map(|header| header.dynamic(endian, &*bytes).transpose());
    let dynamic = dynamic.expect("it is linked dynamically").expect("an ELF file");
    let is_flags = |entry: &&object::elf::Dyn64<Endianness>| entry.d_tag(endian) == DT_FLAGS;
    let is_flagged = dynamic.iter().find(is_flags).is_some_and(|entry| entry.d_val(endian) & u64::from(DF_STATIC_TLS) != 0);
    let relocations = file.dynamic_relocations().into_iter().flatten();
    let is_relocated = relocations.into_iter().any(|(_, relocation)| {
        matches!(relocation.flags(), RelocationFlags::Elf { r_type: R_X86_64_TPOFF64 | R_X86_64_TPOFF32 })
    });
    is_flagged || is_relocated
}

/// By each linker that is there.
#[test]
fn nothing_wants_static_storage() {
    for (linker, name) in [("bfd", "ld.bfd"), ("gold", "ld.gold"), ("mold", "mold")] {
        if Command::new(name).arg("--version").output().is_err() {
            println!("skipped: there is no {name}");
            continue;
        }
        let flag = format!("-Clink-arg=-fuse-ld={linker}");
        let folder = Fixture::new("plugin").flags(&["-Clinker-features=-lld", &flag]).build();
        let plugin = folder.join("libplugin.so");
        assert!(!wants_static_storage(&plugin), "{linker}");
        assert_eq!(plugins::use_copies(&plugin, 10, false), BTreeSet::from([registrar()]), "{linker}");
    }
    assert!(!wants_static_storage(&small().0));
}

/// A plugin whose blocks are in its own table, for sections under disturbance.
struct Functions {
    add: extern "C" fn(u32),
    unprotected: extern "C" fn(u32),
    leave: extern "C" fn(),
    sum: extern "C" fn() -> u64,
    aborts: extern "C" fn() -> u64,
    registrar: extern "C" fn() -> u32,
}

fn plugin() -> &'static Functions {
    static PLUGIN: OnceLock<Functions> = OnceLock::new();
    PLUGIN.get_or_init(|| {
        let name = CString::new(large().as_os_str().as_encoded_bytes()).expect("no path has a NUL");
        // SAFETY: the plugin's initialisers are those of std and of the crate.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "{name:?} can't be loaded");
        let symbol = |name: &str| -> *mut c_void {
            let name = CString::new(name).expect("no name has a NUL");
            // SAFETY: the handle is open.
            unsafe { libc::dlsym(handle, name.as_ptr()) }
        };
        // SAFETY: the types of these functions in the plugin.
        unsafe {
            Functions {
                add: mem::transmute::<*mut c_void, extern "C" fn(u32)>(symbol("plugin_add_slowly")),
                unprotected: mem::transmute::<*mut c_void, extern "C" fn(u32)>(symbol("plugin_add_unprotected")),
                leave: mem::transmute::<*mut c_void, extern "C" fn()>(symbol("plugin_leave")),
                sum: mem::transmute::<*mut c_void, extern "C" fn() -> u64>(symbol("plugin_sum")),
                aborts: mem::transmute::<*mut c_void, extern "C" fn() -> u64>(symbol("plugin_aborts")),
                registrar: mem::transmute::<*mut c_void, extern "C" fn() -> u32>(symbol("plugin_registrar")),
            }
        }
    })
}

const PROTECTED: Count = Count {
    add: |turns| (plugin().add)(turns),
    leave: || (plugin().leave)(),
    sum: || (plugin().sum)(),
    aborts: || (plugin().aborts)(),
};
const UNPROTECTED: Count = Count { add: |turns| (plugin().unprotected)(turns), ..PROTECTED };

const DISTURBANCES: [Disturbance; 4] =
    [Disturbance::Preemption, Disturbance::Signals, Disturbance::SignalsLeftEarly, Disturbance::Migration];

#[test]
fn sections_of_a_plugin_are_exact() {
    // What the handlers call is looked up ahead of them.
    let restartable = (plugin().registrar)() != 0;
    for disturbance in DISTURBANCES {
        must_be_exact(PROTECTED, disturbance, 20_000, restartable);
    }
    must_lose(UNPROTECTED, Disturbance::Signals, 20_000, restartable);
}

/// In other modes the host's sections have decided first, so that this plugin finds what it can't use.
#[test]
#[ignore = "run by `sections_of_a_plugin_are_exact_in_other_modes` in a process of its own"]
fn exact_in_process() {
    let _decided = mode();
    for disturbance in DISTURBANCES {
        must_be_exact(PROTECTED, disturbance, 2_000, false);
    }
}

#[test]
fn sections_of_a_plugin_are_exact_in_other_modes() {
    must_pass(with_own_registration("exact_in_process"));
    must_pass(forced_portable("exact_in_process"));
}

/// The plugin registers the threads.
#[test]
#[ignore = "run by `sections_of_a_plugin_that_registers_threads_are_exact` in a process of its own"]
fn exact_by_own_registration_in_process() {
    assert_eq!((plugin().registrar)(), 2);
    for disturbance in DISTURBANCES {
        must_be_exact(PROTECTED, disturbance, 20_000, true);
    }
}

#[test]
fn sections_of_a_plugin_that_registers_threads_are_exact() {
    let mut test = with_own_registration("exact_by_own_registration_in_process");
    test.env_remove("RSEQ_TEST_EXPECTS_MODE");
    must_pass(test);
}
