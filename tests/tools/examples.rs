//! Runs the examples as programs, on files whose totals are computed here, in every mode that this
//! machine has.

#![cfg(not(miri))]

use std::env::{self, consts::EXE_SUFFIX};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::{NamedTempFile, TempDir};

/// An example's environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Setting {
    /// The environment of the tests themselves.
    Inherited,
    Portable,
    /// libc is to register no thread.
    WithoutLibc,
}

const SETTINGS: [Setting; 3] = [Setting::Inherited, Setting::Portable, Setting::WithoutLibc];

impl Setting {
    fn apply(self, command: &mut Command) {
        match self {
            Self::Inherited => {}
            Self::Portable => _ = command.env("RSEQ_MODE", "portable"),
            Self::WithoutLibc => _ = command.env_remove("RSEQ_MODE").env("GLIBC_TUNABLES", "glibc.pthread.rseq=0"),
        }
    }
}

/// The result of a run.
struct Run {
    code: Option<i32>,
    out: String,
    errors: String,
}

/// The built example, which lies beside the directory of the tests: `target/<profile>/examples`.
fn binary(name: &str) -> PathBuf {
    let test = env::current_exe().expect("the test knows where it is");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let binary = profile.join("examples").join(format!("{name}{EXE_SUFFIX}"));
    assert!(
        binary.exists(),
        "{} isn't built: `cargo test` does it, but not when `--test` names a single target; run `cargo build --examples` in the same \
         profile before that",
        binary.display()
    );
    binary
}

fn run(name: &str, arguments: &[&str], setting: Setting) -> Run {
    let mut command = Command::new(binary(name));
    setting.apply(command.args(arguments));
    let output = command.output().expect("the example starts");
    Run {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("the examples print UTF-8"),
        errors: String::from_utf8(output.stderr).expect("the examples print UTF-8"),
    }
}

impl Run {
    /// Fails unless the program said nothing on stderr and exited with 0.
    #[track_caller]
    fn succeeded(self) -> Self {
        assert_eq!((self.code, self.errors.as_str()), (Some(0), ""), "{}", self.out);
        self
    }

    /// The words behind a name at the start of a line.
    #[track_caller]
    fn text(&self, name: &str) -> &str {
        let behind = self.out.lines().find_map(|line| line.strip_prefix(name));
        behind.unwrap_or_else(|| panic!("no line {name} in\n{}", self.out)).trim()
    }

    #[track_caller]
    fn number(&self, name: &str) -> u64 {
        number(self.text(name))
    }

    /// The sum of a table's first column: the lines below the one that starts with its title, up to
    /// an empty one; 0 without a table.
    fn sum(&self, title: &str) -> u64 {
        let below = self.out.lines().skip_while(|line| !line.starts_with(title)).skip(1);
        below.map_while(|line| line.split_whitespace().next()).map(number).sum()
    }

    /// The mode is the one that was asked for.
    #[track_caller]
    fn in_setting(&self, setting: Setting) {
        let mode = self.text("mode");
        if setting == Setting::Portable {
            assert!(mode.contains("portable"), "{mode}");
        }
        if setting == Setting::WithoutLibc {
            assert!(!mode.contains("registered by libc"), "{mode}");
        }
    }
}

