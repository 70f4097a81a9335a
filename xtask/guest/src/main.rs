//! The first process of a virtual machine: runs the commands of `/commands`, says how each one
//! ended, and powers off.
//!
//! A line of `/commands` is what a shell would take, in words without quotes, behind a name and the
//! most seconds that it may take:
//!
//! ```text
//! exact 600 GLIBC_TUNABLES=glibc.pthread.rseq=0 /suites/exact --test-threads=1
//! ```
//!
//! The lines that it says of itself begin with `@guest `. The host's half is `xtask/src/guest.rs`.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use std::{env, fs, process, ptr, thread};

fn main() {
    match env::args().nth(1) {
        _ if process::id() == 1 => first_process(),
        // On the machine that it was built on.
        Some(commands) => run_all(&commands),
        // As a command of a guest: what sections run on here.
        None => println!("{:?}\n{}", rseq::status().mode(), rseq::status()),
    }
}

fn first_process() -> ! {
    for (what, target) in [(c"proc", c"/proc"), (c"sysfs", c"/sys"), (c"devtmpfs", c"/dev"), (c"tmpfs", c"/tmp")] {
        mount(what, target);
    }
    run_all("/commands");
    power_off()
}

fn run_all(commands: &str) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    println!("\n@guest up {} {cpus}", release.trim());
    for line in fs::read_to_string(commands).unwrap_or_default().lines() {
        run(line);
    }
    println!("@guest off");
}

fn mount(what: &CStr, target: &CStr) {
    // SAFETY: strings that end, and no data.
    let result = unsafe { libc::mount(what.as_ptr(), target.as_ptr(), what.as_ptr(), 0, ptr::null()) };
    if result != 0 {
        println!("@guest error: {target:?} isn't mounted: {}", io::Error::last_os_error());
    }
}

/// A line of `/commands`.
struct Step<'a> {
    name: &'a str,
    limit: Duration,
    environment: BTreeMap<&'a str, &'a str>,
    program: &'a str,
    arguments: Vec<&'a str>,
}

impl<'a> Step<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace().peekable();
        let (name, limit) = (words.next()?, Duration::from_secs(words.next()?.parse().ok()?));
        let mut environment = BTreeMap::new();
        while let Some((name, value)) = words.peek()?.split_once('=') {
            environment.insert(name, value);
            words.next();
        }
        Some(Self { name, limit, environment, program: words.next()?, arguments: words.collect() })
    }
}

fn run(line: &str) {
    let Some(step) = Step::parse(line) else { return println!("@guest error: no command: {line}") };
    println!("@guest begin {}", step.name);
    let begin = Instant::now();
    let mut command = Command::new(step.program);
    command.args(&step.arguments).envs(&step.environment).env("TMPDIR", env::temp_dir());
    let how = match command.spawn().and_then(|child| wait(child, step.limit)) {
        Ok(Some(status)) => described(status),
        Ok(None) => format!("killed after {} s", step.limit.as_secs()),
        Err(error) => format!("not run: {error}"),
    };
    println!("\n@guest end {} {:.1} {how}", step.name, begin.elapsed().as_secs_f32());
}

/// Waits for the child's end, but no longer than the limit.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if Instant::now() > end => {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "ok".to_owned(),
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

fn power_off() -> ! {
    io::stdout().flush().unwrap_or_default();
    // SAFETY: takes no pointer; nothing is mounted that would lose data.
    unsafe { libc::reboot(libc::RB_POWER_OFF) };
    loop {
        thread::park();
    }
}
