//! The output of a virtual machine: the host's half of `xtask/guest/src/main.rs`, whose lines begin
//! with `@guest `, and the output of Rust's tests in between.

use std::collections::BTreeSet;
use std::mem;

/// A step of a guest, as it ended.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Step {
    pub name: String,
    /// How, if not well.
    pub failure: Option<String>,
    pub seconds: f64,
    pub output: Vec<String>,
}

/// An event in the guest.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// The first process runs.
    Up,
    /// A step of this name begins.
    Begin(String),
    /// The step ended; its record is in the transcript.
    End,
    /// All steps ended.
    Off,
}

/// Everything that a guest said.
#[derive(Default, Debug)]
pub struct Transcript {
    /// The kernel's release, as `uname -r` has it.
    pub release: Option<String>,
    pub steps: Vec<Step>,
    pub is_complete: bool,
    /// The step that goes on, or what is said between steps.
    current: Step,
}

impl Transcript {
    /// Takes a line. Says what happened by it, if something did.
    pub fn line(&mut self, line: &str) -> Option<Event> {
        // The kernel's own messages may stand in front, without an end of line.
        let Some((_, said)) = line.split_once("@guest ") else {
            self.current.output.push(line.to_owned());
            return None;
        };
        let mut words = said.split_whitespace();
        match words.next()? {
            "up" => {
                self.release = words.next().map(str::to_owned);
                Some(Event::Up)
            }
            "begin" => {
                self.current = Step { name: words.next()?.to_owned(), ..Step::default() };
                Some(Event::Begin(self.current.name.clone()))
            }
            "end" => {
                let mut step = mem::take(&mut self.current);
                step.seconds = words.nth(1)?.parse().ok()?;
                let how = words.collect::<Vec<_>>().join(" ");
                step.failure = (how != "ok").then_some(how);
                self.steps.push(step);
                Some(Event::End)
            }
            "off" => {
                self.is_complete = true;
                Some(Event::Off)
            }
            _ => {
                self.current.output.push(said.to_owned());
                None
            }
        }
    }

    /// The last lines of what goes on.
    pub fn last_lines(&self, count: usize) -> &[String] {
        let lines = &self.current.output;
        &lines[lines.len().saturating_sub(count)..]
    }

    /// The name of the step that goes on.
    pub fn current(&self) -> Option<&str> {
        Some(self.current.name.as_str()).filter(|name| !name.is_empty())
    }

    /// The mode of `rseq::status()`, as its `Debug` form has it.
    pub fn mode(&self) -> Option<&str> {
        let status = self.steps.iter().find(|step| step.name == STATUS)?;
        status.output.first().map(|line| line.trim())
    }
}

/// The step that reports the mode.
pub const STATUS: &str = "status";

/// The result of a suite's tests.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
    /// Tests that passed but printed that they skipped something, by what they printed.
    pub skipped: BTreeSet<String>,
    /// The aborts that tests counted and printed.
    pub aborts: u64,
    pub failures: Vec<String>,
}

impl Tally {
    /// From the output of Rust's test harness. `None` if it didn't come to an end.
    pub fn of(output: &[String]) -> Option<Self> {
        let mut tally = Self::default();
        let mut is_complete = false;
        for line in output.iter().map(|line| line.trim()) {
            if let Some(result) = line.strip_prefix("test result: ") {
                is_complete = true;
                tally.passed = number_before(result, " passed")?;
                tally.failed = number_before(result, " failed")?;
                tally.ignored = number_before(result, " ignored")?;
            } else if let Some(test) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
                tally.failures.push(test.to_owned());
            } else if let Some(reason) = line.strip_prefix("skipped: ") {
                tally.skipped.insert(reason.to_owned());
            }
            tally.aborts += number_after(line, "aborts: ").unwrap_or(0);
        }
        is_complete.then_some(tally)
    }
}

fn number_before(text: &str, word: &str) -> Option<u64> {
    text.split_once(word)?.0.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn number_after(text: &str, word: &str) -> Option<u64> {
    text.split_once(word)?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Transcript {
        let mut transcript = Transcript::default();
        text.lines().for_each(|line| drop(transcript.line(line)));
        transcript
    }

    #[test]
    fn steps_have_their_output_and_their_end() {
        let transcript = heard(
            "[    0.1] booting\n@guest up 6.12.118 2\n@guest begin status\nRseq(Libc)\n\n@guest end status 0.1 ok\n\
             @guest begin exact\n[    9.1] printk@guest error: odd\nline\n@guest end exact 12.5 exit code 101\n@guest off",
        );
        assert_eq!(transcript.release.as_deref(), Some("6.12.118"));
        assert_eq!(transcript.mode(), Some("Rseq(Libc)"));
        let exact = &transcript.steps[1];
        assert_eq!((exact.name.as_str(), exact.seconds, exact.output.len()), ("exact", 12.5, 2));
        assert_eq!(exact.failure.as_deref(), Some("exit code 101"));
        assert!(transcript.is_complete);
    }

    #[test]
    fn a_guest_that_stops_is_not_complete() {
        let transcript = heard("@guest up 6.1 2\n@guest begin exact\none\nKernel panic - not syncing");
        assert!(!transcript.is_complete);
        assert_eq!(transcript.current(), Some("exact"));
        assert_eq!(transcript.last_lines(1), ["Kernel panic - not syncing"]);
    }

    #[test]
    fn tallies_count_what_the_harness_printed() {
        let output = "running 4 tests\ntest one ... ok\ntest two ... FAILED\nskipped: needs more\nskipped: needs more\n\
                      Signals: Outcome { expected: 1, counted: 1, aborts: 17 }\naborts: 3\n\
                      test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.2s";
        let lines: Vec<String> = output.lines().map(str::to_owned).collect();
        let tally = Tally::of(&lines).expect("it has a result");
        assert_eq!((tally.passed, tally.failed, tally.ignored, tally.aborts), (2, 1, 1, 20));
        assert_eq!((tally.skipped.len(), tally.failures), (1, vec!["two".to_owned()]));
        assert_eq!(Tally::of(&lines[..3]), None);
    }
}
