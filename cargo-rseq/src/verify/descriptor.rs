//! The descriptor, and where it leads to: what the kernel checks (`rseq_get_rseq_cs` and
//! `rseq_ip_fixup` of its `kernel/rseq.c`), ahead of time.

use super::check::{Findings, Window};
use crate::limits::MAX_WINDOW;
use crate::sections::DESCRIPTOR_BYTES;

/// Alignment, version, flags.
pub fn form(window: &Window<'_>, findings: &mut Findings<'_>) {
    let descriptor = window.descriptor;
    if !descriptor.address.is_multiple_of(DESCRIPTOR_BYTES) {
        findings.violation(descriptor.address, "the descriptor isn't aligned to 32 bytes");
    }
    if descriptor.version != 0 {
        findings.violation(
            descriptor.address,
            format!("the descriptor has version {}, and there is only 0", descriptor.version),
        );
    }
    if descriptor.flags != 0 {
        let what = format!("the descriptor has flags {:#x}, which must be 0", descriptor.flags);
        findings.violation(descriptor.address.saturating_add(4), what);
    }
}

/// Start and length.
pub fn window(window: &Window<'_>, findings: &mut Findings<'_>) {
    let descriptor = window.descriptor;
    let at_length = descriptor.address.saturating_add(16);
    let Some(end) = descriptor.start.checked_add(descriptor.length) else {
        let what =
            format!("start {:#x} and length {:#x} go beyond the last address", descriptor.start, descriptor.length);
        return findings.violation(at_length, what);
    };
    if descriptor.length == 0 {
        findings.violation(at_length, "the window has no instruction: its length is 0");
    }
    if descriptor.length > MAX_WINDOW {
        let what = format!(
            "the window has {} bytes: with more than {MAX_WINDOW} it may never come to its end",
            descriptor.length
        );
        findings.violation(at_length, what);
    }
    if !window.binary.image.is_code(descriptor.start..end) {
        findings.violation(
            descriptor.start,
            format!("the window {:#x}..{end:#x} isn't all in executable memory", descriptor.start),
        );
    }
}

/// Where the abort handler is.
pub fn abort(window: &Window<'_>, findings: &mut Findings<'_>) {
    let abort = window.descriptor.abort;
    if window.descriptor.window().contains(&abort) {
        findings.violation(abort, format!("the abort handler {abort:#x} is inside of its window"));
    }
    if !window.binary.image.is_code(abort..abort.saturating_add(1)) {
        findings.violation(abort, format!("the abort handler {abort:#x} isn't in executable memory"));
    }
}

/// The signature stands before the abort handler.
pub fn signature(window: &Window<'_>, findings: &mut Findings<'_>) {
    let image = window.binary.image;
    let expected = image.architecture().signature();
    let at = window.descriptor.abort.wrapping_sub(4);
    let what = match image.u32(at) {
        Some(found) if found == expected => return,
        Some(found) => format!(
            "before the abort handler stands {found:#010x}; the signature for {} is {expected:#010x}",
            image.architecture()
        ),
        None => "the file has no bytes before the abort handler".to_owned(),
    };
    findings.violation(at, what);
}
