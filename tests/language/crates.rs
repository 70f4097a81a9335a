//! Crates of their own that use the macro: under another name, in every edition, without std.

use std::fs;
use std::path::{Path, PathBuf};

use support::fixture::{Fixture, is_installed};

fn run(name: &str) {
    Fixture::new(name).build_and_run(name);
}

#[test]
fn renamed_dependency() {
    run("renamed");
}

#[test]
fn reexported_macro() {
    run("reexported");
}

#[test]
fn edition_2015() {
    run("edition-2015");
}

#[test]
fn edition_2018() {
    run("edition-2018");
}

#[test]
fn edition_2021() {
    run("edition-2021");
}

#[test]
fn no_std_library() {
    Fixture::new("no-std").build();
}

/// Skipped where the target isn't installed (`rustup target add i686-unknown-linux-gnu`).
#[test]
fn places_of_64_bits_are_refused_on_machines_of_32() {
    const TARGET: &str = "i686-unknown-linux-gnu";
    if !is_installed(TARGET) {
        return println!("skipped: {TARGET} isn't installed: rustup target add {TARGET}");
    }
    let refusal = Fixture::new("bits-32").refusal_for(TARGET);
    let errors = refusal.lines().filter(|line| line.starts_with("error["));
    assert_eq!(errors.collect::<Vec<_>>(), ["error[E0277]: a section can't use `&AtomicU64` as a place"], "{refusal}");
    let instead =
        "places of 64 bits are for targets with pointers of 64 bits: elsewhere use `AtomicUsize` or `AtomicU32`";
    assert!(refusal.contains(instead), "{refusal}");
}

/// The facade has of rseq-core what is public there, and what expansions use, by its `lib.rs`.
#[test]
fn one_file_of_the_facade_names_rseq_core() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(files_that_name("rseq_core", &sources), [sources.join("lib.rs")]);
}

fn files_that_name(word: &str, folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).expect("the sources are there").map(|entry| entry.expect("it can be read").path());
    let of = |path: PathBuf| match path.is_dir() {
        true => files_that_name(word, &path),
        false => Vec::from_iter(fs::read_to_string(&path).is_ok_and(|text| text.contains(word)).then_some(path)),
    };
    paths.flat_map(of).collect()
}
