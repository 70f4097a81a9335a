//! Audits: each misuse is reported where it happens, with the place of its section, and what only
//! looks like one isn't. A program that does it all (`tests/fixtures/audit`) is run once for each,
//! as debug and as release build.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use support::fixture::{Fixture, print_of};

/// Variables in the environment of the program.
type Environment = (&'static str, &'static str);

const AS_IT_IS: Environment = ("RSEQ_AUDIT", "");
const GOES_ON: Environment = ("RSEQ_AUDIT", "report");
const SLEEPS: Environment = ("RSEQ_AUDIT_ORACLE", "sleeps");
const PORTABLE: Environment = ("RSEQ_MODE", "portable");
const OWN_REGISTRATION: Environment = ("GLIBC_TUNABLES", "glibc.pthread.rseq=0");

/// The release and the debug build.
fn programs() -> &'static [PathBuf; 2] {
    static PROGRAMS: OnceLock<[PathBuf; 2]> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let build = |name: &str, settings: &[(&str, &str)]| {
            let built = Fixture::new("audit").profile(settings).build().join("audited");
            let kept = built.with_file_name(name);
            std::fs::copy(&built, &kept).expect("it was just built");
            kept
        };
        let debug = build("audited-debug", &[("opt-level", "0"), ("debug-assertions", "true")]);
        [build("audited-release", &[]), debug]
    })
}

fn run(program: &Path, subcommand: &str, (name, value): Environment) -> (Output, String) {
    let output = Command::new(program).arg(subcommand).env(name, value).output().expect("it was just built");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, errors)
}

/// `true` if sections are restartable here; says so if a test is therefore skipped.
fn restartable() -> bool {
    what().starts_with("Rseq") || skipped("restartable sequences")
}

/// `true` if the kernel dispatches system calls as well.
fn dispatches() -> bool {
    restartable() && (what().ends_with(", dispatches") || skipped("Syscall User Dispatch (Linux 5.11)"))
}

fn what() -> &'static str {
    static WHAT: OnceLock<String> = OnceLock::new();
    WHAT.get_or_init(|| print_of(Command::new(&programs()[0]).arg("what")))
}

fn skipped(needs: &str) -> bool {
    println!("skipped: needs {needs}, and here is {}", what());
    false
}

/// Where the section with this mark stands, as reports have it.
fn place(mark: &str) -> String {
    let source = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/audit").join(file);
        let text = std::fs::read_to_string(path).expect("a source of the program");
        let line = text.lines().position(|line| line.ends_with(&format!(" // {mark}")))?;
        Some(format!("{file}:{}:", line + 1))
    };
    ["src/misuse.rs", "src/main.rs", "src/plugin.rs"]
        .into_iter()
        .find_map(source)
        .unwrap_or_else(|| panic!("no mark {mark}"))
}

/// The program reports that the section with this mark does this, and nothing else, and is aborted.
fn must_report(subcommand: &str, environment: Environment, mark: &str, what: &[&str]) {
    for program in programs() {
        let (output, errors) = run(program, subcommand, environment);
        println!("{subcommand}: {errors}");
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{subcommand} ended with {}: {errors}", output.status);
        let reports: Vec<_> = errors.lines().filter_map(|line| line.strip_prefix("rseq audit: ")).collect();
        let [report] = reports[..] else { panic!("{subcommand}: not one report: {errors}") };
        assert!(report.starts_with(&place(mark)), "{subcommand}: not at {}: {report}", place(mark));
        for what in what {
            assert!(errors.contains(what), "{subcommand}: not `{what}`: {errors}");
        }
    }
}

/// The program reports nothing and ends as it should.
fn must_be_silent(subcommand: &str, environment: Environment) {
    for program in programs() {
        let (output, errors) = run(program, subcommand, environment);
        assert!(!errors.contains("rseq audit"), "{subcommand}, {environment:?}: {errors}");
        assert!(output.status.success(), "{subcommand}, {environment:?} ended with {}: {errors}", output.status);
        assert_eq!(output.stdout, b"done\n", "{subcommand}, {environment:?}");
    }
}

