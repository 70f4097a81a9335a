//! Goldens: files that hold for one compiler's code.

use std::path::Path;
use std::process::Command;

use support::fixture::print_of;

/// The goldens and tables are of this compiler's code.
const COMPILER: &str = "rustc 1.95.";

/// `true` if this is the compiler that goldens are of; says so if what is of them is therefore
/// skipped. `BLESS=1` has no effect with another one.
pub fn is_of_this_compiler(what: &str) -> bool {
    let version = print_of(Command::new("rustc").arg("--version"));
    let is_same = version.starts_with(COMPILER);
    if !is_same {
        println!("skipped: {what}: it is of {COMPILER}x, and this is {version}");
    }
    is_same
}

/// `true` if goldens are to be written instead of compared.
pub fn is_blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}

/// Compares with a file of `goldens`, or writes it.
pub fn compare(name: &str, found: &str) {
    if !is_of_this_compiler(name) {
        return;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine_code/goldens").join(name);
    if is_blessing() {
        let folder = golden.parent().expect("it is in a folder");
        return std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&golden, found))
            .expect("the folder is writable");
    }
    let golden = std::fs::read_to_string(golden).expect("BLESS=1 writes it");
    assert!(
        found == golden,
        "{name} is now:\n{found}\nand was:\n{golden}\nread what changed, then run this test with BLESS=1"
    );
}
