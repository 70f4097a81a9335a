//! The tests that docs/soundness.md and docs/evidence.md name are there. They are looked for in the
//! sources: some are compiled for other machines, or with other features, alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where there are tests.
const FOLDERS: [&str; 8] =
    ["tests", "src", "rseq-core/src", "rseq-macros/src", "rseq-explore", "cargo-rseq", "examples", "xtask/src"];

/// Columns whose cells name tests.
const COLUMNS: [&str; 5] = ["test", "control", "explorer", "model", "stress"];

/// The paths of all tests, and of the modules that they are in, from the folder on.
#[derive(Default)]
struct Known(BTreeSet<Vec<String>>);

impl Known {
    fn read(&mut self, place: &Path, module: &[String]) {
        for entry in fs::read_dir(place).expect("it is a folder").map(|entry| entry.expect("it can be read")) {
            let path = entry.path();
            let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
            let is_itself = ["main", "lib", "mod"].contains(&name.as_str());
            let module = [module, if is_itself { &[] } else { std::slice::from_ref(&name) }].concat();
            if path.is_dir() && name != "fixtures" {
                self.read(&path, &module);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.read_file(&fs::read_to_string(&path).expect("it is text"), module);
            }
        }
    }

    /// The tests of a file: functions that are marked, and rows of macros that begin as functions
    /// do. A module ends where a line has its indentation.
    fn read_file(&mut self, text: &str, mut module: Vec<String>) {
        let (mut inline, mut is_marked) = (Vec::new(), false);
        for line in text.lines() {
            let code = line.trim_start();
            let indentation = line.len() - code.len();
            if inline.last() == Some(&indentation) && code.starts_with('}') {
                inline.pop();
                module.pop();
            }
            if let Some(name) = code.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
                inline.push(indentation);
                module.push(name.to_owned());
            }
            is_marked |= code == "#[test]";
            // Two of a row: a test and its control.
            for rest in code.split("/ ").filter_map(|part| part.strip_prefix("fn ")) {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                if is_marked || rest[end..].starts_with(':') {
                    self.0.insert(module.iter().cloned().chain([rest[..end].to_owned()]).collect());
                }
                is_marked = false;
            }
        }
    }

    /// `true` if this path is the end of a test's, or of that of a module with tests. A part may
    /// have a `*`.
    fn has(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split("::").collect();
        let is_part = |(wanted, found): (&&str, &String)| match wanted.split_once('*') {
            Some((start, end)) => found.starts_with(start) && found.ends_with(end),
            None => found == wanted,
        };
        let is_in = |known: &Vec<String>| known.windows(parts.len()).any(|end| parts.iter().zip(end).all(is_part));
        self.0.iter().any(is_in)
    }

    /// Fails unless all that the tables of a page name are among these; how many those are.
    fn must_have_those_of(&self, page: &str) -> usize {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect("it is there");
        let (mut columns, mut named) = (Vec::new(), 0);
        for line in text.lines() {
            let Some(row) = line.strip_prefix("| ") else {
                if !line.starts_with('|') {
                    columns.clear();
                }
                continue;
            };
            let cells: Vec<&str> = row.split(" | ").map(|cell| cell.trim_end_matches(" |").trim()).collect();
            if columns.is_empty() {
                columns = cells.iter().map(|cell| COLUMNS.contains(cell)).collect();
            }
            let cells = cells.into_iter().zip(&columns).filter(|(_, names_tests)| **names_tests);
            for path in cells.flat_map(|(cell, _)| cell.split('`').skip(1).step_by(2)) {
                let is_path = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:*".contains(c);
                if path.contains("::") && path.chars().all(is_path) && !path.starts_with("clippy::") {
                    assert!(self.has(path), "{page} names `{path}`, and there is no such test:\n{line}");
                    named += 1;
                }
            }
        }
        named
    }
}

#[test]
fn tests_that_are_named_exist() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = Known::default();
    for folder in FOLDERS {
        known.read(&workspace.join(folder), &[]);
    }
    let named: usize =
        ["docs/soundness.md", "docs/evidence.md"].map(|page| known.must_have_those_of(page)).iter().sum();
    println!("{named} names of {} tests", known.0.len());
    assert!(named > 300, "only {named} names were found");
}