#[test]
fn a_system_call_is_caught_where_it_is_made() {
    if dispatches() {
        // In the second attempt: in the first it might have been on its way out. What comes behind
        // the call never comes to pass.
        must_report("call", AS_IT_IS, "call", &["made system call 110 (getppid)", "after 2 and 1 steps"]);
        must_report("call_with_signals_held", AS_IT_IS, "call", &["call 110 (getppid)", "after 2 and 1 steps"]);
        must_report("call", OWN_REGISTRATION, "call", &["call 110 (getppid)", "after 2 and 1 steps"]);
        must_report("call_in_an_operand", AS_IT_IS, "call_in_an_operand", &["call 110 (getppid)"]);
        must_report("allocation", AS_IT_IS, "allocation", &["call 9 (mmap)"]);
        must_report("sleep", AS_IT_IS, "sleep", &["call 230 (clock_nanosleep)"]);
    }
}

/// Each of two images has its own handler for what its sections do.
#[test]
fn a_system_call_beside_another_image_is_caught() {
    if dispatches() {
        must_report("call_beside_a_plugin", AS_IT_IS, "call", &["call 110 (getppid)", "after 2 and 1 steps"]);
        must_report("call_in_a_plugin", AS_IT_IS, "plugin", &["call 110 (getppid)"]);
    }
}

#[test]
fn a_system_call_that_isnt_repeated_is_caught() {
    if dispatches() {
        must_report("call_once", AS_IT_IS, "call_once", &["call 110 (getppid)"]);
    }
}

/// The report needs no room on the stack for signals, where there is none to spare:
/// frames of signals are large where registers are (3 KiB with AVX-512, 11 with AMX).
#[test]
fn who_reports_crashes_is_reached() {
    if dispatches() {
        must_report(
            "call_under_a_crash_reporter",
            AS_IT_IS,
            "call",
            &["call 110 (getppid)", "the crash reporter is reached"],
        );
    }
}

#[test]
fn without_dispatch_a_system_call_that_sleeps_is_caught() {
    if restartable() {
        must_report("sleep", SLEEPS, "sleep", &["waited in a system call"]);
    }
}

#[test]
fn a_section_in_a_section_is_caught() {
    if restartable() {
        must_report("nested", AS_IT_IS, "nested", &["ran another section", &place("count")]);
        must_report("nested_window", AS_IT_IS, "nested_window", &["ran another section", &place("count_in_window")]);
        must_report("nested", SLEEPS, "nested", &["ran another section", &place("count")]);
        must_report("nested", OWN_REGISTRATION, "nested", &["ran another section", &place("count")]);
    }
}

#[test]
fn a_section_that_was_abandoned_is_caught() {
    if restartable() {
        for environment in [AS_IT_IS, SLEEPS] {
            must_report("jump", environment, "jump", &["it never ended"]);
            must_report("jump_again", environment, "jump", &["it never ended"]);
            must_report("jump_from_a_handler", environment, "jump_from_a_handler", &["it never ended"]);
        }
    }
    if dispatches() {
        must_report("jump_and_call", AS_IT_IS, "jump", &["it never ended"]);
    }
}

#[test]
fn a_section_that_was_left_by_a_switch_of_stacks_is_caught() {
    if restartable() {
        for environment in [AS_IT_IS, SLEEPS] {
            must_report("switch", environment, "switch", &["a switch of stacks"]);
            must_report("moved", environment, "moved", &["goes on on another"]);
        }
    }
    if dispatches() {
        must_report("switch_and_call", AS_IT_IS, "switch", &["a switch of stacks"]);
    }
}

/// `true` if the kernel knows nothing of the areas of children that share their parent's memory.
fn forgets_children() -> bool {
    let kernel = rseq::status().kernel().map(|kernel| (kernel.major, kernel.minor));
    restartable()
        && (kernel >= Some((5, 5))
            || skipped("a kernel that passes no registration on to children that share memory (Linux 5.5)"))
}

#[test]
fn a_section_in_a_child_that_shares_memory_is_caught() {
    if forgets_children() {
        for environment in [AS_IT_IS, SLEEPS, OWN_REGISTRATION] {
            must_report("child", environment, "child", &["shares its parent's memory"]);
            must_report("child_in_window", environment, "child_in_window", &["shares its parent's memory"]);
        }
    }
}

#[test]
fn a_section_that_never_ends_is_caught() {
    if restartable() {
        must_report("livelock", AS_IT_IS, "livelock", &["aborted 100000 times"]);
        must_report("livelock", SLEEPS, "livelock", &["aborted 100000 times"]);
        for window in ["livelock_of_a_window", "livelock_of_a_window_with_abort"] {
            must_report(window, AS_IT_IS, window, &["aborted 100000 times"]);
        }
    }
}

