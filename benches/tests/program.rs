//! The program's command line: which tables it prints, and what it says of mistakes. As little as
//! possible is measured, and no figure is looked at.

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// The program in a folder of its own.
struct Program(TempDir);

impl Program {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("there is room"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_rseq-bench"));
        // Backtraces are for what the program doesn't expect.
        program.env("RUST_BACKTRACE", "1").env_remove("RSEQ_LIBRSEQ");
        program.args(arguments).current_dir(&self.0).output().expect("it starts")
    }

    /// The output of a run that succeeds.
    fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// The tables of a run that measures as little as possible.
    fn measures(&self, arguments: &[&str]) -> String {
        self.prints(&[&["--blocks", "1", "--processes", "1", "--slice", "1", "--threads", "1"], arguments].concat())
    }

    /// The message of a run that fails before it has measured or written anything.
    fn error(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        assert!(!self.0.path().join("target").exists(), "{output:?}");
        let message = String::from_utf8(output.stderr).expect("it is text");
        assert!(message.starts_with("error: ") && !message.contains("backtrace"), "{message}");
        message
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The lines of a table that compare a contender with itself.
fn references(tables: &str) -> Vec<&str> {
    let compared = tables.lines().filter_map(|line| line.strip_suffix(" | 1.00 | 1.00 - 1.00 |"));
    compared.filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect()
}

#[test]
fn structures_and_contenders_are_listed() {
    let program = Program::new();
    let all = program.prints(&["--list"]);
    for line in
        ["counter: add to one, over and over", "    Counter", "records: pop and push three words", "    Mutex<Vec>"]
    {
        assert!(all.lines().any(|found| found == line), "{line} in\n{all}");
    }
    let one = program.prints(&["--list", "--only", "ring"]);
    assert!(one.starts_with("ring: push 16 and take them\n    Ring\n") && !one.contains("Counter"), "{one}");
    assert!(one.contains("(librseq is left out: it needs RSEQ_LIBRSEQ"), "{one}");
    assert!(!program.file("target").exists(), "nothing was measured");
}

#[test]
fn tables_are_relative_to_the_first() {
    let program = Program::new();
    let tables = program.measures(&["--only", "ring,counter"]);
    let titles: Vec<_> = tables.lines().filter(|line| line.ends_with("threads:")).collect();
    assert_eq!(titles, ["counter: add to one, over and over, 1 threads:", "ring: push 16 and take them, 1 threads:"]);
    let references = references(&tables);
    assert!(references.contains(&"unprotected") && references.contains(&"Ring"), "{tables}");
    assert!(program.file("target/bench.csv").exists());
}

/// Counters have no such contender: they are measured all the same, and that is said.
#[test]
fn tables_are_relative_to_a_contender_where_there_is_one() {
    let tables = Program::new().measures(&["--only", "counter,ring,records", "--relative-to", "Mutex<Vec>"]);
    let (counter, others) = tables.split_once("records: ").expect("it was asked for");
    let said = "There is no Mutex<Vec> here: relative to unprotected.";
    assert!(counter.contains(said) && references(counter).contains(&"unprotected"), "{tables}");
    assert!(!others.contains("There is no"), "{tables}");
    assert_eq!(references(others).iter().filter(|name| **name == "Mutex<Vec>").count(), 2, "{tables}");
}

#[test]
fn processes_measure_for_the_one_that_started_them() {
    let program = Program::new();
    let tables = program.measures(&["--only", "ring", "--processes", "2", "--csv", "out/ring.csv"]);
    assert_eq!(tables.matches("| Ring |").count(), 1, "{tables}");
    let rows = std::fs::read_to_string(program.file("out/ring.csv")).expect("it was written");
    let blocks: Vec<_> = rows.lines().filter_map(|row| row.strip_prefix("ring,Ring,1,")?.split(',').next()).collect();
    assert_eq!(blocks, ["0", "1"], "{rows}");
    assert!(!program.file("target").exists(), "the measurements went elsewhere");
}

/// Threads that wait for each other come to an end, however many of them put and take.
#[test]
fn items_flow_between_threads() {
    let tables = Program::new().measures(&["--only", "flow,pipeline,empty", "--threads", "1,3"]);
    for title in ["flow: ", "pipeline: ", "empty: "] {
        assert_eq!(tables.lines().filter(|line| line.starts_with(title)).count(), 2, "{tables}");
    }
}

#[test]
fn measurements_become_pictures() {
    let program = Program::new();
    program.measures(&["--only", "ring"]);
    assert_eq!(program.prints(&["pictures", "--out", "."]), "./ring.svg\n");
    let picture = std::fs::read_to_string(program.file("ring.svg")).expect("it was drawn");
    assert!(picture.contains("crossbeam SegQueue"));
}

#[test]
fn mistakes_are_told_with_what_there_is() {
    let program = Program::new();
    let unknown = program.error(&["--only", "couter"]);
    assert!(unknown.contains("couter") && unknown.contains("counter, counters, list"), "{unknown}");
    let nowhere = program.error(&["--relative-to", "Mutex<List>"]);
    assert!(nowhere.contains("no contender is called \"Mutex<List>\"; there are"), "{nowhere}");
    assert!(nowhere.contains("\nring: push 16 and take them\n    Ring\n"), "{nowhere}");
    let elsewhere = program.error(&["--only", "counter,pool", "--relative-to", "Ring"]);
    assert_eq!(elsewhere, "error: none of these structures has a contender \"Ring\"; that has ring\n");
    let absent = program.error(&["--relative-to", "librseq"]);
    assert!(absent.contains("librseq can't be compared with: it needs RSEQ_LIBRSEQ"), "{absent}");
    let missing = program.error(&["pictures"]);
    assert!(missing.contains("target/bench.csv can't be read"), "{missing}");
    program.error(&["--threads", "0"]);
    program.error(&["pictures", "--only", "ring"]);
}
