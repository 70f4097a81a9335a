//! Sections at every one of their instructions.

use std::env;
use std::process::Command;

use rseq_explore::{Explorer, Ran, Report};

use crate::must_pass;

/// Has the test of this name in the calling module go on in a process of its own: this one runs it
/// there, and returns. So explorations run side by side, and fork a small process: each instruction
/// takes several forks, and these take long where other tests have left much memory.
#[macro_export]
macro_rules! alone {
    ($name:literal) => {
        if !$crate::explored::is_alone($crate::here!($name)) {
            return;
        }
    };
}

/// `true` in a process that the test at this path has to itself; elsewhere such a process runs it,
/// and must pass.
pub fn is_alone(path: &str) -> bool {
    const ALONE: &str = "RSEQ_TEST_ALONE";
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let (_executable, name) = path.split_once("::").expect("a path in the executable");
    let mut command = Command::new(env::current_exe().expect("the executable has a path"));
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(ALONE, "");
    println!("{}", must_pass(command));
    false
}

/// A section, as an exploration needs to know it.
pub struct Explored<'e, R, Q> {
    /// For reports.
    pub name: &'e str,
    /// The section that is interrupted.
    pub section: &'e (dyn Fn() -> R + Sync),
    /// An operation that must not get lost.
    pub conflict: &'e (dyn Fn() -> Q + Sync),
    /// Panics if something is wrong after it all.
    pub check: &'e (dyn Fn(&Ran<'_, R, Q>) + Sync),
}

impl<R: Send + Sync, Q: Send + Sync> Explored<'_, R, Q> {
    /// Nothing goes wrong, wherever it is interrupted.
    pub fn must_be_exact(self) -> Report {
        self.must_be_exact_after(&|| {})
    }

    /// The same, with something done first on each CPU.
    pub fn must_be_exact_after(self, setup: &(dyn Fn() + Sync)) -> Report {
        let report = self.explore(setup);
        println!("{report}");
        assert!(report.failures().is_empty(), "{report:#}");
        // Of five events, or of three where there is one CPU.
        let tried = report.explored() + report.not_reached();
        let explored = 5 * report.explored() > 2 * tried;
        assert!(report.skipped().is_some() || explored, "half of it wasn't explored: {report:#}");
        report
    }

    fn explore(self, setup: &(dyn Fn() + Sync)) -> Report {
        Explorer::new(self.section, self.conflict, self.check).name(self.name).setup(setup).try_run()
    }
}

/// Each slot counts what ran on its CPU.
pub fn is_counted<R, Q>(slots: impl Iterator<Item = u64>, ran: &Ran<'_, R, Q>) {
    for (cpu, count) in slots.enumerate() {
        assert_eq!(count, ran.on(cpu) as u64, "CPU {cpu}");
    }
}
