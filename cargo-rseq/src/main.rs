//! `cargo rseq`: the library's answers on the command line.

mod cli;
#[cfg(target_os = "linux")]
mod doctor;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use cargo_rseq::elf::{self, Image};
use cargo_rseq::show::Filter;
use cargo_rseq::{Binary, Error, list, show};
use clap::Parser;
use cli::{Arguments, Command, File};
use serde::Serialize;

/// All is well.
const GOOD: u8 = 0;
/// A rule is broken.
const BAD: u8 = 1;
/// There is nothing to look at.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse_from(cli::arguments());
    let mut out = anstream::stdout().lock();
    ExitCode::from(match run(&command, &mut out).and_then(|code| Ok(out.flush().map(|()| code)?)) {
        Ok(code) => code,
        // Who reads it has seen enough.
        Err(Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => GOOD,
        Err(error) => {
            anstream::eprintln!("error: {error}");
            UNUSABLE
        }
    })
}

fn run(command: &Command, out: &mut dyn Write) -> Result<u8, Error> {
    match command {
        Command::List(file) => on(file, |binary| {
            let rows = binary.list();
            answer(out, file, &rows, |out| list::write(out, &rows))
        }),
        Command::Show { file, filter } => on(file, |binary| {
            let shown = show::show(binary, &filter.as_ref().map_or(Filter::All, |text| Filter::parse(text)));
            if let (Some(filter), true) = (filter, shown.is_empty()) {
                return Err(Error::NoMatch(filter.clone()));
            }
            answer(out, file, &shown, |out| show::write(out, &shown))
        }),
        Command::Verify(file) => on(file, |binary| {
            let report = binary.verify();
            answer(out, file, &report, |out| report.write(out))?;
            Ok(if report.violations().next().is_some() { BAD } else { GOOD })
        }),
        #[cfg(target_os = "linux")]
        Command::Doctor => Ok(if doctor::report(out)? { GOOD } else { BAD }),
    }
}

/// Does it with what is in a file.
fn on(file: &File, work: impl FnOnce(&Binary<'_>) -> Result<u8, Error>) -> Result<u8, Error> {
    let bytes = elf::read(&file.file)?;
    let image = Image::parse(&bytes)?;
    work(&Binary::read(&image)?)
}

/// Writes an answer, for people or for programs.
fn answer(
    out: &mut dyn Write,
    file: &File,
    answer: &impl Serialize,
    for_people: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<u8, Error> {
    if file.json {
        serde_json::to_writer_pretty(&mut *out, answer).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        for_people(out)?;
    }
    Ok(GOOD)
}
