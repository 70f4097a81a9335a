//! Programs and libraries of their own, built by cargo under other settings than the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::crates;

/// A crate in `tests/fixtures`, and how to build it.
pub struct Fixture {
    directory: PathBuf,
    toolchain: Option<&'static str>,
    profile: Vec<String>,
    flags: Vec<String>,
    target: &'static str,
}

/// With `--target`, flags are for the program alone, and what runs in the compiler is built once
/// for all settings.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Has cargo build of the standard library what libraries without it need, where a target's isn't
/// installed.
const BUILD_STD: &str = "-Zbuild-std=core,alloc";

impl Fixture {
    /// The one of this name.
    pub fn new(name: &str) -> Self {
        Self::in_workspace(workspace(), name)
    }

    /// The one of this name in a copy of the workspace.
    pub fn in_workspace(workspace: &Path, name: &str) -> Self {
        let directory = workspace.join("tests/fixtures").join(name);
        Self { directory, toolchain: None, profile: Vec::new(), flags: Vec::new(), target: TARGET }
    }

    /// Another toolchain of rustup's than the one that the tests were built by.
    pub fn toolchain(mut self, name: &'static str) -> Self {
        self.toolchain = Some(name);
        self
    }

    /// Settings of the release profile.
    pub fn profile(mut self, settings: &[(&str, &str)]) -> Self {
        self.profile.extend(settings.iter().map(|(key, value)| format!("profile.release.{key}={value}")));
        self
    }

    /// Flags of rustc.
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// The target of what is built with flags.
    pub fn target(mut self, target: &'static str) -> Self {
        self.target = target;
        self
    }

    /// Builds it, and copies these files of it to a folder of this name, where no other build
    /// comes.
    pub fn build_apart(&self, name: &str, files: &[&str]) -> PathBuf {
        let _turn = turn();
        let (built, folder) = (self.build_in_turn(), scratch().join(name));
        std::fs::create_dir_all(&folder).expect("there is room for a folder");
        for file in files {
            // Another process may have the old one loaded.
            let _there_is_none = std::fs::remove_file(folder.join(file));
            std::fs::copy(built.join(file), folder.join(file)).expect("it was just built");
        }
        folder
    }

    /// Builds it; returns the folder with what came of it.
    pub fn build(&self) -> PathBuf {
        let _turn = turn();
        self.build_in_turn()
    }

    fn build_in_turn(&self) -> PathBuf {
        let (mut cargo, target) = self.cargo("build");
        let folder = if self.flags.is_empty() {
            target
        } else {
            cargo.args(["--target", self.target]).env("CARGO_ENCODED_RUSTFLAGS", self.flags.join("\u{1f}"));
            target.join(self.target)
        };
        print_of(&mut cargo);
        folder.join("release")
    }

    /// Compiles its library for another target, which takes no linker; returns the object file.
    /// Says why where there is no standard library for it to be had.
    pub fn object_for(&self, target: &str) -> Result<PathBuf, String> {
        let _turn = turn();
        let (mut cargo, folder) = self.cargo("rustc");
        let object = folder.join(format!("{target}.o"));
        if !is_installed(target) {
            let missing =
                |why| format!("{target} isn't installed (rustup target add {target}), nor can it be built: {why}");
            if !sysroot().join("lib/rustlib/src/rust/library").exists() {
                return Err(missing("there is no source of it (rustup component add rust-src)".to_owned()));
            }
            // Dependencies of that library are no part of its source.
            crates::fetch(&self.directory, &["--target", target, BUILD_STD]).map_err(missing)?;
            // Stable, but for cargo's option: the library is this compiler's own.
            cargo.env("RUSTC_BOOTSTRAP", "1").arg(BUILD_STD);
        }
        cargo.args(["--lib", "--crate-type", "lib", "--target", target, "--", "--emit"]);
        print_of(cargo.arg(format!("obj={}", object.display())));
        Ok(object)
    }

    /// Builds its library for a target, and says where the crate is that it uses: for who compiles
    /// more by [`rustc`].
    pub fn uses_for(&self, target: &str) -> PathBuf {
        let [_, krate] = self.crates_for(target, &[]);
        krate
    }

    /// The same with these options of cargo's: rseq-core, and the crate itself.
    pub fn crates_for(&self, target: &str, options: &[&str]) -> [PathBuf; 2] {
        let _turn = turn();
        let (mut cargo, _) = self.cargo("build");
        cargo.args(["--lib", "--target", target, "--message-format", "json"]);
        let artifacts = print_of(cargo.args(options));
        ["rseq_core", "rseq"].map(|name| {
            let name = format!("\"name\":\"{name}\"");
            let mut artifacts = artifacts.lines().filter(|line| line.contains("\"compiler-artifact\""));
            let artifact = artifacts.find(|line| line.contains(&name)).expect("it uses the crate");
            let mut words = artifact.split('"');
            words.find(|word| word.ends_with(".rlib")).expect("the crate is a library").into()
        })
    }

    /// Where its sources are.
    pub fn source(&self, name: &str) -> PathBuf {
        self.directory.join("src").join(name)
    }

