//! A debugger in sections: a real gdb, with the script that programs bring along, goes through
//! those of `tests/fixtures/debugged`. Skipped, with the reason printed, where there is no gdb with
//! Python, or where it may not trace.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use object::{Object, ObjectSection};
use support::fixture::Fixture;

/// Variables in the environment of the program.
type Environment = (&'static str, &'static str);

const AS_IT_IS: Environment = ("STOP_NOT", "");
const PORTABLE: Environment = ("RSEQ_MODE", "portable");
const OWN_REGISTRATION: Environment = ("GLIBC_TUNABLES", "glibc.pthread.rseq=0");

struct Programs {
    debug: PathBuf,
    release: PathBuf,
    stripped: PathBuf,
}

fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let build = |name: &str, settings: &[(&str, &str)]| {
            let built = Fixture::new("debugged").profile(settings).build().join("debugged");
            let kept = built.with_file_name(name);
            std::fs::copy(&built, &kept).expect("it was just built");
            kept
        };
        Programs {
            debug: build("debugged-debug", &[("opt-level", "0"), ("debug-assertions", "true"), ("debug", "2")]),
            release: build("debugged-release", &[("debug", "2")]),
            stripped: build("debugged-stripped", &[("strip", "\"symbols\"")]),
        }
    })
}

/// Those that gdb knows the names of; none where there is no gdb to be used.
fn with_symbols() -> Vec<&'static Path> {
    if can_debug() { vec![&programs().debug, &programs().release] } else { Vec::new() }
}

/// Has gdb do this with a program; returns what both print. No command may fail.
fn debug(program: &Path, arguments: &str, environment: Environment, commands: &str) -> String {
    let text = try_to_debug(program, arguments, environment, commands);
    assert!(!text.contains("Traceback") && !text.contains("Error in sourced command file"), "a command failed");
    text
}

/// As [`debug`], whatever comes of it.
fn try_to_debug(program: &Path, arguments: &str, (name, value): Environment, commands: &str) -> String {
    let script = program.parent().expect("a folder").join(format!("{:?}.gdb", std::thread::current().id()));
    let text = format!(
        "set pagination off\nset confirm off\nset width 0\nset debuginfod enabled off\nset environment {name} {value}\n{commands}"
    );
    std::fs::write(&script, text).expect("a folder of this test's");
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-iex"]).arg(format!("add-auto-load-safe-path {}", program.display()));
    gdb.arg("-x").arg(script).arg("--args").arg(program).args(arguments.split(' '));
    let output = gdb.env_remove("RSEQ_MODE").env_remove("GLIBC_TUNABLES").output().expect("there is a gdb");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    println!("{} {arguments}\n{commands}\n{text}", program.display());
    text
}

/// `true` if there is a gdb that can be used, in a process with restartable sequences; says so if
/// tests are therefore skipped.
fn can_debug() -> bool {
    static WHY_NOT: OnceLock<Option<&str>> = OnceLock::new();
    let why_not = WHY_NOT.get_or_init(|| {
        let Ok(gdb) = Command::new("gdb").args(["-nx", "-batch", "-ex", "python print(3 * 14)"]).output() else {
            return Some("there is no gdb");
        };
        if !String::from_utf8_lossy(&gdb.stdout).contains("42") {
            return Some("gdb has no Python");
        }
        let traced = try_to_debug(&programs().release, "prepared", AS_IT_IS, "starti\nprintf \"at %lx\\n\", $pc");
        if !traced.contains("at 7f") {
            return Some("gdb may not trace");
        }
        (!matches!(rseq::status().mode(), rseq::Mode::Rseq(_))).then_some("there are no restartable sequences")
    });
    if let Some(why_not) = why_not {
        println!("skipped: {why_not}");
    }
    why_not.is_none()
}

/// To where the program is about to begin its section.
const BEGIN: &str = "break before\nrun\n";

/// To where the function with the section of this name begins.
fn begin(section: &str) -> String {
    let function = if ["committed", "exited"].contains(&section) { "limited" } else { section };
    format!("{BEGIN}tbreak debugged::{function}\ncontinue\n")
}

/// Steps by single instructions until the section is over.
const THROUGH: &str = "
python
steps = 0
for steps in range(20000):
    text = gdb.execute('rseq stepi', to_string=True)
    if ': starts again' in text:
        print(text)
    if ': committed' in text or ': left' in text:
        break
print(text, f'after {steps} steps', sep='')
end
";

/// To the end of the program, past all breakpoints.
const END: &str = "\ndelete\ncontinue\n";

fn commands(parts: &[&str]) -> String {
    parts.join("\n")
}

