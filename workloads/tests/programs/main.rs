//! Every program, as a Linux process and in a guest, computes what an independent implementation computes, marks its region of
//! interest, prints its two lines, and refuses bad arguments.

mod guest;
mod nbody;
mod reference;
mod run;

use run::{parse, run, start, start_limited};
use workloads::{Profile, catalogue, find};

fn words(args: &[u64]) -> Vec<String> {
    args.iter().map(u64::to_string).collect()
}

fn numbers(args: &[String]) -> Vec<u64> {
    args.iter().map(|arg| arg.parse().expect("a number")).collect()
}

/// The checksum that these arguments must yield.
fn expected(name: &str, args: &[u64]) -> u64 {
    match (name, args) {
        ("dense_mm", &[n]) => reference::dense_mm(n),
        ("random_access", &[mib, reads]) => reference::random_access(mib, reads),
        ("sieve", &[n]) => reference::sieve(n),
        ("fib", &[n, rounds]) => reference::fib(n, rounds),
        ("qsort", &[n]) => reference::qsort(n),
        ("sha256", &[kib]) => reference::sha256(kib),
        ("bytecode", &[n]) => reference::bytecode(n),
        ("nbody", &[steps]) => nbody::nbody(steps),
        ("matmul_i64", &[n]) => reference::matmul_i64(n),
        ("crc32", &[kib]) => reference::crc32(kib),
        ("strings", &[bytes, rounds]) => reference::strings(bytes, rounds),
        ("stream", &[mib, passes]) => reference::stream(mib, passes),
        ("chase", &[mib, steps]) => reference::chase(mib, steps),
        ("tlb", &[pages, rounds]) => reference::tlb(pages, rounds),
        ("syscall", &[n]) => reference::syscall(n),
        ("pagefault", &[pages, rounds]) => reference::pagefault(pages, rounds),
        ("preempt", &[rounds]) => reference::preempt(rounds),
        ("sleep", &[n, us]) => reference::sleep(n, us),
        ("noop", &[]) => reference::noop(),
        _ => panic!("no reference for {name} {args:?}"),
    }
}

#[test]
fn full_and_quick_runs_match_the_reference() {
    for workload in catalogue().iter().filter(|workload| workload.native) {
        let name = workload.name;
        for profile in [Profile::Full, Profile::Quick] {
            let args = workload.args(profile, 1.0);
            assert_eq!(run(name, &args).checksum, expected(name, &numbers(&args)), "{name} {args:?}");
        }
        let full: Vec<u64> = workload.params.iter().map(|param| param.default).collect();
        assert_eq!(run(name, &[]).checksum, expected(name, &full), "{name} without arguments");
    }
}

#[test]
fn odd_and_smallest_sizes_match_the_reference() {
    let cases: &[(&str, &[u64])] = &[
        ("dense_mm", &[1]),
        ("dense_mm", &[37]),
        ("random_access", &[3, 1001]),
        ("sieve", &[3]),
        ("sieve", &[4]),
        ("sieve", &[9]),
        ("sieve", &[10]),
        ("sieve", &[7919]),
        ("fib", &[1, 1]),
        ("fib", &[2, 3]),
        ("fib", &[17, 2]),
        ("qsort", &[1]),
        ("qsort", &[2]),
        ("qsort", &[17]),
        ("qsort", &[4099]),
        ("sha256", &[1]),
        ("bytecode", &[1]),
        ("bytecode", &[27]),
        ("nbody", &[1]),
        ("matmul_i64", &[1]),
        ("matmul_i64", &[37]),
        ("crc32", &[1]),
        ("strings", &[16, 5]),
        ("strings", &[1003, 9]),
        ("stream", &[1, 7]),
        ("chase", &[1, 5000]),
        ("tlb", &[1, 1]),
        ("tlb", &[64, 3]),
        ("syscall", &[1]),
        ("preempt", &[1]),
        ("preempt", &[500]),
        ("sleep", &[1, 1]),
        ("sleep", &[3, 20_000]),
        ("pagefault", &[1, 1]),
        ("pagefault", &[700, 2]),
    ];
    for &(name, args) in cases {
        assert_eq!(run(name, &words(args)).checksum, expected(name, args), "{name} {args:?}");
    }
}

