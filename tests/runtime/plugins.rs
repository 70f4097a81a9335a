//! Shared objects that are loaded later, many of them, or with many thread-locals: they ask the
//! loader for no static thread-local storage, and are exact.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "../fixtures/plugin/src/plugins.rs"]
#[allow(dead_code, reason = "programs alone load copies into namespaces")]
mod copies;

use std::collections::BTreeSet;
use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{fs, mem, thread};

use copies::Scope;
use object::elf::{
    DF_STATIC_TLS, DT_FLAGS, FileHeader32, FileHeader64, R_386_TLS_IE, R_386_TLS_TPOFF, R_386_TLS_TPOFF32,
    R_X86_64_TPOFF32, R_X86_64_TPOFF64,
};
use object::read::elf::{Dyn, ElfFile, FileHeader, ProgramHeader};
use object::{Endianness, FileKind, Object, ObjectSymbol, RelocationFlags};
use support::fixture::{self, Fixture, Linker, linkers, print_of};
use support::{
    Count, Disturbance, forced_portable, here, in_child, mode, must_be_exact, must_lose, must_pass, one_run,
    with_own_registration,
};

/// More than this process would have static storage for.
const MANY: usize = 64;

const PLUGIN: &str = "libplugin.so";

/// The plugin by itself, and a program that doesn't use the crate.
fn small() -> (PathBuf, PathBuf) {
    let folder = Fixture::new("plugin").build();
    (folder.join(PLUGIN), folder.join("host"))
}