#[track_caller]
fn must_say(text: &str, said: &str) {
    assert!(text.contains(said), "it doesn't say: {said}");
}

/// The last output of the program.
#[track_caller]
fn must_end(text: &str, counted: u32, aborted: u32) {
    must_say(text, &format!("counted {counted}, aborted {aborted}\n"));
}

/// Where the first section stands whose line begins like this: where this word of it is.
fn place(line: &str, word: &str) -> String {
    let source = include_str!("../fixtures/debugged/src/main.rs").lines().enumerate();
    let (number, text) = source.into_iter().find(|(_, text)| text.starts_with(line)).expect("there is such a line");
    format!("src/main.rs:{}:{}", number + 1, text.find(word).expect("a word of it") + 1)
}

/// The sections that commit, and count.
const COMMITTING: &[&str] = &["prepared", "prepared_by_cid", "both", "window", "repeated", "committed"];

#[test]
fn every_instruction_of_a_section_is_stepped_through() {
    for program in with_symbols() {
        for section in COMMITTING {
            let text = debug(program, section, AS_IT_IS, &commands(&[&begin(section), THROUGH, END]));
            must_say(&text, ": committed");
            must_end(&text, 1, 0);
        }
        let text = debug(program, "both", OWN_REGISTRATION, &commands(&[&begin("both"), "rseq where", THROUGH, END]));
        must_say(&text, "registered by rseq-core");
        must_end(&text, 1, 0);
    }
}

/// Without holding it, a section never ends as long as it is stepped through.
#[test]
fn plain_steps_abort_a_section() {
    for program in with_symbols() {
        for section in ["prepared", "both", "window", "committed"] {
            let text =
                debug(program, section, AS_IT_IS, &commands(&[&begin(section), "stepi 2000", "info symbol $pc", END]));
            must_say(&text, "counted 1, aborted ");
            assert!(!text.contains("aborted 0"), "it was never aborted");
        }
    }
}

#[test]
fn a_section_is_left_where_it_leaves() {
    for program in with_symbols() {
        for (section, way) in [("exited", "left its window by an exit"), ("left_early", "left from prepare")] {
            let text = debug(program, section, AS_IT_IS, &commands(&[&begin(section), THROUGH, END]));
            must_say(&text, way);
            must_end(&text, 0, 0);
        }
    }
}

/// To where `prepare` calls something, by gdb's own means.
const TO_PREPARE: &str = "
break successor
continue
python print('at the breakpoint:', gdb.execute('rseq where', to_string=True).splitlines()[-1])
delete
";

/// The same as [`debug`], again if the kernel has interrupted the section before it came to the
/// breakpoint.
fn debug_from_prepare(program: &Path, arguments: &str, commands: &str) -> String {
    let run = || debug(program, arguments, AS_IT_IS, commands);
    let is_in_force = |text: &String| text.contains("at the breakpoint: step: prepare (in force: ");
    (0..10).map(|_| run()).find(is_in_force).expect("one of ten sections isn't interrupted")
}

/// Steps by lines until the section is over.
const BY_LINES: &str = "
python
for steps in range(100):
    gdb.execute('rseq where')
    text = gdb.execute('rseq next', to_string=True)
    print(text, end='')
    if ': committed' in text:
        break
end
";

/// By lines, from a breakpoint in `prepare` that others could have run over: it begins again once,
/// with them held, and then goes through.
#[test]
fn a_section_is_stepped_through_by_lines() {
    let elsewhere = "printf \"elsewhere %lu\\n\", *(unsigned long *)&'debugged::ELSEWHERE'";
    for program in with_symbols() {
        let steps = commands(&["set language c", "rseq stepi", elsewhere, BY_LINES, elsewhere]);
        let text = debug_from_prepare(program, "prepared 2", &commands(&[BEGIN, TO_PREPARE, &steps, END]));
        must_say(&text, "starts again: other threads may have run since; from now on the others are held");
        must_say(&text, "step: the checks of the window");
        must_say(&text, ": committed");
        must_end(&text, 1, 1);
        let elsewhere: Vec<_> = text.lines().filter(|line| line.starts_with("elsewhere ")).collect();
        assert!(elsewhere.len() == 2 && elsewhere[0] == elsewhere[1], "others ran: {elsewhere:?}");
    }
}

#[test]
fn steps_by_lines_lead_into_functions() {
    let into = "
python
for steps in range(500):
    text = gdb.execute('rseq step', to_string=True)
    if 'successor (number' in text or ': committed' in text:
        break
print(text, end='')
end
";
    for program in with_symbols() {
        let step = commands(&[&begin("prepared"), into, "rseq where", "rseq finish"]);
        let text = debug(program, "prepared", AS_IT_IS, &commands(&[&step, END]));
        must_say(&text, "successor (number=");
        must_say(&text, "step: prepare");
        must_end(&text, 1, 0);
    }
}

