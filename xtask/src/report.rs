//! The report: the table for people, and the one for `docs/platforms.md`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::guest::Tally;
use crate::platforms::{Platform, platforms};
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

    /// The record that is kept of it.
    pub fn record(&self, day: &str) -> Record {
        let skips = self.suites.iter().flat_map(|(suite, outcome)| {
            let reasons = outcome.tally.iter().flat_map(|tally| &tally.skipped);
            reasons.map(|reason| ((*suite).to_owned(), reason.clone()))
        });
        let (cells, failures, skipped) = (self.cells(day), self.failures.clone(), skips.collect());
        Record { cells, failures, skipped, not_run: None }
    }

    fn cells(&self, day: &str) -> Vec<String> {
        let mut cells = vec![
            self.platform.arch.name.to_owned(),
            self.libc.clone(),
            format!("{} ({})", self.release.as_deref().unwrap_or("none"), self.platform.kernel),
            self.mode.clone().unwrap_or_else(|| "unknown".to_owned()),
        ];
        cells.extend(SUITES.iter().map(|suite| self.suites.get(suite.name).map_or_else(String::new, Outcome::cell)));
        cells.extend([self.aborts().to_string(), self.seconds(), day.to_owned()]);
        cells
    }
}

/// The record that is kept of a platform until it runs again.
#[derive(Serialize, Deserialize, Clone, PartialEq, Default, Debug)]
pub struct Record {
    /// The cells of its row; none if it wasn't run.
    cells: Vec<String>,
    /// Everything that is wrong with it.
    failures: Vec<String>,
    /// Suites, and what they printed that they skipped.
    skipped: Vec<(String, String)>,
    /// Why it wasn't run.
    not_run: Option<String>,
}

impl Record {
    pub fn not_run(reason: String) -> Self {
        Self { not_run: Some(reason), ..Self::default() }
    }
}

/// Platforms, with what came of them.
#[derive(Default, Debug)]
pub struct Report {
    records: Vec<(Platform, Record)>,
}

impl Report {
    pub fn add(&mut self, platform: Platform, record: Record) {
        self.records.push((platform, record));
    }

    /// The records of all platforms that are kept in this directory.
    pub fn kept(directory: &Path) -> Result<Self> {
        let mut report = Self::default();
        for platform in platforms() {
            let file = file_of(directory, &platform);
            if let Ok(text) = fs::read_to_string(&file) {
                let record: Record = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
                // Of another version of this program: it has to run again.
                if record.cells.is_empty() || record.cells.len() == Self::header().len() {
                    report.add(platform, record);
                }
            }
        }
        Ok(report)
    }

    /// Keeps the last platform's record in this directory.
    pub fn keep_last(&self, directory: &Path) -> Result<()> {
        let Some((platform, record)) = self.records.last() else { return Ok(()) };
        let file = file_of(directory, platform);
        fs::create_dir_all(file.parent().context("it is in a directory")?)?;
        fs::write(&file, serde_json::to_string_pretty(record)?).with_context(|| file.display().to_string())
    }

    pub fn has_failed(&self) -> bool {
        self.records.iter().any(|(_, record)| !record.failures.is_empty())
    }

    /// The failures of the last platform.
    pub fn last_failures(&self) -> &[String] {
        self.records.last().map_or(&[], |(_, record)| &record.failures)
    }

    /// True if some kernel of this architecture ran.
    pub fn has_run(&self, arch: &str) -> bool {
        self.records.iter().any(|(platform, record)| platform.arch.name == arch && !record.cells.is_empty())
    }

    fn header() -> Vec<String> {
        let mut header = ["architecture", "libc", "kernel", "mode"].map(str::to_owned).to_vec();
        header.extend(SUITES.iter().map(|suite| suite.name.to_owned()));
        header.extend(["aborts".to_owned(), format!("s of {}", STEPS.join("+")), "day".to_owned()]);
        header
    }

    /// The table, in Markdown, which is a table for people too.
    pub fn table(&self) -> String {
        let mut table = vec![Self::header()];
        table.extend(self.records.iter().map(|(_, record)| record.cells.clone()).filter(|cells| !cells.is_empty()));
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

    /// The notes, of what isn't in the table: failures, what tests skipped, and rows that weren't
    /// run.
    pub fn notes(&self) -> String {
        let mut notes = String::new();
        let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (platform, record) in &self.records {
            for failure in &record.failures {
                let _infallible = writeln!(notes, "- {platform} failed: {}", failure.replace('\n', "\n  "));
            }
            for (suite, reason) in &record.skipped {
                let place = format!("{} {} ({suite})", platform.arch.name, platform.kernel);
                reasons.entry(reason).or_default().push(place);
            }
        }
        for (reason, places) in reasons {
            let _infallible = writeln!(notes, "- skipped, {reason}: {}", places.join(", "));
        }
        for (platform, record) in &self.records {
            if let Some(reason) = &record.not_run {
                let _infallible = writeln!(notes, "- not run, {platform}: {reason}");
            }
        }
        notes
    }

    /// Puts the report between the markers of the file, or writes one with nothing else.
    pub fn write(&self, file: &Path, host: &str) -> Result<()> {
        let text = fs::read_to_string(file).unwrap_or_else(|_| format!("# Platforms\n\n{BEGIN}\n{END}\n"));
        let body = format!("`cargo xtask matrix`, on {host}:\n\n{}\n{}", self.table(), self.notes());
        let text =
            between_markers(&text, &body).with_context(|| format!("{} has no {BEGIN} .. {END}", file.display()))?;
        fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
    }
}

fn file_of(directory: &Path, platform: &Platform) -> PathBuf {
    directory.join(platform.directory()).join("record.json")
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

    /// A matrix takes hours, so what ran is kept, and each row is from when it ran last.
    #[test]
    fn records_are_kept_until_the_platform_runs_again() {
        let directory = std::env::temp_dir().join(format!("rseq-xtask-records-{}", std::process::id()));
        let all = platforms();
        let record = |day: &str| Record { cells: vec![day.to_owned(); Report::header().len()], ..Record::default() };
        for (platform, record) in [
            (all[0], record("Monday")),
            (all[1], Record::not_run("there is none".to_owned())),
            (all[0], record("Tuesday")),
        ] {
            let mut report = Report::default();
            report.add(platform, record);
            report.keep_last(&directory).expect("it can be written");
        }
        fs::create_dir_all(directory.join(all[2].directory())).expect("it can be made");
        fs::write(file_of(&directory, &all[2]), r#"{"cells":["old"],"failures":[],"skipped":[],"not_run":null}"#)
            .expect("it can be written");
        let report = Report::kept(&directory).expect("it can be read");
        fs::remove_dir_all(directory).expect("it is there");
        assert!(report.table().contains("| Tuesday") && !report.table().contains("Monday"), "{}", report.table());
        assert!(!report.table().contains("old"), "of a table with other columns");
        assert_eq!(report.notes(), format!("- not run, {}: there is none\n", all[1]));
    }

    #[test]
    fn text_around_the_markers_stays() {
        let text = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        assert_eq!(between_markers(&text, "new\n"), Some(format!("above\n{BEGIN}\nnew\n{END}\nbelow\n")));
        assert_eq!(between_markers("without", "new"), None);
    }
}
