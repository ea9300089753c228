//! What every engine promises, tried on every engine that this host has.

use std::time::Duration;

use super::testing::{Code, job, kernel};
use super::*;
use crate::model::{Placement, Status};

/// The engines that can be tried here; says why others cannot.
fn engines() -> impl Iterator<Item = &'static dyn Engine> {
    all().into_iter().filter(|engine| match engine.availability() {
        Availability::Available { .. } => true,
        Availability::Missing { reason, fix } => {
            eprintln!("skipped on {}: {reason}; {fix}", engine.id());
            false
        }
    })
}

fn run(engine: &dyn Engine, code: &Code) -> RunRecord {
    engine.run(&job(engine.id(), code), &StopFlag::new()).unwrap_or_else(|error| panic!("{}: {error}", engine.id()))
}

/// Whether the host timed an empty region. It may be over before the reader of a pipe wakes: then both markers arrive
/// together and tell no time.
fn measured(engine: EngineId, record: &RunRecord) -> bool {
    let piped = matches!(engine, EngineId::Native | EngineId::QemuTcg | EngineId::QemuKvm);
    record.roi_host_ns.map_or(piped, |ns| ns < record.wall_ns)
}

#[test]
fn every_engine_has_its_place() {
    assert_eq!(all().map(Engine::id), EngineId::ALL);
}

#[test]
fn a_program_runs_and_is_measured() {
    let code = Code::new().write(3, "B").write(3, "E").write(1, "result 00000000000000aa\nticks 3000\n").exit(0);
    for engine in engines() {
        let record = run(engine, &code);
        assert_eq!(record.status, Status::Ok, "{record:?}");
        assert_eq!((record.engine.id, record.exit_code, record.message.as_deref()), (engine.id(), Some(0), None));
        assert_eq!(record.checksum.as_deref(), Some("00000000000000aa"));
        assert!(measured(engine.id(), &record), "{record:?}");
        assert!(record.roi_guest_ns.is_some(), "{}", engine.id());
        let expected = engine.id() != EngineId::Native;
        assert_eq!(record.startup_ns.is_some_and(|ns| ns < record.wall_ns), expected, "{}", engine.id());
        assert_eq!(record.counters.is_empty(), !expected, "{}", engine.id());
    }
}

#[test]
fn programs_that_fail_end_alike() {
    for (code, expected) in [
        (Code::new().exit(7), 7),
        (Code::new().raw(&[0x0f, 0x0b]), 132),             // ud2
        (Code::new().raw(&[0xf4]), 139),                   // hlt
        (Code::new().raw(&[0x31, 0xc0, 0xff, 0xe0]), 139), // jump to 0
        (Code::new().raw(&[0x31, 0xc9, 0xf7, 0xf1]), 136), // divide by 0
    ] {
        for engine in engines() {
            let record = run(engine, &code);
            assert_eq!((record.status, record.exit_code), (Status::Failed, Some(expected)), "{record:?}");
            assert!(record.message.is_some_and(|message| message.contains(&expected.to_string())));
        }
    }
}

#[test]
fn a_drawn_environment_is_the_same_string_everywhere() {
    // mov rsi, [rsp+40]; xor edi, edi; again: lodsb; movzx eax, al; add edi, eax; test eax, eax; jnz again; exit(edi):
    // the sum of the bytes of envp[0], modulo 256. Before it are argc, three arguments and a null pointer.
    let code = [0x48, 0x8b, 0x74, 0x24, 40, 0x31, 0xff, 0xac, 0x0f, 0xb6, 0xc0, 0x01, 0xc7, 0x85, 0xc0, 0x75, 0xf6];
    let code = Code::new().raw(&code).raw(&[0xb8, 60, 0, 0, 0, 0x0f, 0x05]);
    for engine in engines() {
        let mut job = job(engine.id(), &code);
        let placement = Placement { environment_bytes: 1024, offset_pages: 33 };
        job.request.placement = Some(placement);
        let record = engine.run(&job, &StopFlag::new()).expect("it starts");
        let expected = [b'E', b'='].into_iter().chain([b'x'; 1021]).fold(0u8, u8::wrapping_add);
        assert_eq!((record.exit_code, record.placement), (Some(expected), Some(placement)), "{record:?}");
    }
}

