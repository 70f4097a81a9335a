//! Runs platforms: packages, kernel, build, boot and tests, one after another.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::boot::{Emulator, Task, Work, boot, run_here};
use crate::build::{Programs, build};
use crate::guest::{Event, STATUS, Tally, Transcript};
use crate::kernels::{self, NotThere};
use crate::platforms::{Kernel, Libc, Platform};
use crate::report::{Outcome, Record, Report, Row};
use crate::suites::Suite;

/// Runs one platform after another, and collects what comes of it.
pub struct Runner<'a> {
    cache: PathBuf,
    /// The directory in it for what machines said.
    runs: &'static str,
    arguments: &'a [String],
    /// The programs that were built of these tests, which serve all kernels.
    built: HashMap<(&'static str, Libc, BTreeSet<&'static str>), Rc<Programs>>,
    /// The newest kernel may be that of a series too.
    seen: HashSet<(&'static str, Libc, PathBuf)>,
    progress: Progress,
    report: Report,
}

/// Takes the times of steps and tells which one goes on.
struct Progress {
    bar: ProgressBar,
    platform: String,
    times: Vec<(&'static str, Duration)>,
    since: Instant,
}

impl Progress {
    fn begin(&mut self, platform: &Platform) {
        (self.platform, self.times) = (platform.to_string(), Vec::new());
    }

    fn step(&mut self, name: &'static str) {
        self.times.push((name, Duration::ZERO));
        self.since = Instant::now();
        self.say(name);
    }

    /// Shows on the line of progress, or prints, if there is nobody to watch a line that changes.
    fn say(&mut self, what: &str) {
        self.time();
        let line = format!("{}: {what}", self.platform);
        if stderr().is_terminal() {
            self.bar.set_message(line);
        } else {
            eprintln!("{line}");
        }
    }

    fn time(&mut self) {
        if let Some((_, time)) = self.times.last_mut() {
            *time = self.since.elapsed();
        }
    }

    fn end(&mut self) -> Vec<(&'static str, Duration)> {
        self.time();
        std::mem::take(&mut self.times)
    }
}

impl<'a> Runner<'a> {
    pub fn new(runs: &'static str, arguments: &'a [String]) -> Result<Self> {
        ensure!(cfg!(all(target_arch = "x86_64", target_os = "linux")), "the emulators are those for x86-64 Linux");
        let cache = match std::env::var_os("RSEQ_XTASK_CACHE") {
            Some(cache) => PathBuf::from(cache),
            None => {
                PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().context("it is in a workspace")?.join("target/xtask")
            }
        };
        std::fs::create_dir_all(&cache).with_context(|| format!("the cache {}", cache.display()))?;
        let cache = cache.canonicalize()?;
        let bar =
            ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}")?);
        bar.enable_steady_tick(Duration::from_millis(200));
        let progress = Progress { bar, platform: String::new(), times: Vec::new(), since: Instant::now() };
        let (built, seen, report) = (HashMap::new(), HashSet::new(), Report::default());
        Ok(Self { cache, runs, arguments, built, seen, progress, report })
    }

    pub fn report(self) -> Report {
        self.progress.bar.finish_and_clear();
        self.report
    }

    /// Where the consoles and records of its platforms are.
    fn runs(&self) -> PathBuf {
        self.cache.join(self.runs)
    }

    /// Keeps what came of the last platform, for [`Report::kept`].
    pub fn keep(&self) -> Result<Report> {
        self.report.keep_last(&self.runs())?;
        Report::kept(&self.runs())
    }