/// The plugin with 64 KiB of thread-locals, for which there never is static storage.
fn large() -> PathBuf {
    static LARGE: OnceLock<PathBuf> = OnceLock::new();
    let build = || Fixture::new("plugin").flags(&["--cfg=large"]).build_apart("large-plugin", &[PLUGIN]).join(PLUGIN);
    LARGE.get_or_init(build).clone()
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
        assert_eq!(copies::use_copies(&plugin, MANY, Scope::Own), BTreeSet::from([registrar()]));
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

/// Thread-local storage of this file, and what it wants of the loader: the flag for static
/// storage, and relocations that need it.
fn wants_static_storage(path: &Path) -> bool {
    let bytes = fs::read(path).expect("it was just built");
    match FileKind::parse(&*bytes).expect("an ELF file") {
        FileKind::Elf32 => {
            wants::<FileHeader32<Endianness>>(&bytes, &[R_386_TLS_TPOFF, R_386_TLS_TPOFF32, R_386_TLS_IE])
        }
        _ => wants::<FileHeader64<Endianness>>(&bytes, &[R_X86_64_TPOFF64, R_X86_64_TPOFF32]),
    }
}

fn wants<H: FileHeader<Endian = Endianness>>(bytes: &[u8], static_relocations: &[u32]) -> bool {
    let file: ElfFile<'_, H> = ElfFile::parse(bytes).expect("an ELF file");
    let endian = file.endian();
    let dynamic = file.elf_program_headers().iter().find_map(|header| header.dynamic(endian, bytes).transpose());
    let dynamic = dynamic.expect("it is linked dynamically").expect("an ELF file");
    let is_flags = |entry: &&H::Dyn| entry.d_tag(endian).into() == DT_FLAGS;
    let is_flagged =
        dynamic.iter().find(is_flags).is_some_and(|entry| entry.d_val(endian).into() & u64::from(DF_STATIC_TLS) != 0);
    let relocations = file.dynamic_relocations().into_iter().flatten();
    let is_relocated = relocations.into_iter().any(|(_, relocation)| {
        matches!(relocation.flags(), RelocationFlags::Elf { r_type } if static_relocations.contains(&r_type))
    });
    is_flagged || is_relocated
}

/// By each linker that is there.
#[test]
fn nothing_wants_static_storage() {
    for (linker, name) in [("bfd", "ld.bfd"), ("gold", "ld.gold"), ("mold", "ld.mold")] {
        if Command::new(name).arg("--version").output().is_err() {
            println!("skipped: there is no {name}");
            continue;
        }
        let flag = format!("-Clink-arg=-fuse-ld={linker}");
        let fixture = Fixture::new("plugin").flags(&["-Clinker-features=-lld", &flag]);
        let plugin = fixture.build_apart(&format!("plugin-by-{linker}"), &[PLUGIN]).join(PLUGIN);
        assert!(!wants_static_storage(&plugin), "{linker}");
        assert_eq!(copies::use_copies(&plugin, 10, Scope::Own), BTreeSet::from([registrar()]), "{linker}");
    }
    assert!(!wants_static_storage(&small().0));
}

/// Functions that a shared object of C's takes from the plugin, as a `staticlib`.
const TAKEN: &str = "
    extern void plugin_add(void), plugin_add_by_window(void), plugin_sum(void), plugin_sum_of_windows(void);
    extern void plugin_registrar(void), plugin_thread_locals(void), plugin_has_begun(void);
    void (*const taken[])(void) = {
        plugin_add, plugin_add_by_window, plugin_sum, plugin_sum_of_windows,
        plugin_registrar, plugin_thread_locals, plugin_has_begun,
    };
";

/// Several of one `staticlib`, each by itself; and so that the loader takes the first one's
/// functions for those of all, which then serve sections of others.
#[test]
fn shared_objects_of_c() {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let plugin = Fixture::new("plugin");
    let krate = plugin.uses_for(TARGET);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shared-objects-of-c");
    fs::create_dir_all(&folder).expect("there is room for a folder");
    let (source, library) = (folder.join("taken.c"), folder.join("libplugin.a"));
    fs::write(&source, TAKEN).expect("there is room for it");
    let mut rustc = fixture::rustc(&krate, TARGET, &plugin.source("lib.rs"));
    print_of(rustc.args(["--crate-name=plugin", "--crate-type=staticlib", "-o"]).arg(&library));
    for Linker { name, flags } in linkers() {
        let shared = folder.join(format!("{name}.so"));
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-o"]).arg(&shared).arg(&source).arg(&library).args(&flags);
        print_of(&mut compile);
        assert!(!wants_static_storage(&shared), "{name}");
        for scope in ["own", "global"] {
            for (variable, value, registrar) in [
                ("RSEQ_MODE", "", registrar()),
                ("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 2),
                ("RSEQ_MODE", "portable", 0),
            ] {
                assert_eq!(host(&shared, &["3", scope], &[(variable, value)]), format!("{{{registrar}}}"), "{name}");
            }
        }
    }
}

/// The workspace with another version of rseq-core, and what a plugin takes beside that.
fn workspace_of_another_version() -> PathBuf {
    let (here, copy) = (Path::new(env!("CARGO_MANIFEST_DIR")), Path::new(env!("CARGO_TARGET_TMPDIR")).join("version"));
    for folder in ["rseq-core", "tests/fixtures/plugin"] {
        fs::create_dir_all(copy.join(folder)).expect("there is room for a folder");
    }
    for same in
        ["src", "README.md", "rseq-core/src", "rseq-core/build.rs", "rseq-core/gdb", "tests/fixtures/plugin/src"]
    {
        let _there_is_none = fs::remove_file(copy.join(same));
        std::os::unix::fs::symlink(here.join(same), copy.join(same)).expect("there is room for it");
    }
    let (version, other) = (env!("CARGO_PKG_VERSION"), "0.0.99");
    for manifest in ["Cargo.toml", "rseq-core/Cargo.toml", "tests/fixtures/plugin/Cargo.toml"] {
        let text = fs::read_to_string(here.join(manifest)).expect("there is one");
        let text = text.split("[dev-dependencies]").next().expect("text before it or all of it");
        let members = text.lines().find(|line| line.starts_with("members")).unwrap_or("\0");
        let mut text = text.replace(members, r#"members = ["rseq-core"]"#).replace(
            &format!(r#"path = "rseq-core", version = "={version}""#),
            &format!(r#"path = "rseq-core", version = "={other}""#),
        );
        for (path, name) in [("rseq-macros", "rseq-macros"), ("../rseq-abi", "rseq-abi")] {
            text = text.replace(&format!("path = {path:?}"), &format!("path = {:?}", here.join(name)));
        }
        if manifest.starts_with("rseq-core") {
            text = text.replacen("version.workspace = true", &format!("version = {other:?}"), 1);
        }
        fs::write(copy.join(manifest), text).expect("there is room for it");
    }
    copy
}

/// Of two versions of rseq-core, beside the one of this program.
#[test]
fn plugins_of_two_versions() {
    let of_another = Fixture::in_workspace(&workspace_of_another_version(), "plugin").build_apart("other", &[PLUGIN]);
    let versions = [small().0, of_another.join(PLUGIN)];
    let symbols = |path: &PathBuf| {
        let bytes = fs::read(path).expect("it was just built");
        let file = object::File::parse(&*bytes).expect("an ELF file");
        let names: Vec<_> = file.symbols().filter_map(|symbol| symbol.name().ok()).collect();
        names.iter().find(|name| name.starts_with("__rseq_dsl_fast_")).map(|name| (*name).to_owned())
    };
    let [this, other] = [&versions[0], &versions[1]].map(symbols);
    assert!(this != other && other.as_deref() == Some("__rseq_dsl_fast_0_0_99"), "{this:?} {other:?}");
    for scope in [Scope::Own, Scope::Global] {
        for version in &versions {
            assert_eq!(copies::use_copies(version, 2, scope), BTreeSet::from([registrar()]));
        }
    }
}

/// A library that uses the plugin before that is initialised, and prints what it counted.
const EARLY: &str = r#"
    #include <pthread.h>
    #include <stdio.h>
    extern void plugin_add(void), plugin_add_by_window(void);
    extern unsigned long plugin_sum(void), plugin_sum_of_windows(void);
    extern _Bool plugin_has_begun(void);
    extern unsigned plugin_registrar(void);
    static void* add(void* begun) {
        *(_Bool*)begun = plugin_has_begun();
        for (int i = 0; i < 10; i++) plugin_add_by_window(), plugin_add();
        return 0;
    }
    __attribute__((constructor)) static void early(void) {
        _Bool begun[2];
        pthread_t thread;
        pthread_create(&thread, 0, add, begun);
        pthread_join(thread, 0);
        add(begun + 1);
        printf("%d%d %lu %lu %u", begun[0], begun[1], plugin_sum(), plugin_sum_of_windows(), plugin_registrar());
        fflush(stdout);
    }
"#;

/// As a library that takes the place of `malloc` would be: by others' initialisers, in threads that
/// these start, and by windows first.
#[test]
fn sections_ahead_of_the_initialiser() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("early");
    fs::create_dir_all(&folder).expect("there is room for a folder");
    let (source, library) = (folder.join("early.c"), folder.join("early.so"));
    fs::write(&source, EARLY).expect("there is room for it");
    print_of(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source));
    for plugin in [small().0, large()] {
        for (tunables, registrar) in [("", registrar()), ("glibc.pthread.rseq=0", 2)] {
            let mut early = Command::new("true");
            // The object that is loaded last is initialised first, if neither needs the other.
            early.env("LD_PRELOAD", format!("{}:{}", plugin.display(), library.display()));
            early.env("GLIBC_TUNABLES", tunables).env_remove("RSEQ_MODE");
            assert_eq!(print_of(&mut early), format!("00 20 20 {registrar}"));
        }
    }
}

/// There every shared object is refused that wants static storage when it is loaded later, and no
/// libc registers threads.
#[test]
fn plugins_on_musl() {
    const MUSL: &str = "x86_64-unknown-linux-musl";
    if !fixture::is_installed(MUSL) || Command::new("musl-gcc").arg("--version").output().is_err() {
        return println!("skipped: needs the target {MUSL} and musl-gcc (musl-tools)");
    }
    // The unwinder of Rust's library, of which musl-gcc has no shared object.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("musl-gcc");
    fs::create_dir_all(&folder).expect("there is room for a folder");
    let unwinder = fixture::sysroot().join("lib/rustlib").join(MUSL).join("lib/self-contained/libunwind.a");
    fs::write(folder.join("libgcc_s.so"), format!("INPUT({})", unwinder.display())).expect("there is room for it");
    let search = format!("-L{}", folder.display());
    let flags = ["-Ctarget-feature=-crt-static", "-Clinker=musl-gcc", "-Clink-self-contained=no", &search];
    let folder = Fixture::new("plugin").flags(&flags).target(MUSL).build_apart("plugin-on-musl", &[PLUGIN, "host"]);
    let plugin = folder.join(PLUGIN);
    assert!(!wants_static_storage(&plugin));
    let output = Command::new(folder.join("host")).arg("64").arg(&plugin).output().expect("it can be run");
    let (text, reasons) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((text.trim(), output.status.code()), ("{0}", Some(0)), "{reasons}");
    assert_eq!(reasons.matches(&rseq::Reason::OutOfReach.to_string()).count(), MANY, "{reasons}");
    // Loaded at the start it has static storage.
    let mut host = Command::new(folder.join("host"));
    host.env("LD_PRELOAD", &plugin).env_remove("RSEQ_MODE");
    assert_eq!(print_of(host.arg("0").arg(&plugin).arg("start")), "2");
}

/// A machine whose code asks no linker where blocks are (`by_stores.rs` in rseq-core), with 32
/// bits.
#[test]
fn plugins_of_another_machine() {
    const I686: &str = "i686-unknown-linux-gnu";
    if !fixture::is_installed(I686) || !fixture::runs_32_bits() {
        return println!("skipped: needs the target {I686}, gcc-multilib, and a kernel that runs such programs");
    }
    for (name, flag) in [("plugin-of-i686", "-Copt-level=3"), ("large-plugin-of-i686", "--cfg=large")] {
        let plugin = Fixture::new("plugin").flags(&[flag]).target(I686).build_apart(name, &[PLUGIN, "host"]);
        let (plugin, host) = (plugin.join(PLUGIN), plugin.join("host"));
        assert!(!wants_static_storage(&plugin));
        for (tunables, mode, registrar) in [("", "", registrar()), ("glibc.pthread.rseq=0", "", 2), ("", "portable", 0)]
        {
            let mut host = Command::new(&host);
            host.env("GLIBC_TUNABLES", tunables).env("RSEQ_MODE", mode).arg("64").arg(&plugin);
            assert_eq!(print_of(&mut host), format!("{{{registrar}}}"), "{name}");
        }
    }
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

/// Threads that all live at once: those that no block is left for work on the shared slot.
#[test]
fn more_threads_than_blocks() {
    const THREADS: u64 = 600;
    const EACH: u64 = 20;
    let _run = one_run();
    let plugin = plugin();
    for _ in 0..2 {
        let before = (plugin.sum)();
        let all_there = std::sync::Barrier::new(THREADS as usize);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                let work = || {
                    all_there.wait();
                    (0..EACH).for_each(|_| (plugin.add)(0));
                    all_there.wait();
                };
                thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, work).expect("there is room for it");
            }
        });
        assert_eq!((plugin.sum)() - before, THREADS * EACH);
    }
}

