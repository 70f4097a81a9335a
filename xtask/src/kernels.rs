//! Debian's kernels: which package has the newest of a series, and the image in it.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::packages::{Repository, unpack};
use crate::platforms::{Arch, Kernel};

/// The releases that a series is looked for in.
const RELEASES: [&str; 7] =
    ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports", "sid", "experimental"];

/// A kernel's package by its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Package {
    /// All numbers of the version and of Debian's part behind it.
    version: Vec<u32>,
    /// From 6.19 on, `linux-binary-` has the image, and `linux-image-` depends on it.
    is_binary: bool,
    name: String,
}

impl Package {
    fn parse(name: &str, flavour: &str) -> Option<Self> {
        let rest = name.strip_prefix("linux-")?;
        let (is_binary, rest) = match rest.strip_prefix("binary-") {
            Some(rest) => (true, rest),
            None => (false, rest.strip_prefix("image-")?),
        };
        let version = rest.strip_suffix(flavour)?.strip_suffix('-')?;
        // Other flavours: `rt-amd64` ends with `amd64` too.
        let numbers = version.split(['.', '-', '+']).map(|part| part.strip_prefix("deb").unwrap_or(part));
        let version = numbers.map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()?;
        // `linux-image-6.12-amd64` has no kernel, but depends on one.
        (is_binary || version.len() > 2).then(|| Self { version, is_binary, name: name.to_owned() })
    }

    fn is_of(&self, (major, minor): (u32, u32)) -> bool {
        self.version.starts_with(&[major, minor])
    }
}

/// The newest package among these names.
fn newest(names: &[String], flavour: &str, series: Option<(u32, u32)>) -> Option<Package> {
    let packages = names.iter().filter_map(|name| Package::parse(name, flavour));
    packages.filter(|package| series.is_none_or(|series| package.is_of(series))).max()
}

/// Debian has no such kernel, or not now, or it is that of another row.
#[derive(Debug)]
pub struct NotThere(String);

impl NotThere {
    pub fn another_row() -> Self {
        Self("its kernel is another row's".to_owned())
    }
}

impl fmt::Display for NotThere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotThere {}

/// The kernel's image; the error is [`NotThere`] if there is none to be had.
pub fn image(cache: &Path, arch: &Arch, kernel: Kernel) -> Result<PathBuf> {
    let (releases, series): (&[&'static str], _) = match &kernel {
        Kernel::Native => bail!("this machine's kernel needs no image"),
        Kernel::Release(release) => (std::slice::from_ref(release), None),
        Kernel::Series(major, minor) => (&RELEASES, Some((*major, *minor))),
        Kernel::Newest => (&RELEASES, None),
    };
    // A 32-bit program runs on a 64-bit kernel.
    let debian = arch.flavour.strip_prefix("cloud-").unwrap_or(arch.debian);
    let mut found = None;
    let mut reason = "not in Debian's packages".to_owned();
    for release in releases {
        // Releases are dropped from mirrors, architectures aren't in all of them, and a mirror may
        // be in the midst of an update.
        let repository = match Repository::open(cache, release, debian) {
            Ok(repository) => repository,
            Err(error) => {
                eprintln!("note: {error:#}");
                reason = format!("not in Debian's packages, as far as they could be read: not {error}");
                continue;
            }
        };
        let package = newest(&repository.names("linux-")?, arch.flavour, series);
        found = found.max(package.map(|package| (package, release)));
    }
    let Some((package, release)) = found else { bail!(NotThere(reason)) };
    // A mirror may list what it doesn't have any more.
    let missing = |error| NotThere(format!("listed, but not to be had: {error}"));
    let files = Repository::open(cache, release, debian)?.download(&[&package.name]).map_err(missing)?;
    unpacked(&files, &cache.join("kernels").join(package.name))
}

fn unpacked(package: &[PathBuf], directory: &Path) -> Result<PathBuf> {
    unpack(package, directory, &["*/vmlinu[xz]*"])?;
    let image = directory.join("image");
    if !image.exists() {
        let packed = find(directory)?.context("the package has no vmlinuz or vmlinux")?;
        fs::write(&image, decompressed(fs::read(packed)?)?)?;
    }
    Ok(image)
}

fn find(directory: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path())? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_string_lossy().starts_with("vmlinu") {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// The image as QEMU can load it: it doesn't know those that unpack themselves under EFI (the
/// kernel's `drivers/firmware/efi/libstub/zboot-header.S`: at 8 where the payload begins, its size,
/// at 24 how it is compressed).
fn decompressed(image: Vec<u8>) -> Result<Vec<u8>> {
    if image.get(4..8) != Some(b"zimg") {
        return Ok(image);
    }
    let number = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    let payload = number(8).zip(number(12)).and_then(|(begin, size)| image.get(begin..begin + size));
    let payload = payload.context("the image ends too early")?;
    let mut unpacked = Vec::new();
    match image.get(24..28) {
        Some(b"gzip") => flate2::read::GzDecoder::new(payload).read_to_end(&mut unpacked)?,
        Some(b"zstd") => ruzstd::decoding::StreamingDecoder::new(payload)?.read_to_end(&mut unpacked)?,
        other => bail!("the image is compressed by {:?}", other.map(String::from_utf8_lossy)),
    };
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn newest_name(names: &[&str], flavour: &str, series: Option<(u32, u32)>) -> Option<String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        newest(&names, flavour, series).map(|package| package.name)
    }

    #[test]
    fn versions_are_numbers() {
        let names = ["linux-image-6.12.9+deb13-cloud-amd64", "linux-image-6.12.118+deb13-cloud-amd64"];
        assert_eq!(newest_name(&names, "cloud-amd64", Some((6, 12))).as_deref(), Some(names[1]));
        let names = ["linux-image-6.1.0-56-cloud-amd64", "linux-image-6.1.0-0.deb11.57-cloud-amd64"];
        assert_eq!(newest_name(&names, "cloud-amd64", None).as_deref(), Some(names[0]));
    }

    #[test]
    fn the_package_with_the_image_is_taken() {
        let names = ["linux-image-7.3.4+deb13-cloud-amd64", "linux-binary-7.3.4+deb13-cloud-amd64"];
        assert_eq!(newest_name(&names, "cloud-amd64", None).as_deref(), Some(names[1]));
        assert_eq!(
            newest_name(&["linux-image-6.12-cloud-amd64", "linux-image-cloud-amd64"], "cloud-amd64", None),
            None
        );
    }

    #[test]
    fn other_series_and_flavours_are_not() {
        let names =
            ["linux-image-6.12.118+deb13-cloud-amd64", "linux-image-6.1.0-56-rt-amd64", "linux-headers-6.1.0-56-amd64"];
        assert_eq!(newest_name(&names, "cloud-amd64", Some((6, 1))), None);
        assert_eq!(newest_name(&names, "amd64", Some((6, 1))), None);
        assert_eq!(newest_name(&["linux-image-6.1.0-56-cloud-amd64-dbg"], "cloud-amd64", None), None);
    }

    #[test]
    fn images_that_unpack_themselves_are_unpacked() -> Result<()> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"kernel")?;
        let payload = encoder.finish()?;
        let mut image = b"MZ\0\0zimg".to_vec();
        image.extend(64u32.to_le_bytes());
        image.extend((payload.len() as u32).to_le_bytes());
        image.resize(24, 0);
        image.extend(b"gzip");
        image.resize(64, 0);
        image.extend(payload);
        assert_eq!(decompressed(image)?, b"kernel");
        assert_eq!(decompressed(b"another".to_vec())?, b"another");
        Ok(())
    }
}
