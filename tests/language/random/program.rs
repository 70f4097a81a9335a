//! The program that random sections are compiled to, and how it is built and run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::image::Input;
use super::interpret::Outcome;
use super::memory::{ABORTS, Fault, NEVER, REPLY, REQUEST, VALUES};
use super::print;
use super::section::Section;
use support::crates;

/// So long a run may take: a section that never ends is a failure as well.
const MOST: Duration = Duration::from_secs(120);

/// How rustc compiles it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    Debug,
    Release,
    /// As debug, for the model of rseq-explore.
    Model,
}

/// How it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Default,
    Portable,
}

/// The builds and modes in which each section runs.
pub const RUNS: [(Profile, Mode); 4] = [
    (Profile::Debug, Mode::Default),
    (Profile::Debug, Mode::Portable),
    (Profile::Release, Mode::Default),
    (Profile::Release, Mode::Portable),
];

/// A request to the program: which section, with what, and where its attempts are aborted.
pub struct Request<'i> {
    pub section: usize,
    pub input: &'i Input,
    pub aborts: &'i [usize],
}

/// The answers of one run of the program.
pub struct Replies {
    /// One for each request, unless the program was ended before.
    pub outcomes: Vec<(Outcome, Fault)>,
    /// Its output, or how it was ended.
    pub end: Result<String, String>,
}

/// A generated crate.
pub struct Program {
    directory: PathBuf,
    name: &'static str,
}

impl Program {
    /// Writes the crate. One name after the other may be used for several programs.
    pub fn write(name: &'static str, sections: &[&Section]) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("random").join(name);
        let root = env!("CARGO_MANIFEST_DIR");
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\nrseq-dsl = {{ path = {root:?} }}\n\
             rseq-explore = {{ path = \"{root}/rseq-explore\", optional = true }}\n\n[features]\nmodel = [\"dep:rseq-explore\"]\n\n\
             [[bin]]\nname = \"{name}\"\npath = \"src/main.rs\"\n\n\
             [[bin]]\nname = \"{name}-model\"\npath = \"src/main.rs\"\nrequired-features = [\"model\"]\n\n\
             [profile.dev]\ndebug = 0\n\n[workspace]\n"
        );
        let write = |file: &str, text: &str| {
            let file = directory.join(file);
            fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        };
        fs::create_dir_all(directory.join("src")).expect("the target directory is ours");
        write("Cargo.toml", &manifest);
        write("src/main.rs", include_str!("harness.rs"));
        write("src/memory.rs", include_str!("memory.rs"));
        write("src/sections.rs", &print::module(sections));
        crates::provide(&directory, Path::new(root));
        Self { directory, name }
    }

    /// Builds it; says what the compiler said if it refuses.
    pub fn build(&self, profile: Profile) -> Result<(), String> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(&self.directory).env("CARGO_TARGET_DIR", Self::target());
        cargo.args(["build", "--offline", "--quiet", "--bin", &self.binary(profile)]);
        match profile {
            Profile::Debug => {}
            Profile::Release => _ = cargo.arg("--release"),
            Profile::Model => _ = cargo.args(["--features", "model"]),
        }
        let output = cargo.output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    fn binary(&self, profile: Profile) -> String {
        format!("{}{}", self.name, if profile == Profile::Model { "-model" } else { "" })
    }

    /// Where the other generated and fixed crates are built too, so that what they have in common
    /// is built once.
    fn target() -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures")
    }

    /// Runs it.
    pub fn run(&self, (profile, mode): (Profile, Mode), requests: &[Request<'_>]) -> Replies {
        let file = |kind: &str| self.directory.join(format!("{kind}-{profile:?}-{mode:?}"));
        let (input, output) = (file("requests"), file("replies"));
        let bytes: Vec<u8> = requests.iter().flat_map(Request::bytes).collect();
        fs::write(&input, bytes).expect("the target directory is ours");
        let folder = if profile == Profile::Release { "release" } else { "debug" };
        let mut command = Command::new(Self::target().join(folder).join(self.binary(profile)));
        command.args([&input, &output]).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RSEQ_MODE");
        if mode == Mode::Portable {
            command.env("RSEQ_MODE", "portable");
        }
        let end = ended(command.spawn().expect("it was just built"));
        let outcomes = fs::read(output).unwrap_or_default().chunks_exact(REPLY).map(reply).collect();
        Replies { outcomes, end }
    }
}

/// The output of a process, if it succeeded; else how it ended.
fn ended(mut process: Child) -> Result<String, String> {
    let start = Instant::now();
    while process.try_wait().map_err(|error| error.to_string())?.is_none() {
        if start.elapsed() > MOST {
            let _ = process.kill();
            let _ = process.wait();
            return Err(format!("it didn't end within {MOST:?}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = process.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("it ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

impl Request<'_> {
    fn bytes(&self) -> Vec<u8> {
        let abort = |number| self.aborts.get(number).map_or(NEVER, |abort| *abort as u64);
        let words = [self.section as u64].into_iter().chain(self.input.arguments).chain((0..ABORTS).map(abort));
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).chain(self.input.image.iter().copied()).collect();
        assert_eq!(bytes.len(), REQUEST);
        bytes
    }
}

fn reply(bytes: &[u8]) -> (Outcome, Fault) {
    let word = |number: usize| u64::from_le_bytes(bytes[8 * number..][..8].try_into().expect("eight bytes"));
    let faults = [Fault::None, Fault::SeveralSlots, Fault::OtherIndex, Fault::Unsteady];
    let fault = faults[word(0) as usize];
    let values = std::array::from_fn(|value| word(2 + value));
    (Outcome { exit: word(1), values, image: bytes[16 + 8 * VALUES..].to_vec() }, fault)
}
