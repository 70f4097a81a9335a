//! What came of it: the table for people, and the one for `docs/platforms.md`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest::Tally;
use crate::platforms::Platform;
use crate::suites::SUITES;

/// How a suite ended on a platform.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `None` where the harness didn't come to an end.
    pub tally: Option<Tally>,
    pub failure: Option<String>,
}

impl Outcome {
    fn cell(&self) -> String {
        let (Some(tally), None) = (&self.tally, &self.failure) else {
            return match &self.tally {
                Some(tally) if tally.failed > 0 => format!("**{} failed**", tally.failed),
                _ => "**failed**".to_owned(),
            };
        };
        match tally.passed {
            0 => "-".to_owned(),
            passed => passed.to_string(),
        }
    }
}

/// The steps of a row, which are timed.
pub const STEPS: [&str; 5] = ["packages", "kernel", "build", "boot", "tests"];

/// A row that was run.
#[derive(Debug)]
pub struct Row {
    pub platform: Platform,
    pub libc: String,
    /// As the kernel gave it; `None` if none ran.
    pub release: Option<String>,
    /// As `rseq::status()` gave it.
    pub mode: Option<String>,
    pub suites: BTreeMap<&'static str, Outcome>,
    /// Everything that is wrong with this row.
    pub failures: Vec<String>,
    /// The steps and how long they took.
    pub times: Vec<(&'static str, Duration)>,
}

impl Row {
    fn aborts(&self) -> u64 {
        self.suites.values().filter_map(|outcome| Some(outcome.tally.as_ref()?.aborts)).sum()
    }

    /// The seconds of each step.
    fn seconds(&self) -> String {
        let of = |step| self.times.iter().find(|(name, _)| *name == step).map_or(0, |(_, time)| time.as_secs());
        STEPS.map(|step| of(step).to_string()).join("+")
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.platform.arch.name.to_owned(),
            self.libc.clone(),
            format!("{} ({})", self.release.as_deref().unwrap_or("none"), self.platform.kernel),
            self.mode.clone().unwrap_or_else(|| "unknown".to_owned()),
        ];
        cells.extend(SUITES.iter().map(|suite| self.suites.get(suite.name).map_or_else(String::new, Outcome::cell)));
        cells.extend([self.aborts().to_string(), self.seconds()]);
        cells
    }
}

/// A row that wasn't.
#[derive(Debug)]
pub struct Skip {
    pub platform: Platform,
    pub reason: String,
}

/// All of it.
#[derive(Default, Debug)]
pub struct Report {
    pub rows: Vec<Row>,
    pub skips: Vec<Skip>,
}

impl Report {
    pub fn has_failed(&self) -> bool {
        self.rows.iter().any(|row| !row.failures.is_empty())
    }

    fn header() -> Vec<String> {
        let mut header = ["architecture", "libc", "kernel", "mode"].map(str::to_owned).to_vec();
        header.extend(SUITES.iter().map(|suite| suite.name.to_owned()));
        header.extend(["aborts".to_owned(), format!("s of {}", STEPS.join("+"))]);
        header
    }

    /// The table, in Markdown, which is a table for people too.
    pub fn table(&self) -> String {
        let mut table = vec![Self::header()];
        table.extend(self.rows.iter().map(Row::cells));
        let widths: Vec<usize> =
            (0..table[0].len()).map(|column| table.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let mut lines: Vec<String> = table.iter().map(line).collect();
        let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
        lines.insert(1, line(&rule));
        lines.concat()
    }

    /// What isn't in the table: failures, what tests skipped, and rows that weren't run.
    pub fn notes(&self) -> String {
        let mut notes = String::new();
        let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for row in &self.rows {
            for failure in &row.failures {
                let _infallible = writeln!(notes, "- {} failed: {}", row.platform, failure.replace('\n', "\n  "));
            }
            for (suite, outcome) in &row.suites {
                for reason in outcome.tally.iter().flat_map(|tally| &tally.skipped) {
                    reasons
                        .entry(reason)
                        .or_default()
                        .push(format!("{} {} ({suite})", row.platform.arch.name, row.platform.kernel));
                }
            }
        }
        for (reason, places) in reasons {
            let _infallible = writeln!(notes, "- skipped, {reason}: {}", places.join(", "));
        }
        for skip in &self.skips {
            let _infallible = writeln!(notes, "- not run, {}: {}", skip.platform, skip.reason);
        }
        notes
    }

    /// Puts the report between the markers of the file, or writes one with nothing else.
    pub fn write(&self, file: &Path, command: &str, host: &str, date: &str) -> Result<()> {
        let text = fs::read_to_string(file).unwrap_or_else(|_| format!("# Platforms\n\n{BEGIN}\n{END}\n"));
        let body = format!("`{command}`, {date}, on {host}:\n\n{}\n{}", self.table(), self.notes());
        let text =
            between_markers(&text, &body).with_context(|| format!("{} has no {BEGIN} .. {END}", file.display()))?;
        fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
    }
}

const BEGIN: &str = "<!-- cargo xtask matrix: begin -->";
const END: &str = "<!-- cargo xtask matrix: end -->";

/// The text with this between its markers.
fn between_markers(text: &str, body: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", body.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_around_the_markers_stays() {
        let text = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        assert_eq!(between_markers(&text, "new\n"), Some(format!("above\n{BEGIN}\nnew\n{END}\nbelow\n")));
        assert_eq!(between_markers("without", "new"), None);
    }
}
