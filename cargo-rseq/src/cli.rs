//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Lists, shows and verifies the restartable sequences (rseq) in ELF files.
#[derive(Debug, Parser)]
#[command(name = "cargo-rseq", bin_name = "cargo rseq", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists the sections: where they are, how long, and what they do
    List(File),
    /// Shows the code of sections, with what each instruction is for
    Show {
        #[command(flatten)]
        file: File,
        /// Which sections: a part of a function's name, FILE:LINE, or an address (0x..)
        filter: Option<String>,
    },
    /// Checks sections against the rules that make them restartable; exits with 1 if one is broken
    #[command(after_help = "Exit status: 0 if all is well, 1 if a rule is broken, 2 if the file can't be checked.")]
    Verify(File),
    /// Says whether this machine runs sections, and what is missing; exits with 1 if it doesn't
    #[cfg(target_os = "linux")]
    Doctor,
}

#[derive(Debug, Args)]
pub struct File {
    /// An executable, a shared object or a relocatable file
    pub file: PathBuf,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// The arguments, whether `cargo rseq ..` or `cargo-rseq ..` was called: cargo passes on its own
/// word for it.
pub fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os()
        .enumerate()
        .filter(|(number, argument)| *number != 1 || argument != "rseq")
        .map(|(_, argument)| argument)
}