#[test]
fn a_core_file_is_read() {
    for program in with_symbols() {
        let core = program.with_extension("core").display().to_string();
        let dump = format!("generate-core-file {core}\nkill\ncore-file {core}\nshell rm {core}\nrseq where");
        let step = "python\ntry: gdb.execute('rseq stepi')\nexcept gdb.error as error: print(error)\nend";
        let stop = commands(&[&begin("prepared"), STOP_IN_PREPARE, &dump, "print debugged::HITS", step]);
        let text = debug(program, "prepared", AS_IT_IS, &stop);
        assert_eq!(text.matches("step: prepare (in force: ").count(), 2);
        must_say(&text, " = PerCpu = {[0] = ");
        must_say(&text, "this is a core file");
    }
}

/// Where there are no others, nothing could have come in between.
#[test]
fn a_section_alone_goes_on_from_a_breakpoint() {
    for program in with_symbols() {
        let text = debug_from_prepare(program, "prepared", &commands(&[BEGIN, TO_PREPARE, "rseq finish", END]));
        must_say(&text, &format!("{}, store(slot, next): committed", place("        prepare |cpu|", "prepare")));
        must_end(&text, 1, 0);
        // Whereas by gdb's own means it starts again.
        let text = debug_from_prepare(program, "prepared", &commands(&[BEGIN, TO_PREPARE, END]));
        must_say(&text, "counted 1, aborted ");
        assert!(!text.contains("aborted 0"), "it went on");
    }
}

/// Puts the thread onto another CPU.
const MOVE: &str = "
python
import os
thread = gdb.selected_thread().ptid[1]
cpus = os.sched_getaffinity(thread)
here = int(open(f'/proc/{thread}/stat').read().rsplit(')', 1)[1].split()[36])
os.sched_setaffinity(thread, cpus - {here} or cpus)
print(f'one of {len(cpus)} CPUs')
end
";

#[test]
fn a_section_that_was_moved_starts_again() {
    for program in with_symbols() {
        for (section, stop) in [("prepared", STOP_IN_PREPARE), ("committed", STOP_IN_WINDOW)] {
            let stop = commands(&[&begin(section), stop, MOVE, "rseq stepi", "delete", "rseq finish"]);
            let text = debug(program, section, AS_IT_IS, &commands(&[&stop, END]));
            if text.contains("one of 1 CPUs") {
                println!("skipped: there is one CPU");
                return;
            }
            must_say(&text, "starts again: it was moved from CPU");
            must_end(&text, 1, 1);
        }
    }
}

/// Goes on until `prepare` calls something.
const STOP_IN_PREPARE: &str = "break successor\nrseq finish\nrseq where";

/// Steps until the window has begun.
const STOP_IN_WINDOW: &str = "
python
while 'step: the window' not in gdb.execute('rseq where', to_string=True):
    gdb.execute('rseq stepi', to_string=True)
end
";

/// Breakpoints at both ends of a window: at its end the section is over, however the program came
/// there.
#[test]
fn a_window_has_breakpoints() {
    let ends = "
python
function = RseqFunctions.at(RseqMachine.pc())
window = next(window for window in RseqProcess().windows if RseqFunctions.at(window.start) == function)
gdb.execute(f'break *{window.start}')
gdb.execute(f'break *{window.post}')
end
";
    for program in with_symbols() {
        for section in ["prepared", "window"] {
            let finish = commands(&["rseq finish", "rseq where", "rseq finish", "rseq where"]);
            let text = debug(program, section, AS_IT_IS, &commands(&[&begin(section), ends, &finish, END]));
            must_say(&text, ": committed");
            must_say(&text, "step: disarm (it has committed)");
            must_end(&text, 1, 0);
            // By gdb's own means: to its end, which takes a window that nothing stops.
            let plain =
                commands(&[&begin(section), ends, "delete 3", "continue", "rseq where", "rseq stepi 2", "rseq where"]);
            let text = debug(program, section, AS_IT_IS, &commands(&[&plain, END]));
            must_say(&text, "step: disarm (it has committed)");
            must_say(&text, "in no section that is in force");
            must_end(&text, 1, 0);
        }
    }
}

