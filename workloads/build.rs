//! Builds the guests with the ordinary host toolchain: no further target, no nightly, no C compiler.
//!
//! Every path given to rustc is relative to this package and every flag is fixed, so the images are the same bytes
//! wherever the checkout lies. They are linked by the toolchain's own `rust-lld`, so no system linker takes part.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

#[path = "build/instructions.rs"]
mod instructions;

/// The guests' target: that of the ordinary Linux toolchain, whose `core` is already installed on an x86-64 host.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Flags of every guest.
const COMMON: &[&str] = &[
    "--edition=2024",
    "--target",
    TARGET,
    "--cap-lints=warn",
    "-Cpanic=abort",
    "-Crelocation-model=static",
    "-Ctarget-cpu=x86-64",
    "-Ccodegen-units=1",
    "-Cforce-unwind-tables=no",
    "-Cstrip=debuginfo",
];

/// Flags of everything that is linked.
const LINKED: &[&str] = &[
    "--crate-type=bin",
    "-Clinker=rust-lld",
    "-Clinker-flavor=ld.lld",
    "-Crelro-level=off",
    "-Clink-arg=-static",
    "-Clink-arg=-no-pie",
    "-Clink-arg=--build-id=none",
    "-Clink-arg=-znoexecstack",
    "-Clink-arg=-zmax-page-size=4096",
];

const PROGRAM: &[&str] = &["-Copt-level=3"];
const PROGRAM_LINK: &[&str] = &["-Clink-arg=-Tprograms/program.ld"];

const KERNEL: &[&str] = &[
    "-Copt-level=s",
    "-Ccode-model=kernel",
    "-Cno-redzone",
    "-Cforce-frame-pointers=no",
    "-Cno-vectorize-loops",
    "-Cno-vectorize-slp",
];
const KERNEL_LINK: &[&str] = &["-Clink-arg=-Tkernel/kernel.ld"];
/// The kernel with what the micro-benchmarks need of it.
const MICRO: &[&str] = &["--cfg=micro"];
const HOSTILE_LINK: &[&str] = &["-Clink-arg=-Tattacks/kernel/kernel.ld"];

/// Keeps the compiler off SSE in the kernel. Stable compilers accept it with a warning; one that does not may still
/// build a kernel that passes the check of its instructions.
const NO_SSE: &str = "-Ctarget-feature=-sse,-sse2,-sse3,-mmx,+soft-float";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for folder in ["build", "kernel", "programs", "attacks", "micro", "src/param.rs", "src/sizes.rs", "src/event.rs"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    if let Err(message) = build() {
        eprintln!("error: {message}");
        exit(1);
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?);
    let runtime = out.join("librt.rlib");
    rustc("programs/rt/lib.rs", &runtime, &[COMMON, PROGRAM, &["--crate-type=rlib", "--crate-name=rt"]], None)?;
    for source in [sources("programs")?, sources("attacks")?, sources("micro")?].concat() {
        let elf = out.join(Path::new(&source).with_extension("elf").file_name().unwrap_or_default());
        rustc(&source, &elf, &[COMMON, LINKED, PROGRAM, PROGRAM_LINK], Some(&runtime))?;
    }
    let mut flags = vec![COMMON, LINKED, KERNEL];
    if accepts_no_sse(&out) {
        flags.push(&[NO_SSE]);
    }
    for (folder, name, further) in [
        ("kernel", "kernel.elf", &[KERNEL_LINK][..]),
        ("kernel", "micro-kernel.elf", &[KERNEL_LINK, MICRO]),
        ("attacks/kernel", "hostile.elf", &[HOSTILE_LINK]),
    ] {
        let kernel = out.join(name);
        rustc(&format!("{folder}/main.rs"), &kernel, &[&flags, further].concat(), None)?;
        check(folder, &kernel)?;
    }
    Ok(())
}

/// The sources of the programs in a folder, relative to this package, in a fixed order.
fn sources(folder: &str) -> Result<Vec<String>, String> {
    let entries = Path::new(folder).read_dir().map_err(|why| format!("cannot list {folder}/: {why}"))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".rs"))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    names.sort();
    Ok(names)
}

/// Compiles one crate; `runtime` is the library that programs are linked with.
fn rustc(source: &str, output: &Path, flags: &[&[&str]], runtime: Option<&Path>) -> Result<(), String> {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(&compiler);
    command.args(flags.iter().copied().flatten()).arg(source).arg("-o").arg(output);
    if let Some(library) = runtime {
        command.arg("--extern").arg(format!("rt={}", library.display()));
    }
    let done = command.output().map_err(|why| format!("cannot start {}: {why}", compiler.display()))?;
    let messages = String::from_utf8_lossy(&done.stderr);
    if done.status.success() {
        // Pass on what the compiler says about the sources, but not about the flags.
        for warning in messages.split("\n\n").filter(|text| text.contains("-->")) {
            warning.lines().for_each(|line| println!("cargo:warning={line}"));
        }
        return Ok(());
    }
    let hint = if messages.contains("can't find crate for `core`") {
        format!("\nthe guests need the standard library of {TARGET}: rustup target add {TARGET}")
    } else if messages.contains("linker `rust-lld` not found") {
        "\nthe guests are linked by the toolchain's own rust-lld: install the toolchain with rustup".to_owned()
    } else {
        String::new()
    };
    Err(format!("{source} does not build:\n{messages}{hint}"))
}

/// Whether this compiler builds code without SSE for the host's target.
fn accepts_no_sse(out: &Path) -> bool {
    let probe = out.join("probe.rs");
    let flags = ["--crate-type=rlib", "--cap-lints=allow", NO_SSE];
    let built = std::fs::write(&probe, "#![no_std]\npub fn zero(words: &mut [u64; 32]) { *words = [0; 32]; }\n")
        .is_ok()
        && rustc(&probe.to_string_lossy(), &out.join("libprobe.rlib"), &[COMMON, &flags], None).is_ok();
    if !built {
        println!(
            "cargo:warning=this rustc refuses {NO_SSE}; the kernel is built with SSE and its instructions checked"
        );
    }
    built
}

/// Refuses a kernel with an instruction that some KVM backend cannot run in ring 0.
fn check(folder: &str, kernel: &Path) -> Result<(), String> {
    let image = std::fs::read(kernel).map_err(|why| format!("cannot read {}: {why}", kernel.display()))?;
    instructions::check(&image).map(|_| ()).map_err(|why| format!("{folder}/: {why}"))
}