/// `true` if two CPUs can commit at once.
fn has_two_cpus() -> bool {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cpus == 1 {
        println!("skipped: the process may use one CPU alone");
    }
    restartable() && cpus > 1
}

#[test]
fn a_place_that_two_cpus_commit_to_is_caught() {
    if has_two_cpus() {
        for environment in [AS_IT_IS, SLEEPS, OWN_REGISTRATION] {
            must_report("shared", environment, "shared", &["it committed to 0x", "by CPU ", &place("shared")]);
        }
        must_report("shared_after_prepare", AS_IT_IS, "shared_after_prepare", &["by CPU ", "while another thread"]);
        // Either section may be the first to say so, or both.
        for program in programs() {
            let (output, errors) = run(program, "shared_by_two_kinds", AS_IT_IS);
            assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{errors}");
            assert!(errors.contains("by CPU ") && errors.contains("by concurrency id "), "{errors}");
        }
    }
}

#[test]
fn a_slot_of_another_index_is_caught() {
    if restartable() {
        for environment in [AS_IT_IS, SLEEPS, OWN_REGISTRATION] {
            must_report(
                "anothers_slot",
                environment,
                "anothers_slot",
                &["it stored to a slot of CPU ", "but ran by CPU "],
            );
        }
        let prepared = "anothers_slot_after_prepare";
        must_report(prepared, AS_IT_IS, prepared, &["it stored to a slot of CPU "]);
        must_report("anothers_scratch", AS_IT_IS, "anothers_scratch", &["it stored to a slot of CPU "]);
    }
}

/// It says everything once, and the sections do what they should.
#[test]
fn a_program_that_goes_on_reports_once() {
    let must_go_on = |subcommand, marks: &[&str]| {
        for program in programs() {
            let (output, errors) = run(program, subcommand, GOES_ON);
            assert!(output.status.success(), "{subcommand} ended with {}: {errors}", output.status);
            assert_eq!(output.stdout, b"done\n", "{errors}");
            assert_eq!(errors.lines().count(), marks.len(), "{errors}");
            for (line, mark) in errors.lines().zip(marks) {
                assert!(line.starts_with(&format!("rseq audit: {}", place(mark))), "{errors}");
            }
        }
    };
    if dispatches() {
        must_go_on("call_in_two_sections", &["call", "call_in_an_operand"]);
        must_go_on("call_under_a_crash_reporter", &["call"]);
        must_go_on("jump_and_call", &["jump"]);
    }
    if restartable() {
        must_go_on("jump_again", &["jump"]);
    }
    if forgets_children() {
        must_go_on("child", &["child"]);
    }
}

const INNOCENT: &[&str] = &[
    "ordinary",
    "early",
    "panic",
    "handlers",
    "handlers_on_their_stack",
    "handler_at_every_step",
    "signals_held",
    "first_use",
    "fence",
    "fork",
    "children",
    "threads",
    "faults",
    "foreign_descriptor",
    "beside_a_plugin",
    "other_sigsys",
    "own_places",
    "handed_over",
    "used_again",
    "drained",
];

#[test]
fn nothing_else_is_reported() {
    INNOCENT.iter().for_each(|subcommand| must_be_silent(subcommand, AS_IT_IS));
}

#[test]
fn nothing_else_is_reported_without_dispatch() {
    INNOCENT.iter().for_each(|subcommand| must_be_silent(subcommand, SLEEPS));
}

#[test]
fn nothing_else_is_reported_with_own_registration() {
    INNOCENT.iter().for_each(|subcommand| must_be_silent(subcommand, OWN_REGISTRATION));
}

/// There a system call does no harm, and a section in a section is found out otherwise.
#[test]
fn nothing_is_reported_in_portable_mode() {
    INNOCENT.iter().for_each(|subcommand| must_be_silent(subcommand, PORTABLE));
    must_be_silent("call", PORTABLE);
}

/// A signal that isn't the audit's kills, as it does without.
#[test]
fn other_signals_do_what_they_would() {
    for program in programs() {
        let (output, errors) = run(program, "default_sigsys", AS_IT_IS);
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{errors}");
    }
}