#[test]
fn a_section_is_aborted_by_hand() {
    let sections = [("prepared", STOP_IN_PREPARE), ("prepared", STOP_IN_WINDOW), ("window", STOP_IN_WINDOW)];
    for program in with_symbols() {
        for (section, stop) in sections {
            for on in ["", "rseq finish"] {
                let stop = commands(&[&begin(section), stop, "rseq abort", "delete", on]);
                let text = debug(program, section, AS_IT_IS, &commands(&[&stop, END]));
                must_say(&text, "starts again: aborted by hand");
                must_end(&text, 1, 1);
            }
        }
    }
}

/// A handler's section counts, and the one that it interrupted starts again.
#[test]
fn a_signal_interrupts_a_section() {
    let signal = "handle SIGUSR1 nostop noprint pass\npython os.kill(gdb.selected_inferior().pid, 10)\nrseq stepi 3";
    for program in with_symbols() {
        for (section, stop) in [("prepared", STOP_IN_PREPARE), ("committed", STOP_IN_WINDOW)] {
            let stop =
                commands(&[&begin(section), stop, "python import os", signal, "delete", "rseq where", "rseq finish"]);
            let text = debug(program, section, AS_IT_IS, &commands(&[&stop, END]));
            must_say(&text, "SIGUSR1 interrupts it, so it is going to start again");
            must_say(&text, "starts again: SIGUSR1 interrupted it");
            must_say(&text, &format!("{}, add(&HITS[cpu], 1): committed", place("    rseq! { commit", "commit")));
            must_end(&text, 2, 1);
        }
    }
}

#[test]
fn a_section_in_a_section_is_seen() {
    for program in with_symbols() {
        let text =
            debug(program, "nested", AS_IT_IS, &commands(&[&begin("nested"), "rseq finish", "rseq finish", END]));
        must_say(&text, "starts again: another section ran inside of it");
        must_end(&text, 2, 1);
    }
}

/// gdb calls a function while a window waits: what it runs in between must not leave the window
/// unprotected.
#[test]
fn a_function_is_called_from_a_window() {
    let call = "print 'debugged::prepared_by_cid'()";
    for program in with_symbols() {
        for section in ["prepared", "window"] {
            for on in ["rseq where", "rseq finish"] {
                let stop = commands(&[&begin(section), STOP_IN_WINDOW, "delete", "set language c", call, on]);
                let run = |_| debug(program, section, AS_IT_IS, &commands(&[&stop, END]));
                // On a busy machine something else may have aborted it as well: then once more.
                let text = (0..3).map(run).find(|text| !text.contains("counted 2, aborted 2\n"));
                must_end(&text.expect("gdb aborts a section once"), 2, 1);
            }
        }
    }
}

/// The other threads run, on all CPUs, and the section that is gone through in between loses
/// nothing of theirs.
#[test]
fn sections_between_those_of_others_lose_nothing() {
    let through = "delete\nrseq where\nrseq stepi 2\nrseq finish";
    for program in with_symbols() {
        for section in ["prepared 2", "both 3"] {
            let text =
                debug(program, section, AS_IT_IS, &commands(&[BEGIN, "break successor", "continue", through, END]));
            must_say(&text, ": committed");
            must_say(&text, "counted 1, aborted ");
        }
    }
}

#[test]
fn the_mode_is_said() {
    let where_and_step = commands(&[
        BEGIN,
        "rseq where",
        "python\ntry: gdb.execute('rseq step')\nexcept gdb.error as error: print(error)\nend",
    ]);
    for program in with_symbols() {
        let text = debug(program, "prepared", PORTABLE, &commands(&[&where_and_step, END]));
        must_say(&text, "thread 1: portable mode (forced by portable::force or RSEQ_MODE=portable)");
        must_say(&text, "no section is restartable");
        must_end(&text, 1, 0);
        for (environment, registrar) in [(AS_IT_IS, "libc"), (OWN_REGISTRATION, "rseq-core")] {
            let later = "break successor\ncontinue\nrseq where";
            let text = debug(program, "first", environment, &commands(&[BEGIN, "rseq where", later, END]));
            must_say(&text, "thread 1: no section has run yet");
            must_say(&text, &format!("thread 1: registered by {registrar}; on CPU "));
            must_say(&text, "counted 1, aborted ");
        }
    }
}

/// `prepare` makes the slots, which takes a system call; a window finds none.
#[test]
fn a_first_use_starts_again() {
    let sections = [
        ("unmade", "prepared_by_cid", "something had to be made ready first", 1),
        ("unmade_window", "unmade_window", "it has no slot yet, or isn't registered", 0),
    ];
    for program in with_symbols() {
        for (section, function, why, aborted) in sections {
            let stop = commands(&[BEGIN, &format!("tbreak debugged::{function}"), "continue", "rseq finish"]);
            let text = debug(program, section, AS_IT_IS, &commands(&[&stop, END]));
            must_say(&text, &format!("starts again: {why}"));
            must_say(&text, ": committed");
            must_end(&text, 1, aborted);
        }
    }
}

