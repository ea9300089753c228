//! The model on made-up truths, where the right answer is known.

use std::collections::BTreeMap;

use super::*;
use crate::host::{self, KvmBackend};
use crate::model::EngineId;
use crate::results::Tool;

/// A profile in which these counters have these values.
fn profile(name: &str, counts: &[(&str, f64)]) -> Profile {
    let counts: BTreeMap<String, f64> = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    Profile {
        kind: Kind::Workload,
        name: name.to_owned(),
        args: Vec::new(),
        image_sha256: String::new(),
        counts,
        paces: Vec::new(),
    }
}

/// Programs of different kinds, and what they take on an engine where an instruction takes 2 ns, a load 5 and a system call 300.
fn data(engine: EngineId) -> Data {
    let mut data = Data::default();
    for i in 0..12_u32 {
        let (instructions, loads, calls) =
            (1e6 + 1e5 * f64::from(i * i), 4e5 / f64::from(1 + i % 4), f64::from(i % 3) * 1e4);
        let name = format!("w{i}");
        let counts = [("instructions", instructions), ("ring3.load", loads), ("ring3.enter", calls)];
        data.profiles.push(profile(&name, &counts));
        let ns = 2.0 * instructions + 5.0 * loads + 300.0 * calls;
        data.rows.push(Row { engine, kind: Kind::Workload, name, args: Vec::new(), n: 3, ns });
    }
    data
}

fn cost(model: &Model, event: &str) -> f64 {
    model.costs.iter().find(|(e, _)| e.name == event).expect("the engine has the event").1
}

#[test]
fn true_costs_are_recovered() {
    let data = data(EngineId::EmuInterp);
    let model = Model::fit(EngineId::EmuInterp, &data, None).expect("there are times");
    assert_eq!(model.rows, 12);
    for (event, truth) in [("instruction", 2.0), ("load", 5.0), ("enter", 300.0)] {
        let found = cost(&model, event);
        assert!((found / truth - 1.0).abs() < 0.01, "{event}: {found}");
    }
    assert!(Model::fit(EngineId::Kvm, &data, None).is_none(), "there are no times of it");
}

#[test]
fn what_was_left_out_is_predicted() {
    let data = data(EngineId::EmuInterp);
    let predictions = held_out(&data, &[EngineId::EmuInterp, EngineId::Kvm], None);
    assert_eq!(predictions.len(), 12);
    for p in &predictions {
        assert!(p.is_within(0.02) && p.explained > 0.98, "{p:?}");
    }
    let one = held_out(&data, &[EngineId::EmuInterp], Some("w3"));
    assert_eq!(one, predictions[3..4]);
}

#[test]
fn a_workload_that_nothing_explains_is_not_hidden() {
    let mut data = data(EngineId::EmuInterp);
    data.rows[5].ns *= 3.0;
    let predictions = held_out(&data, &[EngineId::EmuInterp], Some("w5"));
    assert!(!predictions[0].is_within(0.25) && (predictions[0].ratio - 1.0 / 3.0).abs() < 0.02, "{predictions:?}");
}

/// A program of a million instructions, to which the timer adds 500 with each of its thousand ticks a second.
fn interrupted() -> Profile {
    let counts = |ns: f64| {
        let ticks = ns / 1e6;
        BTreeMap::from([("instructions".to_owned(), 1e6 + 500.0 * ticks), ("interrupt".to_owned(), ticks)])
    };
    let paces = [1e6, 1e7, 1e8].map(|ns| Pace { ns, counts: counts(ns) }).to_vec();
    Profile { paces, ..profile("interrupted", &[("instructions", 1e6 + 500.0), ("interrupt", 1.0)]) }
}

#[test]
fn the_timer_comes_more_often_the_longer_it_takes() {
    let interrupted = interrupted();
    let ticks = |ns: f64| interrupted.at(ns).count("interrupt");
    assert_eq!(
        [1e3, 1e6, 4e6, 1e7, 6e7, 1e8, 1e9].map(ticks).map(f64::round),
        [1.0, 1.0, 4.0, 10.0, 60.0, 100.0, 1000.0]
    );
    assert!((interrupted.at(3e8).count("instructions") - 1.15e6).abs() < 1.0, "beyond the slowest pace");
    let plain = profile("plain", &[("interrupt", 7.0)]);
    assert_eq!(plain.at(1e9).count("interrupt"), 7.0);
}