/// A child has its thread's block, and those of the others are nobody's.
#[test]
fn a_forked_child_runs_sections_of_a_plugin() {
    let _run = one_run();
    let plugin = plugin();
    (plugin.add)(0);
    let counts = || {
        let before = (plugin.sum)();
        (0..1000).for_each(|turn| (plugin.add)(turn % 2));
        (plugin.sum)() >= before + 1000
    };
    assert_eq!(in_child(counts), 0);
    assert!(counts());
}

const DISTURBANCES: [Disturbance; 4] =
    [Disturbance::Preemption, Disturbance::Signals, Disturbance::SignalsLeftEarly, Disturbance::Migration];

#[test]
fn sections_of_a_plugin_are_exact() {
    // Functions that the handlers call are looked up ahead of them.
    let restartable = (plugin().registrar)() != 0;
    for disturbance in DISTURBANCES {
        must_be_exact(PROTECTED, disturbance, 20_000, restartable);
    }
    must_lose(UNPROTECTED, Disturbance::Signals, 20_000, restartable);
}

/// In other modes the host's sections have decided first, so that this plugin finds what it can't
/// use.
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
    must_pass(with_own_registration(here!("exact_in_process")));
    must_pass(forced_portable(here!("exact_in_process")));
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
    let mut test = with_own_registration(here!("exact_by_own_registration_in_process"));
    test.env_remove("RSEQ_TEST_EXPECTS_MODE");
    must_pass(test);
}
