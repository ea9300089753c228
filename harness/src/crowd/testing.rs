//! Guests that never ran, for tests.

use super::crew::{Guest, RoundSpec};
use super::folder::Crowd;
use super::meta::{CrowdMeta, CrowdPlan, EngineWork, FORMAT};
use super::processes::Memory;
use super::rows::GuestRow;
use crate::model::{EngineId, RunRecord, Status};
use crate::results::testing::record;
use crate::results::{Cell, State, Tool};

/// A guest whose region of interest took that long.
pub(crate) fn guest(run: u32, time_ns: f64) -> Guest {
    Guest::unwatched(RunRecord { roi_guest_ns: Some(time_ns as u64), ..record(run, EngineId::Kvm) })
}

/// What a host of `cpus` processors would yield that divides them evenly: a guest alone takes `alone_ns`, and each has 3 MiB of
/// its own and its part of 12 MiB that all share.
pub(crate) fn fair(spec: &RoundSpec, cpus: u32, alone_ns: f64) -> Vec<Guest> {
    let time = alone_ns * f64::from(spec.guests.max(cpus)) / f64::from(cpus);
    let yielded = |guest: u32| {
        let mut record = spec.run(guest).record(Status::Ok, None);
        record.checksum = Some("0123456789abcdef".to_owned());
        record.roi_began_ns = Some(1_000_000_000 + u64::from(guest) * 1_000_000);
        record.roi_guest_ns = Some(time as u64);
        record.startup_ns = Some(5_000_000 * u64::from(spec.guests));
        record.wall_ns = time as u64 + 20_000_000;
        let private = 3 << 20;
        let memory = Memory { pss: private + (12 << 20) / u64::from(spec.guests), private };
        Guest { record, cpu_ns: Some(alone_ns as u64), memory: Some(memory) }
    };
    (0..spec.guests).map(yielded).collect()
}

/// A plan for `kvm` on so many processors.
pub(crate) fn plan(cpus: u32) -> CrowdPlan {
    CrowdPlan {
        workload: "sieve".to_owned(),
        guests: vec![1, 2, 4],
        rounds: 3,
        seed: 1,
        cpus,
        size: None,
        ram_mib: 256,
        timeout_s: 60,
        prefault: false,
        cpu: "v3".to_owned(),
        hz: None,
        sandbox: true,
        available_mib: 8_000,
        works: vec![EngineWork { engine: EngineId::Kvm.into(), size: 1.0, args: vec!["1000".to_owned()] }],
    }
}

/// An experiment of that plan which has only begun.
pub(crate) fn meta(cpus: u32) -> CrowdMeta {
    CrowdMeta {
        format: FORMAT,
        state: State::Running,
        tool: Tool { version: "evlab 0".to_owned(), git_commit: None },
        started: "2026-01-02T03:04:05Z".to_owned(),
        ended: None,
        plan: CrowdPlan { works: Vec::new(), ..plan(cpus) },
        host: serde_json::Value::Null,
        engines: Vec::new(),
        images: Vec::new(),
        problems: Vec::new(),
    }
}

/// `native` and `kvm` with 1, 2 and 4 guests, three fair rounds each.
pub(crate) fn crowd(cpus: u32) -> Crowd {
    let mut meta = meta(cpus);
    meta.state = State::Complete;
    let mut rows = Vec::new();
    let mut round = 0;
    for (engine, alone_ns) in [(EngineId::Native, 5e8), (EngineId::Kvm, 5.5e8)] {
        meta.plan.works.push(EngineWork { engine: engine.into(), size: 200.0, args: vec!["200".to_owned()] });
        for guests in [1, 2, 4] {
            for _ in 0..3 {
                round += 1;
                let cell = Cell { engine: engine.into(), workload: "sieve".to_owned(), args: vec!["200".to_owned()] };
                let first_run = u32::try_from(rows.len()).unwrap_or(u32::MAX) + 1;
                let spec = RoundSpec { first_run, guests, cell, image_sha256: "ab".repeat(32) };
                let yielded = fair(&spec, cpus, alone_ns);
                rows.extend((1..).zip(&yielded).map(|(i, guest)| GuestRow::new(round, guests, i, guest)));
            }
        }
    }
    Crowd { meta, rows, warnings: Vec::new() }
}