/// Settings that it changes for a section are as before afterwards, also while the section is open.
#[test]
fn settings_are_what_they_were() {
    let settings = "
python
import os
def settings():
    shown = [gdb.execute(command, to_string=True) for command in ('show scheduler-locking', 'info signals')]
    return shown + [os.sched_getaffinity(gdb.selected_thread().ptid[1])]
before = settings()
end
";
    let compare = "python print('the settings are', 'the same' if settings() == before else 'others')";
    for program in with_symbols() {
        let stop = commands(&[&begin("prepared"), settings, STOP_IN_PREPARE, compare, "rseq finish", compare]);
        let text = debug(program, "prepared", AS_IT_IS, &commands(&[&stop, END]));
        assert_eq!(text.matches("the settings are the same").count(), 2);
    }
}

/// The list of sections has every window, as the file does; before the program runs as well.
#[test]
fn sections_are_listed() {
    for program in with_symbols() {
        let file = std::fs::read(program).expect("it was just built");
        let file = object::File::parse(&*file).expect("an ELF file");
        let windows = file.section_by_name("__rseq_cs").expect("it has sections").size() / 32;
        let text = debug(
            program,
            "prepared",
            AS_IT_IS,
            &commands(&["rseq sections", BEGIN, "rseq sections", "rseq sections HITS_BY_CID"]),
        );
        let said: Vec<_> = text.lines().filter(|line| line.ends_with(" windows")).collect();
        assert_eq!(said[..2], [format!("{windows} windows"), format!("{windows} windows")]);
        must_say(&text, &format!("commit cpu_id     {}, add(&HITS[cpu], 1)", place("    rseq! { commit", "commit")));
    }
}

/// The script needs nothing of a program that is lost when it is stripped, but for the script
/// itself.
#[test]
fn a_stripped_program_is_stepped_through() {
    if !can_debug() {
        return;
    }
    let script = concat!("source ", env!("CARGO_MANIFEST_DIR"), "/rseq-core/gdb/rseq.py");
    let text = debug(
        &programs().stripped,
        "prepared 2",
        ("STOP", ""),
        &commands(&[script, "run", "rseq where", "rseq finish", END]),
    );
    must_say(&text, "thread 1: registered by libc");
    must_say(&text, &format!("{}, store(slot, next): committed", place("        prepare |cpu|", "prepare")));
    must_end(&text, 1, 0);
}

#[test]
fn values_are_printed_by_cpu() {
    let names = ["COUNTER", "HISTOGRAM", "STACK", "LARGE", "RING", "POOL", "UNUSED"];
    let print: Vec<_> = names
        .map(|name| format!("print debugged::values::{name}"))
        .into_iter()
        .chain(["print ids".to_owned()])
        .collect();
    // All of it happens on one CPU.
    let cpu = "starti\npython import os; thread = gdb.selected_thread().ptid[1]; cpu = min(os.sched_getaffinity(thread)); os.sched_setaffinity(thread, {cpu}); print(f'CPU {cpu}.')";
    for program in with_symbols() {
        let text = debug(
            program,
            "values",
            AS_IT_IS,
            &commands(&[cpu, "break before", "continue", "frame function debugged::values", &print.join("\n"), END]),
        );
        let cpu = text.split("CPU ").nth(1).and_then(|text| text.split('.').next()).expect("a number").to_owned();
        let values = [
            "Counter(42) = {[C] = 50}",
            "Histogram of 4 values = {[3] = 2, [70..=71] = 1, [992..=1007] = 1}",
            "Stack of 3 items = {[C][0] = 7, [C][1] = 8, [C][2] = 9}",
            "Stack of 1 items = {[C][0] = [1, 2, 3]}",
            "Ring of 4 items = {[C][0] = 2, [C][1] = 3, [C][2] = 4, [C][3] = 5}",
            "Pool of 1 idle objects = {[C][0] = alloc::string::String ",
            "PerCpu, not used yet",
            "PerCpu = {[0] = 0, [1] = 10",
        ];
        values.iter().for_each(|value| {
            must_say(
                &text,
                &format!(
                    " = {}",
                    value
                        .replace('C', &cpu)
                        .replace(&format!("{cpu}ounter"), "Counter")
                        .replace(&format!("Per{cpu}pu"), "PerCpu")
                ),
            )
        });
    }
}
