//! The compiler's time for sections: crates with 0, 1, 100 and 1000 of them are built, in debug and
//! in release, and the time of the crate alone is compared. `cargo bench -p rseq-bench --bench
//! compile_time` prints the table of docs/performance.md.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::crates;

const SECTIONS: [usize; 4] = [0, 1, 100, 1000];
const ROUNDS: usize = 3;

fn main() {
    // `cargo test --benches` runs this as well, but not for its figures.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!("| sections | debug | each | release | each |\n|---|---|---|---|---|");
    let mut none = [Duration::ZERO; 2];
    for sections in SECTIONS {
        let krate = write_crate(sections);
        let times = [false, true].map(|release| time(&krate, release));
        if sections == 0 {
            none = times;
        }
        let each = |profile: usize| match sections {
            0 => String::new(),
            sections => {
                let more = times[profile].as_secs_f64() - none[profile].as_secs_f64();
                format!("{:.2} ms", more * 1e3 / sections as f64)
            }
        };
        let [debug, release] = times.map(|time| format!("{:.2} s", time.as_secs_f64()));
        println!("| {sections} | {debug} | {} | {release} | {} |", each(0), each(1));
    }
}

/// A folder for this measurement.
fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile-time").join(name)
}

/// A crate with so many functions of one section each, of three kinds.
fn write_crate(sections: usize) -> PathBuf {
    let folder = scratch(&format!("sections-{sections}"));
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let manifest = format!(
        "[package]\nname = \"sections\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\nrseq-dsl = {{ path = \"{root}\" }}\n"
    );
    let mut source = String::from(
        "use rseq::{PerCpu, rseq};\nuse std::ptr::NonNull;\nuse std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};\n\
         static HITS: PerCpu<AtomicU64> = PerCpu::new();\n\
         #[derive(Default)]\npub struct Node { next: AtomicPtr<Node> }\n\
         static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();\n",
    );
    for number in 0..sections {
        let body = match number % 3 {
            0 => "rseq! { commit |cpu| add(&HITS[cpu], 1) } None".to_owned(),
            1 => format!(
                "rseq! {{ prepare |cpu| {{ let slot = &HITS[cpu]; let next = slot.load(Relaxed) + {number}; }} commit store(slot, next) }} None"
            ),
            _ => "unsafe { rseq! { critical |cpu| { let first = load(&LISTS[cpu]); if first == null { exit None } let rest = load(&(*first).next); } \
                  commit store(&LISTS[cpu], rest) => NonNull::new(first) } }"
                .to_owned(),
        };
        writeln!(source, "pub fn section_{number}() -> Option<NonNull<Node>> {{ {body} }}")
            .expect("a string takes everything");
    }
    std::fs::create_dir_all(folder.join("src")).expect("the target folder can be written to");
    std::fs::write(folder.join("Cargo.toml"), manifest).expect("the target folder can be written to");
    std::fs::write(folder.join("src/lib.rs"), source).expect("the target folder can be written to");
    crates::provide(&folder, Path::new(root));
    folder
}

/// The shortest time in which the crate was built, its dependencies being built already.
fn time(krate: &Path, release: bool) -> Duration {
    let build = || {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--offline", "--quiet"]).args(release.then_some("--release"));
        cargo.env("CARGO_INCREMENTAL", "0").env("CARGO_TARGET_DIR", scratch("target")).current_dir(krate);
        let start = Instant::now();
        assert!(cargo.status().expect("cargo is there").success());
        start.elapsed()
    };
    build();
    let again = (0..ROUNDS).map(|_| {
        let source = krate.join("src/lib.rs");
        let text = std::fs::read(&source).expect("it was just written");
        std::fs::write(&source, text).expect("it was just written");
        build()
    });
    again.min().unwrap_or_default()
}
