//! The program, on input whose results are known: the same by both allocators, for any number of
//! threads, in every mode.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::{Command, Output};

use tempfile::NamedTempFile;

/// How a run differs from the others.
#[derive(Clone, Copy, Debug)]
enum Setting {
    System,
    PerCpu,
    Portable,
    WithoutLibc,
}

const SETTINGS: [Setting; 4] = [Setting::System, Setting::PerCpu, Setting::Portable, Setting::WithoutLibc];

impl Setting {
    fn apply(self, command: &mut Command) {
        match self {
            Self::System => command.env("ALLOCATOR", "system"),
            Self::PerCpu => command.env("ALLOCATOR", "percpu"),
            Self::Portable => command.env("RSEQ_MODE", "portable"),
            Self::WithoutLibc => command.env_remove("RSEQ_MODE").env("GLIBC_TUNABLES", "glibc.pthread.rseq=0"),
        };
    }
}

fn words(arguments: &[&str], setting: Setting) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_words"));
    setting.apply(command.args(arguments));
    command.output().expect("the program starts")
}

/// The output of a successful run.
#[track_caller]
fn results(arguments: &[&str], setting: Setting) -> String {
    let output = words(arguments, setting);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let name = if matches!(setting, Setting::System) { "system: " } else { "percpu: " };
    assert!(errors.starts_with(name), "{setting:?}: {errors}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

#[test]
fn made_up_records_have_the_same_results() {
    let expected = results(&["run", "--records", "1000", "--threads", "1"], Setting::System);
    assert!(expected.starts_with("records  1000\n"), "{expected}");
    for setting in SETTINGS {
        for threads in ["1", "3", "8"] {
            assert_eq!(results(&["run", "--records", "1000", "--threads", threads], setting), expected, "{setting:?}");
        }
    }
}

#[test]
fn files_are_counted() {
    let file = NamedTempFile::new().expect("a temporary file");
    fs::write(&file, "one two, two\nTHREE three-three\n\nÄpfel äpfel äpfel 1 äpfel\n").expect("it can be written");
    let path = file.path().to_str().expect("the name of a temporary file is UTF-8");
    for setting in SETTINGS {
        let found = results(&["run", path, path], setting);
        let expected = [
            "records  8",
            "words    20",
            "distinct 4",
            "       8 äpfel",
            "       6 three",
            "       4 two",
            "       2 one",
        ];
        let lines: Vec<&str> =
            found.lines().filter(|line| !line.starts_with("bytes") && !line.starts_with("digest")).collect();
        assert_eq!(lines, expected, "{setting:?}");
    }
}

#[test]
fn both_are_compared() {
    let arguments = ["compare", "--runs", "2", "--threads", "1,3", "--records", "200"];
    let output = words(&arguments, Setting::PerCpu);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<_> = text.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(rows, ["1", "3", "the"], "{text}");
}

#[test]
fn what_is_wrong_is_refused() {
    for (arguments, named) in [
        (&["run", "--threads", "0"][..], "--threads"),
        (&["compare", "--runs", "many"], "--runs"),
        (&["run", "no such file"], "no such file"),
        (&["compare", "no such file"], "no such file"),
    ] {
        let output = words(arguments, Setting::PerCpu);
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains(named), "{output:?}");
    }
}

/// Each pattern of allocation, by each allocator, at least once.
#[test]
fn patterns_are_compared() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_patterns"));
    let output = command.args(["compare", "--runs", "1", "--objects", "10000"]).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = |name: &str| text.lines().filter(|line| line.trim_start().starts_with(name)).count();
    let patterns = text.lines().filter(|line| line.contains(": ns ") || line.contains(": MB ")).count();
    assert_eq!((rows("system "), rows("percpu ")), (patterns, patterns), "{text}");
    assert!(patterns >= 10, "{text}");
}
