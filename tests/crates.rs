//! Crates of their own that use the macro: under another name, in every edition, without std.

#[path = "support/fixture.rs"]
mod fixture;

use fixture::Fixture;

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