    /// Adds this platform to the report, whatever comes of it. Says whether it was to be had.
    pub fn run(&mut self, platform: &Platform, suites: &[&'static Suite]) -> bool {
        self.progress.begin(platform);
        let row = match self.try_run(platform, suites) {
            Ok(row) => row,
            Err(error) if error.is::<NotThere>() => {
                self.progress.say(&format!("skipped: {error}"));
                self.report.add(*platform, Record::not_run(error.to_string()));
                return false;
            }
            Err(error) => Row {
                platform: *platform,
                libc: platform.libc.to_string(),
                release: None,
                mode: None,
                suites: BTreeMap::new(),
                failures: vec![format!("{error:#}")],
                times: self.progress.end(),
            },
        };
        self.report.add(*platform, row.record(&today()));
        for failure in self.report.last_failures() {
            self.progress.say(&format!("failed: {failure}"));
        }
        true
    }

    fn try_run(&mut self, platform: &Platform, suites: &[&'static Suite]) -> Result<Row> {
        let machine = if platform.kernel == Kernel::Native {
            None
        } else {
            self.progress.step("packages");
            let emulator = Emulator::unpack(&self.cache, platform.arch)?;
            self.progress.step("kernel");
            let image = kernels::image(&self.cache, platform.arch, platform.kernel)?;
            ensure!(self.seen.insert((platform.arch.name, platform.libc, image.clone())), NotThere::another_row());
            Some((emulator, image))
        };
        self.progress.step("build");
        let programs = self.build(platform, suites)?;
        let work = self.work(&programs, suites, machine.is_none())?;
        let directory = self.runs().join(platform.directory());
        self.progress.step("boot");
        let progress = &mut self.progress;
        let told = |event: &Event| match event {
            Event::Up => progress.step("tests"),
            Event::Begin(name) => progress.say(&format!("tests: {name}")),
            Event::End | Event::Off => {}
        };
        let (transcript, failure) = match &machine {
            Some((emulator, image)) => boot(emulator, image, &work, &directory, told)?,
            None => run_here(&work, &directory, told)?,
        };
        let failure = failure.map(|failure| {
            let during = transcript.current().map_or_else(String::new, |step| format!(" in {step}"));
            format!("{failure}{during}; the last lines:\n{}", transcript.last_lines(15).join("\n"))
        });
        let times = self.progress.end();
        Ok(row(*platform, &programs.libc, suites, &transcript, failure, times))
    }

    fn build(&mut self, platform: &Platform, suites: &[&'static Suite]) -> Result<Rc<Programs>> {
        let tests: BTreeSet<&str> = suites.iter().map(|suite| suite.test).collect();
        let key = (platform.arch.name, platform.libc, tests.clone());
        if let Some(programs) = self.built.get(&key) {
            return Ok(Rc::clone(programs));
        }
        let programs = Rc::new(build(&self.cache, platform.arch, platform.libc, &tests)?);
        self.built.insert(key, Rc::clone(&programs));
        Ok(programs)
    }

    fn work<'p>(&self, programs: &'p Programs, suites: &[&'static Suite], is_native: bool) -> Result<Work<'p>> {
        let mut work = Work { guest: &programs.guest, programs: Vec::new(), tasks: Vec::new() };
        let guest = if is_native { programs.guest.display().to_string() } else { "/init".to_owned() };
        let limit = Duration::from_secs(60);
        work.tasks.push(Task { line: format!("{STATUS} 60 {guest}"), name: STATUS.to_owned(), limit, stepwise: false });
        for suite in suites {
            let path = programs.test(suite.test)?;
            let name = format!("suites/{}", suite.test);
            let program = if is_native { path.display().to_string() } else { format!("/{name}") };
            let line = format!(
                "{} {} {} {} {program} --test-threads=1 --show-output {} {}",
                suite.name,
                suite.limit,
                if is_native { "" } else { EMULATED },
                suite.environment,
                suite.arguments,
                self.arguments.join(" ")
            );
            let limit = Duration::from_secs(suite.limit);
            work.tasks.push(Task { line, name: suite.name.to_owned(), limit, stepwise: suite.stepwise });
            if !work.programs.iter().any(|(there, _)| *there == name) {
                work.programs.push((name, path));
            }
        }
        Ok(work)
    }
}

/// The word to tests of an emulator's speed: how slow it is, and to repeat still less.
const EMULATED: &str = "RSEQ_TEST_SLOWNESS=20 RSEQ_TEST_SHORTER=5";

fn row(
    platform: Platform,
    libc: &str,
    suites: &[&'static Suite],
    transcript: &Transcript,
    failure: Option<String>,
    times: Vec<(&'static str, Duration)>,
) -> Row {
    let mut failures: Vec<String> = failure.into_iter().collect();
    let (release, mode) = (transcript.release.clone(), transcript.mode().map(str::to_owned));
    let expected = expected_mode(&platform, release.as_deref().unwrap_or_default());
    if mode.as_deref().is_some_and(|mode| mode != expected) {
        failures.push(format!("the mode is {}, and should be {expected}", mode.as_deref().unwrap_or_default()));
    }
    let mut outcomes = BTreeMap::new();
    for suite in suites {
        let Some(step) = transcript.steps.iter().find(|step| step.name == suite.name) else {
            failures.push(format!("{} didn't end", suite.name));
            continue;
        };
        let tally = Tally::of(&step.output);
        let failure = step.failure.clone().or_else(|| tally.is_none().then(|| "no result".to_owned()));
        if let Some(how) = &failure {
            let tests = tally.as_ref().map_or_else(String::new, |tally| tally.failures.join(", "));
            failures.push(format!("{}: {how}: {tests}", suite.name));
        }
        outcomes.insert(suite.name, Outcome { tally, failure });
    }
    Row { platform, libc: libc.to_owned(), release, mode, suites: outcomes, failures, times }
}

fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// The mode that `rseq::status()` must report.
fn expected_mode(platform: &Platform, release: &str) -> &'static str {
    if platform.arch.has_kernels_of_arm64() && is_broken(release) {
        return "Portable(BrokenKernel)";
    }
    match platform.libc {
        // 2.31, before glibc registered threads.
        Libc::Musl | Libc::Glibc("bullseye") => "Rseq(Own)",
        Libc::Glibc(_) => "Rseq(Libc)",
    }
}

/// True if an arm64 kernel neither restarts sections nor clears what they armed: from 6.19 to
/// 7.0.13.
fn is_broken(release: &str) -> bool {
    let numbers: Vec<u32> = release.split(['.', '+', '-']).map_while(|part| part.parse().ok()).take(3).collect();
    (vec![6, 19]..vec![7, 0, 14]).contains(&numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platforms::platforms;

    #[test]
    fn the_broken_kernels_of_arm64() {
        assert!(["6.19.6+deb13-cloud-arm64", "7.0.13+deb13-arm64", "7.0.0"].iter().all(|release| is_broken(release)));
        assert!(
            !["6.18.15+deb13", "7.0.14+deb13", "7.1.0", "5.10.0-46-arm64"].iter().any(|release| is_broken(release))
        );
    }

    #[test]
    fn only_those_may_be_portable() {
        for platform in platforms() {
            let portable = expected_mode(&platform, "7.0.4+deb13") == "Portable(BrokenKernel)";
            let is_on_arm64 = ["aarch64", "armv7-compat"].contains(&platform.arch.name);
            assert_eq!(portable, is_on_arm64, "{platform}");
        }
    }
}
