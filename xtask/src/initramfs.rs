//! The file system that a virtual machine starts from: a cpio archive of the form "newc" (the
//! kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CONSOLE: u32 = 0o020_600;

/// Writes files one after another.
pub struct Initramfs<W> {
    out: W,
    inodes: u32,
}

impl<W: Write> Initramfs<W> {
    /// Begins with what a first process finds: directories to mount on, and a console to print to.
    pub fn begin(out: W) -> io::Result<Self> {
        let mut this = Self { out, inodes: 0 };
        for directory in ["dev", "proc", "sys", "tmp", "suites"] {
            this.entry(directory, DIRECTORY, (0, 0), &[])?;
        }
        this.entry("dev/console", CONSOLE, (5, 1), &[])?;
        Ok(this)
    }

    /// Adds a file that can be run.
    pub fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.entry(name, PROGRAM, (0, 0), content)
    }

    pub fn end(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) -> io::Result<()> {
        self.inodes += 1;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = name.len() as u32 + 1;
        write!(self.out, "070701")?;
        // inode, mode, owner, group, links, time, size, device, device of the node, size of the
        // name, checksum
        for field in [self.inodes, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0] {
            write!(self.out, "{field:08x}")?;
        }
        write!(self.out, "{name}\0")?;
        const HEADER: usize = 6 + 13 * 8;
        self.pad(HEADER + name_size as usize)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    /// Fills up to a multiple of 4.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of an entry, as the format has them.
    #[test]
    fn entries_are_aligned() -> io::Result<()> {
        let mut archive = Initramfs::begin(Vec::new())?;
        let before = archive.out.len();
        archive.file("init", b"12345")?;
        let entry = archive.out[before..].to_vec();
        assert_eq!(&entry[..6], b"070701");
        assert_eq!(&entry[6 + 8..6 + 16], b"000081ed");
        assert_eq!(&entry[6 + 6 * 8..6 + 7 * 8], b"00000005");
        assert_eq!(&entry[6 + 11 * 8..6 + 12 * 8], b"00000005");
        assert_eq!(&entry[110..116], b"init\0\0");
        assert_eq!(&entry[116..], b"12345\0\0\0");
        let archive = archive.end()?;
        assert_eq!(archive.len() % 4, 0);
        assert!(archive.windows(10).any(|bytes| bytes == b"TRAILER!!!"));
        Ok(())
    }
}
