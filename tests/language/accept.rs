//! Programs that the macro accepts, in `ui-tests/accept`. They are modules here, so
//! that they are linked once, and each of them runs in a process of its own.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::process::Command;

/// The variable that says that this process is a program's own.
const OWN_PROCESS: &str = "RSEQ_TEST_RUNS_A_PROGRAM";

/// Runs a program, whose test has this name, in a process of its own.
fn run(name: &str, program: fn()) {
    if env::var_os(OWN_PROCESS).is_some() {
        return program();
    }
    let mut process = Command::new(env::current_exe().expect("the executable has a path"));
    process.args(["--exact", &format!("accept::{name}"), "--nocapture"]).env(OWN_PROCESS, "");
    support::must_pass(process);
}

macro_rules! programs {
    ($($name:ident)*) => {
        #[path = "../../ui-tests/accept"]
        #[allow(dead_code, clippy::all, clippy::undocumented_unsafe_blocks, reason = "they show what can be written")]
        mod programs {
            $(pub(super) mod $name;)*
        }

        $(
            #[test]
            fn $name() {
                run(stringify!($name), programs::$name::main);
            }
        )*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

programs! {
    abort
    abort_without_prepare
    async_between_awaits
    closures_and_items_in_prepare
    commit_forms
    critical_in_another_macro
    critical_in_closures_and_async
    critical_in_generic_code
    critical_names_like_the_macros
    critical_names_shadowed
    critical_no_warnings
    elements_far_away
    exits
    format_strings
    generic_function
    in_a_closure
    in_another_macro
    index
    labelled_break_and_continue
    loops_in_prepare
    macros_in_prepare
    mm_cid
    names_like_the_macros
    names_of_the_macros_as_items
    names_of_the_prelude_shadowed
    no_unsafe_code
    no_warnings
    panic_in_prepare
    places
    places_of_equal_words
    pointers
    question_mark_in_prepare
    registers
    result
    return_in_every_clause
    shadowed_names_in_critical
    steps
    store_release
    temporaries
    trailing_expression_in_prepare
    widths
}

#[test]
fn every_program_is_a_module() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("ui-tests/accept");
    let files = folder.read_dir().expect("it is there").map(|entry| entry.expect("it can be read").path());
    let names: BTreeSet<_> =
        files.map(|file| file.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    assert!(names.iter().eq(NAMES), "{names:?}");
}
