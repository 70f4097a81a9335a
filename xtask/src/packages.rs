//! Debian's packages, by an apt of the cache's own: the machine's apt is read for the mirror, and
//! left as it is.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// From the package debian-archive-keyring: it knows the keys of all releases that are asked for
/// here.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Lists that are older are fetched again.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// One of Debian's releases for one architecture.
#[derive(Debug)]
pub struct Repository {
    release: &'static str,
    arch: &'static str,
    /// Its lists and configuration.
    root: PathBuf,
    /// The packages of all repositories.
    packages: PathBuf,
}

/// The suites that make up a release, with the kind of mirror that has them.
fn suites(release: &str) -> Vec<(Mirror, String)> {
    let main = (Mirror::Main, release.to_owned());
    match release {
        "bullseye" | "bookworm" | "trixie" => vec![main, (Mirror::Security, format!("{release}-security"))],
        _ => vec![main],
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mirror {
    Main,
    Security,
}

impl Mirror {
    /// The address of the machine's.
    fn find(self) -> Result<String> {
        let addresses = output(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))?;
        let name = match self {
            Self::Main => "/debian",
            Self::Security => "/debian-security",
        };
        addresses
            .lines()
            .map(|address| address.trim_end_matches('/'))
            .find(|address| address.ends_with(name))
            .map(str::to_owned)
            .with_context(|| {
                format!("apt's configuration has no mirror that ends with {name}: kernels and emulators are Debian's packages")
            })
    }
}

impl Repository {
    /// The repository with lists of today.
    pub fn open(cache: &Path, release: &'static str, arch: &'static str) -> Result<Self> {
        let (root, packages) = (cache.join("apt").join(format!("{release}-{arch}")), cache.join("packages"));
        let repository = Self { release, arch, root, packages };
        repository.update().with_context(|| format!("the lists of Debian {release} for {arch}"))?;
        Ok(repository)
    }

    fn update(&self) -> Result<()> {
        let stamp = self.root.join("updated");
        let age = fs::metadata(&stamp).and_then(|stamp| stamp.modified()).ok().and_then(|then| then.elapsed().ok());
        if age.is_some_and(|age| age < LIFETIME) {
            return Ok(());
        }
        for directory in
            ["lists/partial", "cache/partial", "state", "etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d"]
        {
            fs::create_dir_all(self.root.join(directory))?;
        }
        fs::create_dir_all(self.packages.join("partial"))?;
        // As if nothing were installed.
        fs::write(self.root.join("state/status"), "")?;
        ensure!(Path::new(KEYRING).exists(), "there is no {KEYRING}: install debian-archive-keyring");
        let suites = suites(self.release);
        if let Err(error) = self.update_from(&suites) {
            // The mirror of security updates may be half-way through an update of its own, and apt
            // takes all lists or none.
            let [main, _, ..] = suites.as_slice() else { return Err(error) };
            eprintln!("note: no security updates of Debian {} for {}: {error:#}", self.release, self.arch);
            self.update_from(std::slice::from_ref(main))?;
        }
        Ok(fs::write(stamp, "")?)
    }

    fn update_from(&self, suites: &[(Mirror, String)]) -> Result<()> {
        let mut sources = String::new();
        for (mirror, suite) in suites {
            sources += &format!("deb [signed-by={KEYRING}] {} {suite} main\n", mirror.find()?);
        }
        fs::write(self.root.join("etc/sources.list"), sources)?;
        output(self.apt("apt-get").args(["update", "--error-on=any"])).map(drop)
    }

    /// One of apt's programs on this repository.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let directories = [
            ("Dir::Etc", "etc"),
            ("Dir::State", "state"),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "state/status"),
            ("Dir::Cache", "cache"),
        ];
        for (option, directory) in directories {
            command.arg("-o").arg(format!("{option}={}", self.root.join(directory).display()));
        }
        command.arg("-o").arg(format!("Dir::Cache::archives={}", self.packages.display()));
        for option in [
            &format!("APT::Architecture={}", self.arch),
            &format!("APT::Architectures={}", self.arch),
            // Containers switch these off, and then each call reads all lists.
            "Dir::Cache::pkgcache=pkgcache.bin",
            "Dir::Cache::srcpkgcache=srcpkgcache.bin",
            "APT::Sandbox::User=root",
            "APT::Update::Post-Invoke-Success=",
            "APT::Update::Post-Invoke=",
            "DPkg::Post-Invoke=",
            "Acquire::Languages=none",
            "Acquire::Retries=3",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        ] {
            command.args(["-o", option]);
        }
        command.arg("-q").env("LC_ALL", "C").current_dir(&self.packages);
        command
    }

    /// The names of all packages that begin like this.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(output(self.apt("apt-cache").args(["pkgnames", prefix]))?.lines().map(str::to_owned).collect())
    }

    /// The files of these packages.
    pub fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        self.fetch(&["download"], packages)
    }

    /// The files of these packages and of all that they need.
    pub fn download_with_dependencies(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        self.fetch(&["install", "--no-install-recommends", "--download-only", "--yes"], packages)
    }

    fn fetch(&self, action: &[&str], packages: &[&str]) -> Result<Vec<PathBuf>> {
        let what = || format!("{} from Debian {} for {}", packages.join(", "), self.release, self.arch);
        // It names what isn't there yet, so it is asked where nothing is.
        let mut ask = self.apt("apt-get");
        ask.current_dir(&self.root)
            .arg("-o")
            .arg(format!("Dir::Cache::archives={}", self.root.join("cache").display()));
        let uris = output(ask.args(action).arg("--print-uris").args(packages)).with_context(what)?;
        let files: Vec<File> = uris.lines().filter_map(File::parse).collect();
        let is_there =
            |file: &File| fs::metadata(self.packages.join(&file.name)).is_ok_and(|there| there.len() == file.size);
        if !files.iter().all(is_there) {
            output(self.apt("apt-get").args(action).args(packages)).with_context(what)?;
        }
        Ok(files.into_iter().map(|file| self.packages.join(file.name)).collect())
    }
}