#[test]
fn a_program_that_loops_is_stopped_at_its_limit() {
    let code = Code::new().write(1, "before\n").spin();
    for engine in engines() {
        let mut job = job(engine.id(), &code);
        job.request.timeout_s = 1;
        let record = engine.run(&job, &StopFlag::new()).expect("it starts");
        assert_eq!((record.status, record.exit_code), (Status::Timeout, None), "{record:?}");
        assert!(record.message.expect("it timed out").contains("limit of 1 s"));
        assert_eq!(record.console, "before\n", "{}", engine.id());
        assert!(record.wall_ns >= 900_000_000, "{}", engine.id());
    }
}

#[test]
fn the_stop_flag_ends_a_run() {
    for engine in engines() {
        let stop = StopFlag::new();
        let setter = stop.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            setter.stop();
        });
        let record = engine.run(&job(engine.id(), &Code::new().spin()), &stop).expect("it starts");
        thread.join().expect("it does not panic");
        assert_eq!(record.status, Status::Interrupted, "{record:?}");
    }
}

#[test]
fn bad_jobs_are_refused_alike() {
    for engine in engines() {
        let refused = |change: &dyn Fn(&mut Job<'static>)| {
            let mut job = job(engine.id(), &Code::new().exit(0));
            change(&mut job);
            engine.run(&job, &StopFlag::new()).expect_err("it cannot run").to_string()
        };
        let message = refused(&|job| job.program.elf = b"#!/bin/sh\n".as_slice().into());
        assert!(message.starts_with("program: ") && message.contains("ELF"), "{message}");
        let message = refused(&|job| job.program.elf.to_mut().truncate(100));
        assert!(message.contains("truncated"), "{message}");
        let message = refused(&|job| job.program.elf.to_mut().resize(65 << 20, 0));
        assert!(message.contains("--ram"), "{message}");
        let message = refused(&|job| job.request.args.push("\"".to_owned()));
        assert!(message.contains("double quote"), "{message}");
        let message = refused(&|job| job.request.timeout_s = 0);
        assert!(message.contains("time limit"), "{message}");
        let message = refused(&|job| job.request.ram_mib = 4096);
        assert!(message.contains("3072"), "{message}");
    }
}

/// Processes whose parent is this one and whose command line contains `words`.
fn children(words: &str) -> Vec<i32> {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").expect("Linux has /proc").flatten();
    processes
        .filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?.to_owned();
            let command = std::fs::read(entry.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).into_owned();
            let pid = entry.file_name().to_str()?.parse().ok()?;
            (parent == own && command.contains(words)).then_some(pid)
        })
        .collect()
}

#[test]
fn qemu_killed_half_way_is_a_failed_run() {
    for engine in engines().filter(|engine| matches!(engine.id(), EngineId::QemuTcg | EngineId::QemuKvm)) {
        let mut job = job(engine.id(), &Code::new().write(1, "before\n").spin());
        let name = format!("killed-{}", engine.id());
        job.program.name.clone_from(&name);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            let pids = children(&name);
            for &pid in &pids {
                // SAFETY: the call takes two integers; the process is a child of this one, so its id is not reused.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            pids.len()
        });
        let record = engine.run(&job, &StopFlag::new()).expect("it starts");
        assert_eq!(killer.join().expect("it does not panic"), 1, "one QEMU runs");
        assert_eq!(record.status, Status::Failed, "{record:?}");
        assert!(record.message.is_some_and(|message| message.contains("signal: 9")));
    }
}

#[test]
fn no_process_is_left_behind() {
    for engine in engines() {
        let name = format!("left-{}", engine.id());
        let mut job = job(engine.id(), &Code::new().spin());
        job.request.timeout_s = 1;
        job.program.name.clone_from(&name);
        job.request.args.push(name.clone());
        let record = engine.run(&job, &StopFlag::new()).expect("it starts");
        assert_eq!(record.status, Status::Timeout, "{record:?}");
        assert!(children(&name).is_empty(), "{}", engine.id());
    }
}

