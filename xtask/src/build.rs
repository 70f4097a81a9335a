//! Builds the tests for a platform: static executables, by this machine's Rust and its linker, with
//! a libc from Debian's packages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::packages::{Repository, output, unpack};
use crate::platforms::{Arch, Libc};
use crate::suites::CORE;

/// The programs that were built.
#[derive(Debug)]
pub struct Programs {
    /// The first process of a guest.
    pub guest: PathBuf,
    /// The test executables, with the names of the tests.
    pub tests: Vec<(String, PathBuf)>,
    /// Which libc it was, with its version.
    pub libc: String,
}

impl Programs {
    pub fn test(&self, name: &str) -> Result<&Path> {
        let found = self.tests.iter().find(|(test, _)| test == name);
        found.map(|(_, path)| path.as_path()).with_context(|| format!("cargo built no test {name}"))
    }
}

/// A libc to link with, unpacked.
struct Sysroot {
    directory: PathBuf,
    /// Where `libc.a` and the start files are.
    libc: PathBuf,
    /// Where `libgcc.a` is.
    gcc: PathBuf,
    version: String,
}

impl Sysroot {
    /// From packages that are made for cross compilers, so that x86-64's lists know them; this
    /// architecture's own are those of its compiler.
    fn unpack(cache: &Path, arch: &Arch, release: &'static str) -> Result<Self> {
        let repository = Repository::open(cache, release, "amd64")?;
        let is_cross = arch.debian != "amd64";
        let cross = if is_cross { format!("-{}-cross", arch.debian) } else { String::new() };
        let gcc = newest_libgcc(&repository.names("libgcc-")?, &cross).context("there is no libgcc-N-dev")?;
        let libc = format!("libc6-dev{cross}");
        let packages = repository.download(&[&libc, &gcc])?;
        let directory = cache.join("libc").join(format!("{release}-{}", arch.debian));
        unpack(&packages, &directory, &[])?;
        let number = gcc.split('-').nth(1).unwrap_or_default();
        let usr = directory.join("usr");
        let (libraries, compiler) = if is_cross {
            (usr.join(arch.multiarch).join("lib"), "gcc-cross")
        } else {
            (usr.join("lib").join(arch.multiarch), "gcc")
        };
        let version =
            packages.iter().find_map(|package| version_of(package, &libc)).context("apt gave no libc6-dev")?;
        Ok(Self {
            gcc: usr.join("lib").join(compiler).join(arch.multiarch).join(number),
            libc: libraries,
            directory,
            version,
        })
    }

    /// Arguments of the linker, which Rust gives to no linker but a C compiler by itself.
    fn link_arguments(&self) -> Vec<String> {
        let path = |directory: &Path, file: &str| directory.join(file).display().to_string();
        let mut arguments = vec![
            format!("--sysroot={}", self.directory.display()),
            format!("-L{}", self.libc.display()),
            format!("-L{}", self.gcc.display()),
            path(&self.libc, "crti.o"),
            path(&self.libc, "crtn.o"),
        ];
        // Position-independent, as programs are, where this libc can be that without a dynamic
        // linker.
        if self.libc.join("rcrt1.o").exists() {
            arguments.extend(["-pie", "--no-dynamic-linker", "-ztext"].map(str::to_owned));
            arguments.push(path(&self.libc, "rcrt1.o"));
        } else {
            arguments.extend(["-no-pie".to_owned(), path(&self.libc, "crt1.o")]);
        }
        arguments
    }
}

/// The version in the name of a package's file, if it is this package's.
fn version_of(file: &Path, package: &str) -> Option<String> {
    let mut parts = file.file_name()?.to_str()?.split('_');
    (parts.next()? == package).then(|| parts.next().map(str::to_owned)).flatten()
}

fn newest_libgcc(names: &[String], cross: &str) -> Option<String> {
    let number =
        |name: &str| name.strip_prefix("libgcc-")?.strip_suffix(cross)?.strip_suffix("-dev")?.parse::<u32>().ok();
    names.iter().max_by_key(|name| number(name)).filter(|name| number(name).is_some()).cloned()
}