/// A line of `--print-uris`: `'http://..' name.deb size checksum`.
struct File {
    name: String,
    size: u64,
}

impl File {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix('\'')?.split_whitespace().skip(1);
        Some(Self { name: words.next()?.to_owned(), size: words.next()?.parse().ok()? })
    }
}

/// Unpacks packages into a directory named for exactly these, if that isn't done yet. With
/// patterns, only files that match one.
pub fn unpack(packages: &[PathBuf], into: &Path, patterns: &[&str]) -> Result<()> {
    let stamp = into.join(".packages");
    let names: BTreeSet<_> =
        packages.iter().filter_map(|package| package.file_name()).map(OsStr::to_string_lossy).collect();
    let names = names.into_iter().collect::<Vec<_>>().join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|unpacked| unpacked == names) {
        return Ok(());
    }
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    fs::create_dir_all(into)?;
    for package in packages {
        unpack_one(package, into, patterns).with_context(|| format!("can't unpack {}", package.display()))?;
    }
    Ok(fs::write(stamp, names)?)
}

fn unpack_one(package: &Path, into: &Path, patterns: &[&str]) -> Result<()> {
    let mut archive = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn()?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--no-same-owner", "--wildcards", "--directory"]).arg(into).args(patterns);
    let status = tar.stdin(archive.stdout.take().context("it was piped")?).status()?;
    ensure!(archive.wait()?.success() && status.success(), "dpkg-deb or tar failed");
    Ok(())
}

/// The output of a program; an error with its last lines if it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "there is no {name}: the matrix needs Debian's or a derivative's apt-get, dpkg-deb and tar, and cargo"
            )
        }
        Err(error) => return Err(error).with_context(|| format!("can't run {name}")),
    };
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = errors.lines().rev().take(6).collect();
        bail!("{name} failed ({}):\n{}", output.status, last.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_print_uris() {
        let file = File::parse("'http://mirror/pool/q/qemu_1.deb' qemu_1%3a10.deb 1234 SHA256:00").expect("it is one");
        assert_eq!((file.name.as_str(), file.size), ("qemu_1%3a10.deb", 1234));
        assert!(File::parse("Reading package lists...").is_none());
    }

    #[test]
    fn security_updates_belong_to_stable_releases() {
        let names = |release| suites(release).into_iter().map(|(_, suite)| suite).collect::<Vec<_>>();
        assert_eq!(names("trixie"), ["trixie", "trixie-security"]);
        assert_eq!(names("sid"), ["sid"]);
    }
}
