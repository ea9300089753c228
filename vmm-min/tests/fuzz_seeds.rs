//! Replays the inputs in `fuzz/seeds`: what the fuzz targets found, and what exercises them well, on every toolchain.

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "public in the library of the fuzz targets")]
mod fuzz;

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(seeds.len() >= 5, "{} holds {} seeds", folder.display(), seeds.len());
    for seed in seeds {
        // A panic in the target names the input by this line.
        eprintln!("{}", seed.display());
        run(&std::fs::read(&seed).unwrap());
    }
}

#[test]
fn code_of_the_seeds_is_executed_alike() {
    replay("decode_execute", fuzz::decode_execute);
}

#[test]
fn pages_of_the_seeds_are_walked_as_the_manual_says() {
    replay("page_walk", fuzz::page_walk);
}

#[test]
fn program_files_of_the_seeds_are_judged() {
    replay("elf_load", fuzz::elf_load);
}

#[test]
fn kernels_of_the_seeds_are_loaded_or_refused() {
    replay("pvh_boot", fuzz::pvh_boot);
}