    /// The compiler's messages about it, which it refuses for this target.
    pub fn refusal_for(&self, target: &str) -> String {
        let _turn = turn();
        let (mut cargo, _) = self.cargo("check");
        let output = cargo.args(["--target", target]).output().expect("cargo is there");
        assert!(!output.status.success(), "{} is accepted for {target}", self.directory.display());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Cargo, in release mode, and the folder where it builds.
    fn cargo(&self, command: &str) -> (Command, PathBuf) {
        crates::provide(&self.directory, workspace());
        let target = scratch().join("fixtures");
        let mut cargo = match self.toolchain {
            None => Command::new(env!("CARGO")),
            Some(toolchain) => by_toolchain(toolchain, "cargo"),
        };
        cargo.current_dir(&self.directory).env("CARGO_TARGET_DIR", &target);
        cargo.args([command, "--release", "--offline", "--quiet"]);
        for setting in &self.profile {
            cargo.args(["--config", setting]);
        }
        (cargo, target)
    }

    /// Builds it and works with what came of it, while nobody builds it under other settings.
    pub fn build_and<R>(&self, work: impl FnOnce(&Path) -> R) -> R {
        // All settings share a folder, so that what they have in common is built once; the program
        // is overwritten each time.
        let _turn = turn();
        work(&self.build_in_turn())
    }

    /// Builds it and runs one of its programs; returns what that printed.
    pub fn build_and_run(&self, program: &str) -> String {
        self.build_and(|folder| print_of(&mut Command::new(folder.join(program))))
    }
}

/// The compiler, for a source that uses the crate, which is there for this target.
pub fn rustc(krate: &Path, target: &str, source: &Path) -> Command {
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition=2024", "-O", "--target", target, "--cap-lints=allow"]).arg(source);
    rustc.arg("--extern").arg(format!("rseq={}", krate.display()));
    rustc.arg("-L").arg(format!("dependency={}", krate.parent().expect("it lies in a folder").display()));
    // Procedural macros run in the compiler, and are built for this machine.
    let of_this_machine = krate.ancestors().nth(4).expect("by cargo").join("release/deps");
    rustc.arg("-L").arg(format!("dependency={}", of_this_machine.display()));
    rustc
}

/// A linker of this machine, and what has compilers take it, for programs of its own.
pub struct Linker {
    /// As `-fuse-ld` takes it.
    pub name: &'static str,
    /// Flags of a C compiler.
    pub flags: Vec<String>,
}

/// Those that are there. They refuse to have code relocated.
pub fn linkers() -> Vec<Linker> {
    let of_rust = format!("-B{}/gcc-ld", tools().display());
    let all = [("lld", of_rust), ("bfd", String::new()), ("gold", String::new()), ("mold", String::new())];
    let of_name = |(name, place): (&'static str, String)| {
        let is_there = !place.is_empty() || Command::new(format!("ld.{name}")).arg("--version").output().is_ok();
        if !is_there {
            println!("skipped: there is no {name}");
        }
        let flags = [place, format!("-fuse-ld={name}"), "-Wl,-z,text".to_owned()];
        is_there.then(|| Linker { name, flags: flags.into_iter().filter(|flag| !flag.is_empty()).collect() })
    };
    all.into_iter().filter_map(of_name).collect()
}

/// The workspace's folder.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("it is in the workspace's `tests`")
}

/// Where tests may leave files: what `CARGO_TARGET_TMPDIR` is to them.
fn scratch() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows where it is");
    test.ancestors().nth(3).expect("tests lie in target/<profile>/deps").join("tmp")
}

/// Cargo runs once at a time: it reads, and may write, the lock file that is put there anew for
/// each run.
fn turn() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program of one of rustup's toolchains.
pub fn by_toolchain(toolchain: &str, program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, program]);
    command
}

/// `true` if the standard library of a target is there.
pub fn is_installed(target: &str) -> bool {
    sysroot().join("lib/rustlib").join(target).exists()
}

/// `true` if the C compiler makes programs of 32 bits, and this machine runs them.
pub fn runs_32_bits() -> bool {
    let folder = scratch().join("bits-32");
    std::fs::create_dir_all(&folder).expect("there is room for a folder");
    let (source, program) = (folder.join("empty.c"), folder.join("empty"));
    std::fs::write(&source, "int main(void) { return 0; }\n").expect("there is room for it");
    let compiled = Command::new("cc").args(["-m32", "-o"]).arg(&program).arg(&source).output();
    compiled.is_ok_and(|output| output.status.success())
        && Command::new(&program).status().is_ok_and(|status| status.success())
}

/// Where the toolchain's programs for this machine are.
pub fn tools() -> PathBuf {
    sysroot().join("lib/rustlib/x86_64-unknown-linux-gnu/bin")
}

/// Where the toolchain is.
pub fn sysroot() -> PathBuf {
    PathBuf::from(print_of(Command::new("rustc").args(["--print", "sysroot"])))
}

/// The output of a command; panics with all of it if it fails.
pub fn print_of(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{text}{errors}", output.status);
    text.trim().to_owned()
}

/// `true` if the libc of this machine registers threads.
pub fn libc_registers() -> bool {
    rseq::status().libc().active_bytes > 0
}