#[test]
fn a_program_that_sleeps_until_a_tick_takes_no_longer_for_what_it_does_before() {
    // 2 ms in all, of which a thousand instructions take so much that the guest sleeps for the less.
    let paces = [1e3, 1e4, 1e5].map(|busy| {
        let counts = BTreeMap::from([("instructions".to_owned(), 1e3), ("wait_ns".to_owned(), 2e6 - busy)]);
        Pace { ns: 2e6, counts }
    });
    let sleeping =
        Profile { paces: paces.to_vec(), ..profile("sleeping", &[("instructions", 1e3), ("wait_ns", 2e6 - 1e3)]) };
    let all = events(EngineId::EmuInterp);
    let named = |name: &str| *all.iter().find(|event| event.name == name).expect("an event");
    for each in [1.0, 30.0, 100.0, 500.0] {
        let costs = vec![(named("instruction"), each), (named("waited"), 1.0)];
        let model = Model { engine: EngineId::EmuInterp, costs, rows: 0 };
        assert!((model.busy(&sleeping) - 1e3 * each).abs() < 1.0, "{}", model.busy(&sleeping));
        assert!((model.time(&sleeping) - 2e6).abs() < 1.0, "{}", model.time(&sleeping));
        let account = Account::of(&model, &sleeping, 2.1e6, 3);
        // It took 5% longer than it should; so its busy part, which leaves less sleep, is taken to be 5% longer too.
        assert!(account.explained > 0.95 - 0.05 * 1e3 * each / 2e6, "{account:?}");
    }
}

#[test]
fn a_program_that_is_interrupted_takes_as_long_as_its_ticks_say() {
    let instruction =
        events(EngineId::EmuInterp).into_iter().find(|event| event.name == "instruction").expect("an event");
    let interrupt = events(EngineId::EmuInterp).into_iter().find(|event| event.name == "interrupt").expect("an event");
    let model = |ns: f64, tick_ns: f64| Model {
        engine: EngineId::EmuInterp,
        costs: vec![(instruction, ns), (interrupt, tick_ns)],
        rows: 0,
    };
    // t = 2e6 + t / 1e6 * (500 * 2 + 99_000)
    let found = model(2.0, 99_000.0).time(&interrupted());
    assert!((found / (2e6 / 0.9) - 1.0).abs() < 1e-6, "{found}");
    // Ticks that take all the time leave none for the program.
    assert!(model(2.0, 2e6).time(&interrupted()) > 1e12);
}

#[test]
fn a_tick_costs_what_it_takes_from_a_program() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let header = "run,event,ring,engine,phase,iterations,roi_ns,guest_instructions,exit_io,exit_mmio,exit_hlt,exit_other,lost,message";
    let run = |event: &str, engine: &str, roi: f64, lost: &str| {
        format!("1,{event},3,{engine},measurement,10,{roi},,,,,,{lost},")
    };
    let text = [
        header.to_owned(),
        run("timer-tick", "kvm", 1e7, "0.05"),
        run("idle-noise", "kvm", 1e7, "0.02"),
        run("timer-tick", "emu-dbt", 1e7, "0.01"),
        run("idle-noise", "emu-dbt", 1e7, "0.02"),
        run("syscall", "kvm", 5e3, ""),
        run("timer-period", "kvm", 1e7, ""),
    ];
    std::fs::write(dir.path().join("micro-runs.csv"), text.join("\n")).expect("write");
    let rows = rows_of_micro(dir.path()).expect("read");
    let named: Vec<(&str, EngineId, f64)> =
        rows.iter().map(|row| (row.name.as_str(), row.engine, row.ns.round())).collect();
    let tick = (0.03 * crate::micro::PERIOD_NS).round();
    assert_eq!(named, [("syscall/3", EngineId::Kvm, 500.0), ("timer-tick/3", EngineId::Kvm, tick)]);
}

#[test]
fn an_account_adds_up_to_the_time() {
    let data = data(EngineId::EmuInterp);
    let model = Model::fit(EngineId::EmuInterp, &data, None).expect("there are times");
    let account = Account::of(&model, &data.profiles[4], 1e7, 5);
    let sum: f64 = account.items.iter().map(|item| item.ns).sum();
    assert!((sum + account.rest_ns - 1e7).abs() < 1e-3);
    assert!((account.explained - (1.0 - account.rest_ns.abs() / 1e7)).abs() < 1e-12);
    assert!(account.items.windows(2).all(|pair| pair[0].ns >= pair[1].ns), "the most expensive first");
    let over = Account::of(&model, &data.profiles[4], 1e6, 5);
    assert!(over.rest_ns < 0.0 && over.explained < 0.0, "the model says more than was measured");
}

