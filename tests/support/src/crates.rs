//! Crates that stand alone: what they depend on is what the workspace does.

use std::path::Path;
use std::process::Command;

/// Gives the crate in this folder the workspace's lock file, and sees to it that whatever that
/// names for it is on this machine.
///
/// It is built with `--offline` afterwards: cargo would look for newer versions of what the lock
/// file doesn't name, such as the crate itself.
pub fn provide(krate: &Path, workspace: &Path) {
    std::fs::copy(workspace.join("Cargo.lock"), krate.join("Cargo.lock")).expect("the workspace has a lock file");
    fetch(krate, &["--target", "host-tuple"]).unwrap_or_else(|why| panic!("{why}"));
}

/// Fetches what the crate depends on when it is built with these options, without a network if it
/// is there. Says what cargo says if it can't be had.
pub fn fetch(krate: &Path, options: &[&str]) -> Result<(), String> {
    let fetch = |more: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["fetch", "--quiet"]).args(options).args(more).current_dir(krate);
        // Stable, but for the option that has the standard library built.
        let output = cargo.env("RUSTC_BOOTSTRAP", "1").output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    };
    fetch(&["--offline"]).or_else(|_missing| fetch(&[]))
}
