//! Sections compile to portable mode where a sanitizer is on that must see every access to memory,
//! because it sees none of those in asm; and for those of Arm's 32-bit instruction sets that the
//! asm isn't written for. Where a sanitizer looks for leaks, it is told of the memory of slots. And
//! sections are audited where that is asked for, on the one machine where it can be done.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set by nightly compilers alone, as sanitizers are theirs; several are separated by commas.
    let sanitizers = std::env::var("CARGO_CFG_SANITIZE").unwrap_or_default();
    let has = |these: &[&str]| sanitizers.split(',').any(|sanitizer| these.contains(&sanitizer));
    let is_portable = has(&["thread", "memory"]) || is_other_arm();
    if is_portable {
        println!("cargo::rustc-cfg=rseq_portable");
    }
    if !is_portable && is_audited() {
        println!("cargo::rustc-cfg=rseq_audited");
    }
    if has(&["address", "hwaddress", "leak"]) {
        println!("cargo::rustc-cfg=rseq_leak_sanitizer");
    }
}

/// `true` if this is 32-bit Arm, but not version 7 in ARM state.
fn is_other_arm() -> bool {
    let of = |name| std::env::var(name).unwrap_or_default();
    let is_thumb = of("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "thumb-mode");
    of("CARGO_CFG_TARGET_ARCH") == "arm" && (is_thumb || !of("TARGET").starts_with("armv7"))
}

/// `true` if sections are to be audited, and can be.
fn is_audited() -> bool {
    let is_set = |name| std::env::var_os(name).is_some();
    let is = |name, value| std::env::var(name).is_ok_and(|found| found == value);
    is_set("CARGO_FEATURE_AUDIT")
        && !["CARGO_CFG_MIRI", "CARGO_CFG_RSEQ_PORTABLE"].into_iter().any(is_set)
        && is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ARCH", "x86_64")
        && is("CARGO_CFG_TARGET_POINTER_WIDTH", "64")
}