/// A number printed with its thousands apart.
#[track_caller]
fn number(text: &str) -> u64 {
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn file(contents: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a temporary file");
    fs::write(&file, contents).expect("it can be written");
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("the name of a temporary file is UTF-8")
}

/// Each byte value `v` occurs `v + 1` times.
fn every_byte() -> Vec<u8> {
    (0..=255).flat_map(|value| vec![value; usize::from(value) + 1]).collect()
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The totals that `counter` printed are those of these bytes.
#[track_caller]
fn assert_totals(run: &Run, files: u64, bytes: &[u8]) {
    let printed = ["files", "bytes", "lines"].map(|name| run.number(name));
    assert_eq!(printed, [files, bytes.len() as u64, lines(bytes)], "{}", run.out);
    assert_eq!(run.text("check"), "exact");
}

#[test]
fn counter_counts() {
    let text = b"one\ntwo\nthree, without an end";
    let file = file(text);
    for setting in SETTINGS {
        let run = run("counter", &[path(&file)], setting).succeeded();
        assert_totals(&run, 1, text);
        run.in_setting(setting);
        let updates = (text.len() as u64 + lines(text)) * run.number("passes");
        assert_eq!(run.number("updates  "), updates);
        assert_eq!(run.sum("updates by the slot"), updates);
    }
}

#[test]
fn counter_counts_every_byte_value() {
    let bytes = every_byte();
    let file = file(&bytes);
    for setting in SETTINGS {
        let run = run("counter", &["--threads", "7", path(&file)], setting).succeeded();
        assert_totals(&run, 1, &bytes);
        assert_eq!(run.text("most frequent of"), "256 byte values");
        assert_eq!(run.sum("most frequent of"), (247..=256).sum::<u64>());
        for named in [r"256    0.8 %  '\xff'", r"247    0.8 %  '\xf6'"] {
            assert!(run.out.contains(named), "{}", run.out);
        }
    }
}

#[test]
fn counter_adds_files_up() {
    let (first, second) = (every_byte(), b"\n\n\n".repeat(50_000));
    let files = [file(&first), file(&second), file(b"")];
    let run = run("counter", &["--quiet", path(&files[0]), path(&files[1]), path(&files[2])], Setting::Inherited);
    assert_totals(&run.succeeded(), 3, &[first, second].concat());
}

#[test]
fn counter_takes_an_empty_file() {
    let file = file(b"");
    for setting in SETTINGS {
        let run = run("counter", &[path(&file)], setting).succeeded();
        assert_totals(&run, 1, b"");
        assert_eq!(run.number("updates"), 0);
    }
}

#[test]
fn counter_reads_the_sources_by_default() {
    let run = run("counter", &["--quiet"], Setting::Inherited).succeeded();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let few = ["src/lib.rs", "Cargo.toml", "examples/counter.rs", "examples/common/mod.rs"];
    let least: u64 = few.map(|file| fs::metadata(root.join(file)).expect("a source file").len()).iter().sum();
    assert!(run.number("files") > few.len() as u64 && run.number("bytes") > least, "{}", run.out);
    assert_eq!(run.text("check"), "exact");
}

/// Whatever can't be read is named, the rest is used, and the exit code says so.
#[test]
fn unreadable_files_are_named() {
    let text = b"a\nb\n";
    let (file, directory) = (file(text), TempDir::new().expect("a temporary directory"));
    let missing = directory.path().join("missing");
    let [missing, directory] = [&missing, directory.path()].map(|path| path.to_str().expect("UTF-8"));
    for (name, option, value) in [("counter", "--threads", "2"), ("push_pop", "--rounds", "100")] {
        let run = run(name, &[option, value, missing, path(&file), directory], Setting::Inherited);
        assert_eq!(run.code, Some(1), "{}", run.out);
        let named: Vec<&str> = run.errors.lines().filter_map(|line| line.split(": ").next()).collect();
        assert_eq!(named, [missing, directory], "{}", run.errors);
        assert_eq!((run.number("files"), run.number("bytes")), (1, text.len() as u64));
        assert_eq!(run.text("check"), "exact");
    }
}

/// No node is lost, every round is accounted for, and so is every section.
#[track_caller]
fn assert_moved(run: &Run, nodes: u64, attempts: u64) {
    let [to_array, to_list, full, nothing] =
        ["list to array", "array to list", "array was full", "nothing there"].map(|name| run.number(name));
    assert_eq!(["nodes  ", "lost", "duplicated", "spoilt"].map(|name| run.number(name)), [nodes, 0, 0, 0]);
    assert_eq!(run.text("check"), "exact");
    assert_eq!(to_array + to_list + full + nothing, attempts, "{}", run.out);
    assert_eq!(run.sum("nodes left in lists") + run.sum("nodes left in arrays"), nodes, "{}", run.out);
    assert_eq!(run.sum("nodes left in arrays"), to_array - to_list, "{}", run.out);
    // Each node is pushed once at first; a move takes a pop and a push.
    assert_eq!(run.sum("sections by slot"), nodes + 2 * (to_array + to_list + full), "{}", run.out);
}

#[test]
fn push_pop_keeps_every_node() {
    // Eight whole buffers and a part of one.
    let file = file(&every_byte());
    let nodes = every_byte().len().div_ceil(4096) as u64;
    for setting in SETTINGS {
        let run = run("push_pop", &["--threads", "7", "--rounds", "20000", path(&file)], setting).succeeded();
        assert_moved(&run, nodes, 7 * 20_000);
        run.in_setting(setting);
        assert!(run.number("list to array") > 0, "{}", run.out);
    }
}

#[test]
fn push_pop_moves_among_many() {
    // Thousands of nodes, far more than the arrays hold.
    let bytes = every_byte().repeat(500);
    let file = file(&bytes);
    let run = run("push_pop", &["--threads", "3", "--rounds", "50000", path(&file)], Setting::Inherited).succeeded();
    assert_moved(&run, bytes.len().div_ceil(4096) as u64, 3 * 50_000);
}

#[test]
fn push_pop_has_nothing_to_move() {
    let file = file(b"");
    let run = run("push_pop", &["--threads", "2", "--rounds", "10", path(&file)], Setting::Inherited).succeeded();
    assert_moved(&run, 0, 20);
}

#[test]
fn operations_are_right_and_keep_every_item() {
    for setting in SETTINGS {
        let run = run("operations", &["--threads", "7", "--rounds", "20000"], setting).succeeded();
        assert_eq!((run.number("lost"), run.number("duplicated")), (0, 0), "{}", run.out);
        assert_eq!(run.text("check"), "exact", "{}", run.out);
        assert_eq!(run.out.matches("  right  ").count(), 9, "{}", run.out);
        run.in_setting(setting);
    }
}

#[test]
fn push_pop_reads_the_sources_by_default() {
    let run = run("push_pop", &["--rounds", "1000"], Setting::Inherited).succeeded();
    assert_eq!(run.number("nodes  "), run.number("bytes").div_ceil(4096));
    assert_eq!(run.text("check"), "exact");
}

#[test]
fn doctor_finds_sections_exact() {
    for setting in SETTINGS {
        let run = run("doctor", &["--seconds", "0.2"], setting).succeeded();
        let [threads, handlers, sum] =
            ["sections in threads", "sections in handlers", "sum of the counters"].map(|name| run.number(name));
        assert!(threads > 0 && run.text("verdict:").starts_with("exact"), "{}", run.out);
        assert_eq!((sum, run.sum("sections by slot")), (threads + handlers, threads + handlers), "{}", run.out);
        if cfg!(target_os = "linux") {
            assert!(run.number("signals sent") > 0, "{}", run.out);
        }
    }
}

#[test]
fn doctor_says_what_is_in_use() {
    let portable = run("doctor", &["--no-test"], Setting::Portable).succeeded();
    assert!(portable.text("mode:").starts_with("portable"), "{}", portable.out);
    assert!(!portable.out.contains("verdict"), "{}", portable.out);
    let usual = run("doctor", &["--no-test"], Setting::Inherited).succeeded();
    if usual.out.contains("registered by libc") {
        let without = run("doctor", &["--no-test"], Setting::WithoutLibc).succeeded();
        assert!(without.text("threads:").contains("by this crate"), "{}", without.out);
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for (name, arguments) in [
        ("counter", ["--threads", "0"]),
        ("push_pop", ["--rounds", "many"]),
        ("doctor", ["--seconds", "soon"]),
        ("doctor", ["--seconds", "NaN"]),
    ] {
        let run = run(name, &arguments, Setting::Inherited);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""));
        assert!(run.errors.contains(arguments[0]), "{}", run.errors);
    }
}

/// An emulator without the system call. (`.ci/run` installs it.)
#[test]
fn doctor_finds_sections_exact_under_valgrind() {
    let mut command = Command::new("valgrind");
    command.args(["--tool=none", "--quiet"]).arg(binary("doctor")).args(["--seconds", "0.2"]);
    match command.output() {
        Err(error) => println!("skipped: valgrind can't be run: {error}"),
        Ok(output) => {
            let out = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
            assert!(out.contains("the kernel has no rseq system call"), "{out}");
            assert!(out.contains("verdict: exact"), "{out}");
        }
    }
}
