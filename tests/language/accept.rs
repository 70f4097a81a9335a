//! Programs that the macro accepts, in `ui-tests/accept`. They are modules here, so
//! that they are linked once, and each of them runs in a process of its own.

use std::collections::BTreeSet;
use std::path::Path;

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
                if support::is_alone(concat!(module_path!(), "::", stringify!($name))) {
                    programs::$name::main();
                }
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
