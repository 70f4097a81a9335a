//! Virtual machines: one boots, runs its commands, and is watched while it does.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest::{Event, Transcript};
use crate::initramfs::Initramfs;
use crate::packages::{Repository, unpack};
use crate::platforms::Arch;

/// QEMU of Debian's stable release, in the cache. It runs by its own dynamic linker, with its own
/// libraries.
#[derive(Debug)]
pub struct Emulator {
    root: PathBuf,
    arch: &'static Arch,
}

impl Emulator {
    pub fn unpack(cache: &Path, arch: &'static Arch) -> Result<Self> {
        let packages =
            Repository::open(cache, "trixie", "amd64")?.download_with_dependencies(arch.emulator.packages)?;
        let root = cache.join("emulator").join(arch.emulator.program);
        unpack(&packages, &root, &[])?;
        Ok(Self { root, arch })
    }

    fn command(&self, kernel: &Path, initramfs: &Path, monitor: &Path) -> Command {
        let emulator = &self.arch.emulator;
        let libraries = self.root.join("usr/lib/x86_64-linux-gnu");
        let mut command = Command::new(self.root.join("usr/lib64/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(&libraries);
        command.arg(self.root.join("usr/bin").join(format!("qemu-system-{}", emulator.program)));
        command.env("QEMU_MODULE_DIR", libraries.join("qemu"));
        for data in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(self.root.join(data));
        }
        command.args(emulator.machine.split_whitespace());
        command.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024"]);
        command.args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"]);
        command.arg("-monitor").arg(format!("unix:{},server=on,wait=off", monitor.display()));
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
        // After a panic it reboots, which ends this machine.
        command.arg("-append").arg(format!("console={} quiet panic=-1 {}", emulator.console, emulator.kernel));
        command
    }
}

/// A command for the guest, as `xtask/guest/src/main.rs` takes it.
#[derive(Clone, Debug)]
pub struct Task {
    pub line: String,
    pub name: String,
    pub limit: Duration,
    pub stepwise: bool,
}

/// Programs and what to do with them.
#[derive(Debug)]
pub struct Work<'a> {
    pub guest: &'a Path,
    /// Their names in the guest, and where they are here.
    pub programs: Vec<(String, &'a Path)>,
    pub tasks: Vec<Task>,
}

impl Work<'_> {
    fn commands(&self) -> String {
        self.tasks.iter().map(|task| format!("{}\n", task.line)).collect()
    }

    fn write_initramfs(&self, path: &Path) -> Result<()> {
        let mut archive = Initramfs::begin(BufWriter::new(File::create(path)?))?;
        archive.file("init", &fs::read(self.guest)?)?;
        archive.file("commands", self.commands().as_bytes())?;
        for (name, program) in &self.programs {
            archive.file(name, &fs::read(program)?)?;
        }
        archive.end()?;
        Ok(())
    }
}

/// How long a kernel may take to its first process, and a guest between steps. Emulated ones are
/// slow on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs the work in a virtual machine. What it said, and why it is not complete, if so.
pub fn boot(
    emulator: &Emulator,
    kernel: &Path,
    work: &Work<'_>,
    directory: &Path,
    progress: impl FnMut(&Event),
) -> Result<(Transcript, Option<String>)> {
    fs::create_dir_all(directory)?;
    let initramfs = directory.join("initramfs");
    work.write_initramfs(&initramfs)?;
    // A socket's path has less than 108 bytes, so it isn't in the cache.
    let monitor = std::env::temp_dir().join(format!("rseq-xtask-{}", std::process::id()));
    let child = emulator.command(kernel, &initramfs, &monitor);
    let result = watch(child, work, Some(&monitor), &directory.join("console"), progress);
    fs::remove_file(initramfs)?;
    let _was_never_made = fs::remove_file(monitor);
    result
}

/// Runs the work on this machine's kernel.
pub fn run_here(
    work: &Work<'_>,
    directory: &Path,
    progress: impl FnMut(&Event),
) -> Result<(Transcript, Option<String>)> {
    fs::create_dir_all(directory)?;
    let commands = directory.join("commands");
    fs::write(&commands, work.commands())?;
    let mut child = Command::new(work.guest);
    child.arg(commands);
    watch(child, work, None, &directory.join("console"), progress)
}

fn watch(
    mut command: Command,
    work: &Work<'_>,
    monitor: Option<&Path>,
    log: &Path,
    mut progress: impl FnMut(&Event),
) -> Result<(Transcript, Option<String>)> {
    let mut log = File::create(log)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Ended(command.spawn().with_context(|| format!("can't run {:?}", command.get_program()))?);
    let lines = lines(&mut child.0);
    let (mut transcript, mut limit, mut stepped) = (Transcript::default(), PATIENCE, None);
    let failure = loop {
        let line = match lines.recv_timeout(limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => break Some(format!("it said nothing for {} s", limit.as_secs())),
        };
        writeln!(log, "{line}")?;
        let Some(event) = transcript.line(&line) else { continue };
        progress(&event);
        match &event {
            Event::Begin(name) => {
                let task = work.tasks.iter().find(|task| task.name == *name);
                limit = PATIENCE + task.map_or(Duration::ZERO, |task| task.limit);
                stepped = monitor.filter(|_| task.is_some_and(|task| task.stepwise));
                if let Some(monitor) = stepped {
                    step_by_step(monitor, true)?;
                }
            }
            Event::End => {
                limit = PATIENCE;
                if let Some(monitor) = stepped.take() {
                    // After the last step the machine may be off by now.
                    let _is_off = step_by_step(monitor, false);
                }
            }
            Event::Up | Event::Off => {}
        }
    };
    let failure = failure.or_else(|| (!transcript.is_complete).then(|| "it ended before its last step".to_owned()));
    Ok((transcript, failure))
}

/// A child that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _has_ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The child's output, line by line, on both of its ways to say it.
fn lines(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let errors = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
    let output = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
    for pipe in [output, errors].into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// Has QEMU translate one instruction at a time, or as many as it likes.
fn step_by_step(monitor: &Path, on: bool) -> Result<()> {
    let mut monitor = UnixStream::connect(monitor).context("QEMU's monitor")?;
    writeln!(monitor, "one-insn-per-tb {}", if on { "on" } else { "off" })?;
    // It answers with the command and a prompt; a connection that ends before is ignored.
    monitor.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(monitor);
    let mut answer = Vec::new();
    for _ in 0..2 {
        reader.read_until(b'\n', &mut answer)?;
    }
    Ok(())
}
