//! Sections at every one of their instructions.

use rseq_explore::{Explorer, Ran, Report};

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
