//! The answer to whether this machine runs sections restartably, and what is missing if it doesn't.

use std::io::{self, Write};
use std::{env, thread};

use rseq::{Mode, Reason, Registrar, SliceExtension, Status};

/// Writes the report. Says whether sections are restartable here.
pub fn report(out: &mut dyn Write) -> io::Result<bool> {
    let status = rseq::status();
    writeln!(out, "{status}")?;
    if let Some(version) = glibc_version() {
        writeln!(out, "glibc version:   {version}")?;
    }
    if let Ok(cpus) = thread::available_parallelism() {
        writeln!(out, "usable CPUs:     {cpus}")?;
    }
    let advice = advice(&status);
    if !advice.is_empty() {
        writeln!(out, "\nadvice")?;
    }
    for line in advice {
        writeln!(out, "- {line}")?;
    }
    Ok(matches!(status.mode(), Mode::Rseq(_)))
}

/// glibc's version at run time.
fn glibc_version() -> Option<String> {
    cfg_select! {
        target_env = "gnu" => {
            // SAFETY: gives a constant C string.
            let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
            Some(version.to_string_lossy().into_owned())
        }
        _ => None,
    }
}

/// True if a version such as 2.36 is at least that one.
fn is_at_least(version: &str, (major, minor): (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// A line of advice for whatever is missing.
fn advice(status: &Status) -> Vec<String> {
    let mut advice = Vec::new();
    match status.mode() {
        Mode::Rseq(Registrar::Libc) => {}
        Mode::Rseq(Registrar::Own) => advice.push(why_libc_registers_none(status)),
        Mode::Portable(reason) => advice.push(why_portable(reason, status)),
    }
    if let Mode::Rseq(_) = status.mode() {
        if !status.has_mm_cid() {
            advice.push("node_id, mm_cid: Linux 6.3 or later has them; sections do without".to_owned());
        }
        if !status.has_fences() {
            advice.push("fences: Linux 5.10 or later, and a seccomp filter that allows membarrier(2)".to_owned());
        }
        let needed = match status.slice_extension() {
            SliceExtension::NotInKernel => Some("Linux 7.0 or later with CONFIG_RSEQ_SLICE_EXTENSION=y"),
            SliceExtension::OriginalLength => Some("glibc 2.41 or later"),
            _ => None,
        };
        advice.extend(needed.map(|needed| format!("slice extension: {needed}; sections do without")));
    }
    advice
}

/// Why the crate had to register the threads, which is as good.
fn why_libc_registers_none(status: &Status) -> String {
    let disabled = env::var("GLIBC_TUNABLES").is_ok_and(|tunables| tunables.contains("glibc.pthread.rseq=0"));
    let why = match glibc_version() {
        Some(_) if disabled => "GLIBC_TUNABLES has glibc.pthread.rseq=0, which tells it not to".to_owned(),
        Some(version) if is_at_least(&version, (2, 35)) => format!("glibc {version} could"),
        Some(version) => format!("glibc {version} doesn't yet, 2.35 does"),
        None => format!("{} doesn't", if status.libc().name.is_empty() { "this one" } else { status.libc().name }),
    };
    format!("libc registers no thread: {why}. This crate does it instead; nothing is lost")
}

fn why_portable(reason: Reason, status: &Status) -> String {
    let kernel = status.kernel().map_or_else(|| "unknown".to_owned(), |kernel| kernel.to_string());
    match reason {
        Reason::Forced => "portable mode was asked for: take RSEQ_MODE=portable out of the environment".to_owned(),
        Reason::NotBuilt => {
            "restartable sequences need a build for Linux on a known architecture, without --cfg rseq_portable, Miri, and the thread and memory sanitizers"
                .to_owned()
        }
        Reason::NoKernelSupport => format!(
            "restartable sequences need Linux 4.18 or later with CONFIG_RSEQ=y; this says it is {kernel}. If that is enough, an \
             emulator (valgrind, qemu-user, gVisor) stands in between, or a seccomp filter that answers ENOSYS"
        ),
        Reason::Refused(errno) => format!(
            "the kernel answers rseq(2) with \"{}\": the seccomp filter of a container or sandbox has to allow that call",
            io::Error::from_raw_os_error(errno)
        ),
        Reason::OtherArea => {
            "another library registered this thread for itself: let libc do it for both (glibc 2.35 or later, without \
             glibc.pthread.rseq=0 in GLIBC_TUNABLES)"
                .to_owned()
        }
        Reason::BrokenKernel => {
            format!("Linux {kernel} doesn't restart sections on arm64: update to 7.0.14, 7.1 or later")
        }
        Reason::OutOfReach => {
            "a shared object that is loaded later has sections, and there is no place for areas that its code could reach: link it to the program, so that it is loaded at the start; \
             a glibc from 2.35 on has such places"
                .to_owned()
        }
        other => other.to_string(),
    }
}
