//! The suites: which tests run on a platform, and how.

/// One run of one test executable.
#[derive(Debug)]
pub struct Suite {
    pub name: &'static str,
    /// The test of the facade, or the library, whose unit tests these are.
    pub test: &'static str,
    /// `NAME=VALUE`s, in words.
    pub environment: &'static str,
    /// The further arguments of the executable, in words.
    pub arguments: &'static str,
    /// Seconds after which it is killed.
    pub limit: u64,
    /// The emulator translates instruction by instruction. It takes interrupts between what it
    /// translated at once, which is otherwise a straight line up to the next jump: a window of its
    /// own would never be interrupted.
    pub stepwise: bool,
    /// Runs with each kernel and libc, and not only once on each architecture.
    pub is_of_kernels: bool,
}

/// The package whose unit tests run.
pub const CORE: &str = "rseq_core";

const PLAIN: Suite =
    Suite { name: "", test: "", environment: "", arguments: "", limit: 600, stepwise: false, is_of_kernels: false };

const fn plain(name: &'static str) -> Suite {
    Suite { name, test: name, ..PLAIN }
}

const fn of_kernels(name: &'static str) -> Suite {
    Suite { is_of_kernels: true, ..plain(name) }
}

const NO_LIBC: &str = "GLIBC_TUNABLES=glibc.pthread.rseq=0";

pub const SUITES: [Suite; 16] = [
    Suite { test: CORE, ..of_kernels("core") },
    of_kernels("kernel"),
    of_kernels("steps"),
    of_kernels("exact"),
    Suite { name: "exact-own", test: "exact", environment: NO_LIBC, ..PLAIN },
    Suite { name: "exact-portable", test: "exact", environment: "RSEQ_MODE=portable", ..PLAIN },
    // Its windows are straight lines. Whatever takes its time is left out: the explorer's steps,
    // which `exact` takes with shorter sections, and the same in other modes.
    Suite { arguments: "--skip at_every_instruction --skip exact_", stepwise: true, ..plain("window") },
    of_kernels("nested"),
    of_kernels("registration"),
    Suite { name: "registration-own", test: "registration", environment: NO_LIBC, ..PLAIN },
    plain("drain"),
    Suite { stepwise: true, ..plain("types") },
    plain("histogram"),
    plain("per_cpu"),
    plain("miri"),
    // Its control breaks lists so that some thread may go round in one for ever: likelier where
    // threads stay interrupted for longer.
    Suite { arguments: "--skip everything_at_once_without_check_and_arm", ..plain("soak") },
];