#[test]
fn the_reason_names_what_carries_the_difference() {
    let item = |event, what, count: f64, each_ns: f64, all: f64| Item {
        event,
        what,
        count,
        each_ns,
        ns: count * each_ns,
        share: count * each_ns / all,
    };
    let native = Account {
        engine: EngineId::Native,
        n: 5,
        ns: 1e6,
        items: vec![item("issue", "cycles in which instructions issue", 3e6, 0.3, 1e6)],
        rest_ns: 1e5,
        explained: 0.9,
    };
    let slow = Account {
        engine: EngineId::Kvm,
        n: 5,
        ns: 1.01e8,
        items: vec![
            item("syscall", "system calls", 2_000.0, 4.5e4, 1.01e8),
            item("issue", "cycles in which instructions issue", 3e6, 0.3, 1.01e8),
        ],
        rest_ns: 1.01e7,
        explained: 0.9,
    };
    insta::assert_snapshot!(reason(&slow, Some(&native)), @"101 times as slow as native. Of the 100 ms that it takes more, 90.0% are: 90.0 ms for system calls (2k at 45.0 µs).");
    insta::assert_snapshot!(reason(&native, None), @"Most of it: 900 µs for cycles in which instructions issue (3M at 0.300 ns).");
    let alike = Account { ns: 1.05e6, ..native.clone() };
    let alike = Account { engine: EngineId::QemuKvm, explained: 0.5, ..alike };
    insta::assert_snapshot!(reason(&alike, Some(&native)), @"As fast as native (1.05 of its time). The model explains too little of it to be sure.");
}

fn tool() -> Tool {
    Tool { version: "evlab 0".to_owned(), git_commit: None }
}

#[test]
fn costs_are_written_read_and_refused() {
    let results = tempfile::tempdir().expect("temporary folder");
    let key = HostKey::of(&host::describe());
    let write = |name: &str, host: &HostKey, kernel: &str| {
        let dir = results.path().join(name);
        std::fs::create_dir(&dir).expect("create");
        let costs = Costs::of(data(EngineId::EmuDbt), tool(), host.clone(), kernel.to_owned(), name.to_owned());
        costs.write(&dir).expect("write");
        (dir, costs)
    };
    assert!(Costs::newest(results.path(), &key, "k").is_none());
    let (dir, costs) = write("1", &key, "k");
    let back = Costs::read(&dir, &key, "k").expect("it was just written");
    assert_eq!((&back.measured, &back.host, back.data.rows.len()), (&costs.measured, &costs.host, 12));
    assert_eq!(back.data.profiles[3].counts.len(), 3);
    assert_eq!(costs.engines[0].engine, EngineId::EmuDbt);
    write("2", &key, "k");
    let backend = if key.kvm == KvmBackend::VtX { KvmBackend::AmdV } else { KvmBackend::VtX };
    let (other, _) = write("3", &HostKey { kvm: backend, ..key.clone() }, "k");
    let (kernel, _) = write("4", &key, "another");
    let newest = Costs::newest(results.path(), &key, "k").expect("there are two");
    assert_eq!(newest.1.measured, "2", "the newest that fits");
    let error = Costs::read(&other, &key, "k").expect_err("another backend").to_string();
    assert!(
        error.contains("are not of this host: KVM's backend was") && error.contains("leave --costs out"),
        "{error}"
    );
    let error = Costs::read(&kernel, &key, "k").expect_err("another kernel").to_string();
    assert!(error.contains("another guest kernel"), "{error}");
    let error = Costs::read(results.path(), &key, "k").expect_err("no costs").to_string();
    assert!(error.contains("holds no costs.json"), "{error}");
    std::fs::write(dir.join(COSTS_JSON), r#"{"format": 99}"#).expect("write");
    assert!(matches!(Costs::read(&dir, &key, "k"), Err(CostsError::Newer { found: 99, .. })));
}

#[test]
fn hosts_differ_by_what_touches_costs() {
    let key = HostKey { hostname: Some("a".into()), cpu: "c".into(), kernel: "Linux 1".into(), kvm: KvmBackend::Pvm };
    assert_eq!(key.difference(&key), None);
    for other in [
        HostKey { hostname: None, ..key.clone() },
        HostKey { cpu: "d".into(), ..key.clone() },
        HostKey { kernel: "Linux 2".into(), ..key.clone() },
        HostKey { kvm: KvmBackend::None, ..key.clone() },
    ] {
        assert!(key.difference(&other).is_some(), "{other:?}");
    }
}

#[test]
fn every_engine_has_events_with_names_of_their_own() {
    for engine in EngineId::ALL {
        let names: Vec<&str> = events(engine).iter().map(|event| event.name).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len(), "{engine}");
        assert!(events(engine).iter().all(|event| !event.what.is_empty()));
    }
}
