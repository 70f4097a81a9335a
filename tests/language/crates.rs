//! Crates of their own that use the macro: under another name, in every edition, without std.

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
