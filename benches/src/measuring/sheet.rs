//! Measurements as CSV: a row for each, after lines that say on what they were made.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The time of a contender in a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The structure that the operation is done to.
    pub structure: String,
    /// How.
    pub contender: String,
    /// By how many threads.
    pub threads: usize,
    /// With the others of the same block it was measured one right after the other.
    pub block: usize,
    /// Nanoseconds that went by on a CPU for an operation.
    pub ns: f64,
    /// Nanoseconds of processor time for an operation.
    pub cpu_ns: f64,
    /// Aborts in a million operations, where they are known.
    pub aborts_per_million: Option<f64>,
    /// The operations of the thread that did least, in terms of what each would have done if all
    /// had done the same.
    pub least_share: f64,
}

/// Starts lines that aren't rows.
const NOTE: &str = "# ";

/// A file that measurements are added to.
pub struct Sheet {
    rows: csv::Writer<File>,
}

impl Sheet {
    /// Overwrites the file.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn create(path: &Path, notes: &str) -> io::Result<Self> {
        path.parent().map(std::fs::create_dir_all).transpose()?;
        let mut file = File::create(path)?;
        notes.lines().try_for_each(|line| writeln!(file, "{NOTE}{line}"))?;
        Ok(Self { rows: csv::Writer::from_writer(file) })
    }

    /// Adds rows, which are in the file from then on.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn add(&mut self, measurements: &[Measurement]) -> io::Result<()> {
        measurements.iter().try_for_each(|one| self.rows.serialize(one)).map_err(io::Error::from)?;
        self.rows.flush()
    }
}

/// The machine of a file, and its rows.
///
/// # Errors
/// If it can't be read, or a row isn't right.
pub fn read(path: &Path) -> io::Result<(Vec<String>, Vec<Measurement>)> {
    let lines = BufReader::new(File::open(path)?).lines();
    let notes = lines.map_while(|line| Some(line.ok()?.strip_prefix(NOTE)?.to_owned())).collect();
    let mut rows = csv::ReaderBuilder::new().comment(Some(b'#')).from_path(path)?;
    let measurements = rows.deserialize().collect::<Result<_, _>>()?;
    Ok((notes, measurements))
}

/// This machine and today, in a line.
pub fn machine() -> String {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // The distribution's own begins behind the number.
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    let cpus = super::cpus::available_cpus().len();
    let date = jiff::Timestamp::now().strftime("%F").to_string();
    format!("{}, {cpus} CPUs, Linux {kernel}, {date}", model.map_or("unknown", |(_, model)| model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let path = std::env::temp_dir().join(format!("rseq-bench-{}.csv", std::process::id()));
        let one = |block, aborts_per_million| Measurement {
            structure: "list".to_owned(),
            contender: "a, \"quoted\"".to_owned(),
            threads: 2,
            block,
            ns: 0.125,
            cpu_ns: 1e-9,
            aborts_per_million,
            least_share: 0.5,
        };
        let rows = [one(0, None), one(1, Some(2.5)), one(2, Some(0.0))];
        let mut sheet = Sheet::create(&path, "a machine\nthe second line").expect("there is room");
        rows.chunks(2).for_each(|rows| sheet.add(rows).expect("there is room"));
        let found = read(&path);
        std::fs::remove_file(&path).expect("it was written");
        let (notes, found) = found.expect("it was just written");
        assert_eq!(notes, ["a machine", "the second line"]);
        assert_eq!(found, rows);
    }
}
