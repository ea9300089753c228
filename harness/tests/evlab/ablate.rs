//! A real ablation, the smallest there is.

use std::collections::BTreeSet;
use std::fs;

use evlab::ablation::Kind;
use evlab::model::Status;
use evlab::results::{State, read};

use crate::common::{available, evlab, run, stderr, stdout};

#[test]
fn a_small_ablation_is_complete_and_agrees() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("out");
    let output = evlab()
        .args(["ablate", "sieve", "--quick", "--size", "0.05", "--runs", "3", "--seed", "3", "--out"])
        .arg(&out)
        .output()
        .expect("start evlab");
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    for words in ["+decode", "emu-interp without mmu", "What each step is worth", "report.html"] {
        assert!(stdout(&output).contains(words), "{words}: {}", stdout(&output));
    }

    let found = read(&out).expect("readable");
    assert_eq!(found.meta.state, State::Complete);
    let plan = &found.meta.plan;
    assert_eq!(found.runs.len(), 3 * plan.cells.len());
    assert!(found.runs.iter().all(|run| run.status == Status::Ok && run.args == plan.cells[0].args.join(" ")));
    let engines: BTreeSet<String> = found.runs.iter().map(|run| run.engine.name()).collect();
    for engine in available(&["native", "kvm", "emu-naive", "emu-interp", "emu-dbt"]) {
        assert!(engines.contains(engine), "{engine}: {engines:?}");
    }
    assert!(engines.contains("emu-interp[mmu=walk]"), "{engines:?}");
    // Without a TLB the guest walks, with it hardly ever: the mechanisms did reach the CPU.
    let walks = |engine: &str| {
        let run = found.runs.iter().find(|run| run.engine.name() == engine).expect("it ran").run;
        let counter = found.counters.iter().find(|c| c.run == run && c.counter == "page.walk");
        counter.map_or(0, |counter| counter.value)
    };
    assert!(walks("emu-interp[mmu=walk]") > 100 * walks("emu-interp").max(1));

    // Again from the folder alone.
    fs::remove_file(out.join("report.html")).expect("it was rendered");
    let output = run(&["report", out.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table = fs::read_to_string(out.join("ablation.csv")).expect("the table");
    assert_eq!(table.lines().count(), 1 + plan.ablation.len());
    assert_eq!(plan.ablation.iter().filter(|step| step.kind == Kind::First).count(), 1);
    let page = fs::read_to_string(out.join("report.html")).expect("the page");
    assert!(page.contains("The software MMU") && page.contains("Waterfall of sieve"));
    assert!(out.join("plots/waterfall-sieve.png").is_file() && out.join("plots/mechanisms.svg").is_file());
}