/// Builds these tests of the facade, and the core's if it is among them.
pub fn build(cache: &Path, arch: &Arch, libc: Libc, tests: &BTreeSet<&str>) -> Result<Programs> {
    let (target, mut flags, version) = match libc {
        Libc::Musl => {
            (arch.target.replace("gnu", "musl"), vec!["-Clink-self-contained=yes".to_owned()], "musl".to_owned())
        }
        Libc::Glibc(release) => {
            let sysroot = Sysroot::unpack(cache, arch, release)?;
            let arguments =
                sysroot.link_arguments().into_iter().map(|argument| format!("-Clink-arg={argument}")).collect();
            (arch.target.to_owned(), arguments, format!("glibc {}", sysroot.version))
        }
    };
    flags.extend(["-Ctarget-feature=+crt-static", "-Clinker=rust-lld", "-Clinker-flavor=ld.lld"].map(str::to_owned));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Programs of one libc must not take the place of those of another.
    cargo.args([
        "test",
        "--no-run",
        "--release",
        "--locked",
        "--message-format=json-render-diagnostics",
        "--target",
        &target,
    ]);
    cargo.arg("--target-dir").arg(cache.join("target").join(libc.to_string().replace(' ', "-")));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    // All of them must fit into the lower 256 MiB of memory on LoongArch, whose assembler leaves
    // many symbols.
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    add_std(&mut cargo, &target)?;
    // The guest's own program is built with any of its tests, so there must be one.
    cargo.args(["--package", "rseq-guest", "--test", "nested"]);
    for test in tests.iter().filter(|&&test| test != "nested") {
        match *test {
            CORE => cargo.args(["--package", "rseq-core", "--lib"]),
            test => cargo.args(["--test", test]),
        };
    }
    programs(&run(cargo)?, version)
}

/// Has the target's standard library, or has cargo build it where there is none to be had.
fn add_std(cargo: &mut Command, target: &str) -> Result<()> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
    if libraries.join(target).join("lib").exists() {
        return Ok(());
    }
    let added = output(Command::new("rustup").args(["target", "add", target]));
    if added.is_err() && libraries.join("src/rust/library/std").exists() {
        // A stable compiler builds its own library, if it is told that it is one of the compilers
        // that may.
        cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_unwind,panic_abort,test");
        return Ok(());
    }
    added.map(drop).with_context(|| {
        format!("there is no standard library for {target}: `rustup target add {target}`, or `rustup component add rust-src` to build it")
    })
}

/// Runs cargo, whose progress is shown if it fails. Its messages.
fn run(mut cargo: Command) -> Result<Vec<Value>> {
    let output = cargo.stdin(Stdio::null()).output().context("can't run cargo")?;
    if !output.status.success() {
        bail!("cargo failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| line.starts_with(b"{"))
        .map(|line| Ok(serde_json::from_slice(line)?))
        .collect()
}

fn programs(messages: &[Value], libc: String) -> Result<Programs> {
    let (mut guest, mut tests) = (None, Vec::new());
    for message in messages {
        let Some(executable) = message["executable"].as_str().map(PathBuf::from) else { continue };
        let name = message["target"]["name"].as_str().unwrap_or_default().to_owned();
        if message["profile"]["test"] == true {
            tests.push((name, executable));
        } else if name == "rseq-guest" {
            guest = Some(executable);
        }
    }
    ensure!(!tests.is_empty(), "cargo built no test");
    Ok(Programs { guest: guest.context("cargo built no rseq-guest")?, tests, libc })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn programs_are_those_of_cargos_messages() -> Result<()> {
        let messages = [
            json!({"reason": "compiler-artifact", "target": {"name": "rseq"}, "profile": {"test": false}, "executable": null}),
            json!({"target": {"name": "rseq-guest"}, "profile": {"test": false}, "executable": "/t/rseq-guest"}),
            json!({"target": {"name": "exact"}, "profile": {"test": true}, "executable": "/t/deps/exact-1"}),
        ];
        let programs = programs(&messages, String::new())?;
        assert_eq!(programs.guest, Path::new("/t/rseq-guest"));
        assert_eq!(programs.test("exact")?, Path::new("/t/deps/exact-1"));
        assert!(programs.test("window").is_err());
        Ok(())
    }

    #[test]
    fn versions_in_the_names_of_files() {
        let file = Path::new("/packages/libc6-dev_2.41-12+deb13u5_arm64.deb");
        assert_eq!(version_of(file, "libc6-dev").as_deref(), Some("2.41-12+deb13u5"));
        assert_eq!(version_of(file, "libc6"), None);
    }

    #[test]
    fn the_newest_libgcc() {
        let names = ["libgcc-9-dev", "libgcc-14-dev", "libgcc-13-dev-arm64-cross", "libgcc-s1"].map(str::to_owned);
        assert_eq!(newest_libgcc(&names, "").as_deref(), Some("libgcc-14-dev"));
        assert_eq!(newest_libgcc(&names, "-arm64-cross").as_deref(), Some("libgcc-13-dev-arm64-cross"));
        assert_eq!(newest_libgcc(&names, "-armhf-cross"), None);
    }
}
