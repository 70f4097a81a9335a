//! The program's output, and the status by which it ends.

use std::path::Path;
use std::process::{Command, Output};

use super::corpus::Fixture;
use tempfile::TempDir;

/// Files to ask about.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("there is room"))
    }

    fn with(self, name: &str, fixture: &Fixture) -> Self {
        std::fs::write(self.0.path().join(name), fixture.build()).expect("there is room");
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        command(self.0.path(), arguments).output().expect("it starts")
    }

    fn prints(&self, arguments: &[&str], status: i32) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// The message of a run that ends with 2.
    fn error(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
        String::from_utf8(output.stderr).expect("it is text")
    }
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-rseq"));
    command.current_dir(directory).args(arguments).env_remove("CLICOLOR_FORCE").env_remove("RSEQ_MODE");
    command
}

fn good() -> Files {
    Files::new()
        .with("classic", &Fixture::classic())
        .with("prepare", &Fixture::prepare().with_note("prepare cpu_id"))
        .with("bad", &Fixture::classic().with_bytes("signature", &[0; 4]).with_bytes("commit", &[0x48, 0x8b, 0x3a]))
}

#[test]
fn lists() {
    insta::assert_snapshot!("list_prepare", good().prints(&["list", "prepare"], 0));
    insta::assert_snapshot!("list_classic", good().prints(&["list", "classic"], 0));
}

#[test]
fn lists_as_json() {
    insta::assert_snapshot!("list_json", good().prints(&["list", "prepare", "--json"], 0));
}

#[test]
fn shows() {
    insta::assert_snapshot!("show_prepare", good().prints(&["show", "prepare"], 0));
    insta::assert_snapshot!("show_classic", good().prints(&["show", "classic", "0x401010"], 0));
}

#[test]
fn shows_as_json() {
    let json: serde_json::Value =
        serde_json::from_str(&good().prints(&["show", "prepare", "queue.rs:7", "--json"], 0)).expect("it is JSON");
    let lines = json[0]["parts"][0]["lines"].as_array().expect("there are some");
    let marks = |number: usize| lines[number]["marks"].to_string();
    assert_eq!(
        (marks(0), marks(3), marks(7)),
        (r#"["publish"]"#.into(), r#"["start","check"]"#.into(), r#"["commit"]"#.into())
    );
    assert_eq!(json[0]["operation"], "store(slot, next)");
}

#[test]
fn verifies() {
    insta::assert_snapshot!("verify_good", good().prints(&["verify", "prepare"], 0));
    insta::assert_snapshot!("verify_bad", good().prints(&["verify", "bad"], 1));
}

#[test]
fn verifies_as_json() {
    let json: serde_json::Value =
        serde_json::from_str(&good().prints(&["verify", "bad", "--json"], 1)).expect("it is JSON");
    let checks: Vec<_> =
        json["findings"].as_array().expect("there are some").iter().map(|finding| finding["check"].as_str()).collect();
    assert_eq!((checks, json["windows"].as_u64()), (vec![Some("signature"), Some("commit")], Some(1)));
}

#[test]
fn is_called_by_cargo_or_directly() {
    let files = good();
    assert_eq!(files.prints(&["rseq", "verify", "classic"], 0), files.prints(&["verify", "classic"], 0));
    assert!(files.prints(&["rseq", "--help"], 0).contains("cargo rseq"));
}

#[test]
fn colours_are_for_terminals() {
    let files = good();
    assert!(!files.prints(&["verify", "bad"], 1).contains('\x1b'));
    let coloured =
        |name: &str| command(files.0.path(), &["verify", "bad"]).env(name, "1").output().expect("it starts").stdout;
    assert!(coloured("CLICOLOR_FORCE").contains(&0x1b) && !coloured("NO_COLOR").contains(&0x1b));
}

#[test]
fn files_that_cannot_be_checked() {
    let files = good();
    std::fs::write(files.0.path().join("text"), "no ELF file").expect("there is room");
    assert!(files.error(&["verify", "text"]).starts_with("error: not a valid ELF file"));
    assert!(files.error(&["list", "none"]).starts_with("error: can't read none"));
    assert!(files.error(&["list", "."]).contains("not a regular file"));
    assert!(files.error(&["show", "classic", "nobody"]).contains("no section matches"));
    assert!(files.error(&["verify"]).contains("Usage"));
}

#[cfg(target_os = "linux")]
#[test]
fn doctor_says_what_to_do() {
    let files = Files::new();
    let run = |name: &str, value: &str| {
        let output = command(files.0.path(), &["doctor"]).env(name, value).output().expect("it starts");
        (output.status.code(), String::from_utf8(output.stdout).expect("it is text"))
    };
    let (status, portable) = run("RSEQ_MODE", "portable");
    assert!(status == Some(1) && portable.contains("portable (a lock per slot)"), "{portable}");
    let (_, usual) = run("RSEQ_TEST", "");
    if usual.contains("registered by libc") {
        assert!(portable.contains("take RSEQ_MODE=portable out of the environment"), "{portable}");
        let (status, without) = run("GLIBC_TUNABLES", "glibc.pthread.rseq=0");
        assert!(status == Some(0) && without.contains("GLIBC_TUNABLES has glibc.pthread.rseq=0"), "{without}");
    }
}
