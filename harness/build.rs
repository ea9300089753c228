//! Tells the program which git commit it was built from, where that can be known.

use std::path::Path;
use std::process::Command;

fn main() {
    // `logs/HEAD` changes with every commit; outside a checkout neither file exists.
    for file in ["../.git/HEAD", "../.git/logs/HEAD"] {
        if Path::new(file).exists() {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
    let commit = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    if let Some(commit) = commit {
        println!("cargo:rustc-env=EVLAB_GIT_COMMIT={}", commit.trim());
    }
}
