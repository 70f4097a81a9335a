//! What is compared with a file of `tests/codegen`, which holds for one compiler's code.

use std::path::Path;
use std::process::Command;

use crate::fixture::print_of;
use crate::machine_code::COMPILER;

/// Compares with the golden; with `BLESS=1`, writes it. Another compiler than the golden's does neither.
pub fn compare(name: &str, found: &str) {
    let version = print_of(Command::new("rustc").arg("--version"));
    if !version.starts_with(COMPILER) {
        return println!("skipped: the golden {name} is of {COMPILER}x, and this is {version}");
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/codegen").join(format!("{name}.x86-64"));
    if std::env::var_os("BLESS").is_some() {
        return std::fs::write(golden, found).expect("the folder is there");
    }
    let golden = std::fs::read_to_string(golden).expect("BLESS=1 writes it");
    assert!(
        found == golden,
        "{name} is now:\n{found}\nand was:\n{golden}\nread what changed, then run this test with BLESS=1"
    );
}