#[test]
fn laps_repeat_the_work_and_change_nothing_of_the_result() {
    for workload in catalogue().iter().filter(|workload| workload.native && workload.laps) {
        let name = workload.name;
        let args = workload.args(Profile::Quick, 0.2);
        let asked = [args.clone(), vec!["laps=4".to_owned()]].concat();
        // One pair of markers around all of them.
        let output = start(name, &asked, "3>&2");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "BE", "{name}");
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers_of = |word: &str| -> Vec<u64> {
            text.lines().filter_map(|line| line.strip_prefix(word)?.parse().ok()).collect()
        };
        let (laps, ticks) = (numbers_of("lap "), numbers_of("ticks "));
        assert_eq!((laps.len(), ticks.len()), (4, 1), "{name}: {text}");
        assert!(laps.iter().all(|&lap| lap > 0) && laps.iter().sum::<u64>() <= ticks[0], "{name}: {text}");
        let result = format!("result {:016x}", expected(name, &numbers(&args)));
        assert!(text.lines().any(|line| line == result), "{name}: {text} instead of {result}");
    }
    let one = start("fib", &["laps=1".to_owned()], "3>&2");
    assert_eq!(String::from_utf8_lossy(&one.stdout).lines().filter(|line| line.starts_with("lap ")).count(), 1);
    let none = start("fib", &[], "3>&2");
    assert!(!String::from_utf8_lossy(&none.stdout).contains("lap "), "nobody asked");
}

#[test]
fn the_studio_sizes_run() {
    assert_eq!(run("dense_mm", &words(&[512])).checksum, reference::dense_mm(512));
    assert_eq!(run("random_access", &words(&[64])).checksum, reference::random_access(64, default("random_access", 1)));
}

fn default(name: &str, param: usize) -> u64 {
    find(name).expect("a program").params[param].default
}

#[test]
fn references_agree_with_published_values() {
    // OEIS A006880 and A046731.
    assert_eq!(reference::primes(1_000_000), (78_498, 37_550_402_023));
    // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
    assert_eq!(reference::crc(b"123456789"), 0xcbf4_3926);
    // The output of the Computer Language Benchmarks Game for 0 and 1000 steps.
    assert_eq!(format!("{:.9}", nbody::simulate(0).0), "-0.169075164");
    assert_eq!(format!("{:.9}", nbody::simulate(1000).0), "-0.169087605");
    // The first outputs of SplitMix64 with seed 1234567, as Rosetta Code lists them.
    let first: Vec<u64> = reference::random(1_234_567).take(2).collect();
    assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
}

#[test]
fn more_work_takes_more_ticks() {
    // Not a benchmark: a thousand times the work must show, or the region of interest is empty.
    let (small, large) = (run("fib", &words(&[20, 1])).ticks, run("fib", &words(&[20, 1000])).ticks);
    assert!(large > small, "{small} ticks for one round, {large} for a thousand");
}

#[test]
fn markers_may_have_no_reader() {
    let output = start("noop", &[], "3>&-");
    assert_eq!(output.status.code(), Some(0));
    let run = parse(&output).expect("the two lines");
    assert_eq!(run.checksum, reference::noop());
}

#[test]
fn bad_arguments_give_one_sentence_and_exit_code_2() {
    let mut cases: Vec<(&str, Vec<String>)> = Vec::new();
    for workload in catalogue() {
        for (place, param) in workload.params.iter().enumerate() {
            let below = (param.min - 1).to_string();
            let above = (param.max + 1).to_string();
            let huge = "9".repeat(60);
            for bad in ["", "x", "-1", "1.5", "0x10", "1 ", &below, &above, &huge] {
                let mut args: Vec<String> = workload.params.iter().map(|param| param.default.to_string()).collect();
                args[place] = bad.to_owned();
                cases.push((workload.name, args));
            }
        }
        let mut surplus = workload.args(Profile::Quick, 1.0);
        surplus.push("1".to_owned());
        cases.push((workload.name, surplus));
    }
    for name in ["chase", "tlb"] {
        cases.push((name, words(&[3])));
    }
    for (name, bad) in
        [("fib", "laps=0"), ("fib", "laps=10001"), ("fib", "laps="), ("fib", "laps=x"), ("preempt", "laps=2")]
    {
        cases.push((name, vec![bad.to_owned()]));
    }
    for (name, args) in cases {
        let output = start(name, &args, "3>&2");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name} {args:?}: {message}");
        assert!(output.stdout.is_empty(), "{name} {args:?} printed a result");
        assert!(message.starts_with(&format!("{name}: ")), "{name} {args:?}: {message}");
        assert!(message.contains("give "), "{name} {args:?} names no fix: {message}");
        assert_eq!(message.lines().count(), 1, "{name} {args:?}: {message}");
    }
}

#[test]
fn a_program_without_memory_says_so() {
    let output = start_limited("dense_mm", &words(&[4096]));
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert_eq!(message, "no 128 MiB of memory (error 12): give a smaller size or more RAM\n");
}

#[test]
fn programs_of_the_guest_kernel_say_so_under_linux() {
    for workload in catalogue().iter().filter(|workload| !workload.native) {
        let output = start(workload.name, &[], "3>&2");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}: {message}", workload.name);
        assert!(message.contains("guest"), "{}: {message}", workload.name);
    }
}