/// A run of a kernel of its own, with one second of time.
fn boot(engine: &dyn Engine, code: &Code) -> RunRecord {
    let kernel = kernel(code.bytes());
    let mut job = Job { kernel: &kernel, ..job(engine.id(), &Code::new().exit(0)) };
    job.request.timeout_s = 1;
    engine.run(&job, &StopFlag::new()).unwrap_or_else(|error| panic!("{}: {error}", engine.id()))
}

/// The engines that run a guest kernel.
fn machines() -> impl Iterator<Item = &'static dyn Engine> {
    engines().filter(|engine| engine.id() != EngineId::Native)
}

#[test]
fn a_kernel_reports_its_exit_code_and_halts() {
    let report = "UBEX2a".bytes().fold(Code::new(), |code, byte| code.out(0xe9, byte)).raw(&[0xfa, 0xf4, 0xeb, 0xfd]);
    for engine in machines() {
        let record = boot(engine, &report);
        assert_eq!((record.status, record.exit_code), (Status::Failed, Some(0x2a)), "{record:?}");
        assert!(record.startup_ns.is_some(), "{record:?}");
        assert!(measured(engine.id(), &record), "{record:?}");
    }
}

#[test]
fn a_kernel_that_faults_without_handlers_is_a_failed_run() {
    for engine in machines() {
        let record = boot(engine, &Code::new().raw(&[0x0f, 0x0b]));
        assert_eq!((record.status, record.exit_code), (Status::Failed, None), "{record:?}");
        assert!(record.message.is_some_and(|message| message.contains("triple fault")), "{}", engine.id());
    }
}

#[test]
fn a_kernel_that_kvm_cannot_run_is_a_failed_run() {
    // xorps without CR4.OSFXSR: an undefined instruction, and one that KVM's instruction emulator does not have.
    for engine in machines() {
        let record = boot(engine, &Code::new().raw(&[0x0f, 0x57, 0xc0, 0xeb, 0xfe]));
        assert_eq!((record.status, record.exit_code), (Status::Failed, None), "{record:?}");
        assert!(record.message.is_some(), "{}", engine.id());
    }
}

#[test]
fn a_kernel_that_hangs_is_stopped() {
    for engine in machines() {
        let spins = boot(engine, &Code::new().spin());
        assert_eq!(spins.status, Status::Timeout, "{spins:?}");
        let halts = boot(engine, &Code::new().raw(&[0xfa, 0xf4, 0xeb, 0xfd]));
        assert!(matches!(halts.status, Status::Failed | Status::Timeout), "{halts:?}");
    }
}

#[test]
fn what_a_guest_prints_arrives_whole() {
    let lines = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n".repeat(64);
    let code = Code::new().write(1, &lines).write(1, "result 00000000000000aa\n").exit(0);
    for engine in engines() {
        let record = run(engine, &code);
        assert_eq!(record.console.len(), lines.len() + 24, "{}", engine.id());
        assert_eq!(record.checksum.as_deref(), Some("00000000000000aa"), "{}", engine.id());
    }
}

#[test]
fn a_timer_interrupts_every_engine_and_changes_no_result() {
    for (name, args) in [("preempt", &["60"][..]), ("sleep", &["5", "1000"])] {
        let workload = workloads::find(name).expect("a program of the catalogue");
        let mut checksums = Vec::new();
        for engine in engines() {
            let mut job = job(engine.id(), &Code::new().exit(0));
            job.program = Program {
                name: name.to_owned(),
                elf: workload.elf.into(),
                processes: workload.processes,
                native: workload.native,
            };
            job.request.args = args.iter().map(|&word| word.to_owned()).collect();
            job.request.hz = 1000;
            let record = engine.run(&job, &StopFlag::new()).expect("it starts");
            assert_eq!(record.status, Status::Ok, "{record:?}");
            if name == "sleep" {
                // No less than asked for, but for what the two clocks differ by.
                assert!(record.roi_guest_ns.is_some_and(|ns| ns >= 4_900_000), "{record:?}");
            }
            checksums.push(record.checksum);
        }
        checksums.dedup();
        assert_eq!(checksums.len(), 1, "{name}: {checksums:?}");
    }
}
