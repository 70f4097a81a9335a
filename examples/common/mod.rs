//! Code that the examples share: their input, and how they print.

#![allow(dead_code, reason = "each example uses a part of it")]

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, thread};

use rseq::{Mode, Reason, Registrar, Status};

/// The contents of the files that could be read, one after the other.
pub struct Input {
    pub bytes: Vec<u8>,
    /// How many files that is.
    pub files: usize,
    /// How many couldn't be read.
    pub unreadable: usize,
}

/// Reads the files, or the project's sources if none is named. Whatever can't be read is named on
/// stderr.
pub fn read(files: &[PathBuf]) -> Input {
    let sources;
    let files = if files.is_empty() {
        sources = own_sources();
        &sources
    } else {
        files
    };
    let mut input = Input { bytes: Vec::new(), files: 0, unreadable: usize::from(files.is_empty()) };
    for file in files {
        match fs::read(file) {
            Ok(bytes) => {
                input.bytes.extend(bytes);
                input.files += 1;
            }
            Err(error) => {
                complain(file, &error);
                input.unreadable += 1;
            }
        }
    }
    input
}

fn complain(path: &Path, error: &io::Error) {
    eprintln!("{}: {error}", path.display());
}

/// The source files of the project that this example was built from, in the order of their names;
/// none if they aren't there any more.
fn own_sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    if let Err(error) = collect(root, &mut found) {
        complain(root, &error);
    }
    if found.is_empty() {
        eprintln!("the sources that this program was built from aren't there any more: name the files to read");
    }
    found.sort();
    found
}

/// Adds the source files under a directory, except those of build outputs and hidden directories.
/// Links aren't followed.
fn collect(directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, kind, name) = (entry.path(), entry.file_type()?, entry.file_name());
        let extension = path.extension().and_then(|extension| extension.to_str());
        if kind.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            collect(&path, found)?;
        } else if kind.is_file() && matches!(extension, Some("rs" | "md" | "toml")) {
            found.push(path);
        }
    }
    Ok(())
}

/// The number of CPUs that the program may use.
pub fn available_cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The mode in one line.
pub fn mode(status: &Status) -> String {
    match status.mode() {
        Mode::Rseq(Registrar::Libc) => "restartable sequences, threads registered by libc".to_owned(),
        Mode::Rseq(Registrar::Own) => "restartable sequences, threads registered by this crate".to_owned(),
        Mode::Portable(Reason::Forced) => "portable, a lock per slot (forced)".to_owned(),
        Mode::Portable(reason) => format!("portable, a lock per slot ({reason})"),
    }
}

/// The name of a slot: a CPU's, or the shared one's.
pub fn slot_name(slot: usize, status: &Status) -> String {
    if slot == status.possible_cpus() {
        return "shared (threads without registration)".to_owned();
    }
    match status.mode() {
        Mode::Rseq(_) => format!("CPU {slot}"),
        Mode::Portable(_) => format!("slot {slot}"),
    }
}

/// A number with its thousands apart: 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One part of a whole, as in `12.5 %`.
pub fn percent(part: u64, whole: u64) -> String {
    format!("{:5.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}

/// A table of how much each slot had a part in; slots without one are left out, and the table if
/// all are.
pub fn write_shares(out: &mut impl Write, title: &str, shares: &[u64], status: &Status) -> io::Result<()> {
    let whole = shares.iter().sum();
    if whole == 0 {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    for (slot, &share) in shares.iter().enumerate().filter(|(_, share)| **share > 0) {
        writeln!(out, "{:>16}  {}  {}", grouped(share), percent(share, whole), slot_name(slot, status))?;
    }
    Ok(())
}

/// The exit code of a program that has written its report, or couldn't. A reader that closed the
/// pipe (`| head`) has seen enough: that doesn't change the code, which `outcome` has for the work
/// itself.
pub fn exit_code(written: io::Result<()>, outcome: bool) -> ExitCode {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("can't write the report: {error}");
            ExitCode::FAILURE
        }
        _ if outcome => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
