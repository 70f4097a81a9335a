//! Sections compile to portable mode where a sanitizer is on that must see every access to memory, because it sees none of those in asm.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Set by nightly compilers alone, as sanitizers are theirs; several are separated by commas.
    let sanitizers = std::env::var("CARGO_CFG_SANITIZE").unwrap_or_default();
    if sanitizers.split(',').any(|sanitizer| matches!(sanitizer, "thread" | "memory")) {
        println!("cargo::rustc-cfg=rseq_portable");
    }
}
