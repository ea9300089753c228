use super::*;
use crate::report::{charts, data::Data, synthetic};

fn render(experiment: &Experiment) -> String {
    let data = Data::new(experiment);
    page(&data, &charts::all(&data)).unwrap()
}

/// The page without its charts, whose coordinates would drown the text.
fn text(html: &str) -> String {
    let mut out = String::new();
    let mut rest = html;
    while let Some((before, chart)) = rest.split_once("<svg") {
        out.push_str(before);
        rest = chart.split_once("</svg>").unwrap().1;
    }
    out + rest
}

fn section<'a>(page: &'a str, id: &str) -> &'a str {
    let from = page.find(&format!("<section id=\"{id}\"")).unwrap();
    let to = page[from..].find("</section>").unwrap();
    &page[from..from + to]
}

#[test]
fn sections_of_a_full_experiment() {
    let page = text(&render(&synthetic::full()));
    for id in ["verdict", "why", "agreement", "clocks", "engines", "method"] {
        insta::assert_snapshot!(format!("full-{id}"), section(&page, id));
    }
}

#[test]
fn an_ablation_says_what_each_mechanism_is_worth() {
    let page = text(&render(&synthetic::ablation()));
    insta::assert_snapshot!("ablation-mechanisms", section(&page, "mechanisms"));
    insta::assert_snapshot!("ablation-verdict", section(&page, "verdict"));
    // Charts and tables that compare engines show the engines as they are; the runs are all there.
    assert!(
        !section(&page, "slowdown").contains("emu-interp[") && section(&page, "runs").contains("emu-interp[mmu=walk]")
    );
    assert!(section(&page, "method").contains("evlab ablate sieve,bytecode,syscall,port_io --runs 3"));
    assert!(!text(&render(&synthetic::full())).contains("<section id=\"mechanisms\""));
}

#[test]
fn the_emulators_counters_stand_side_by_side() {
    let page = text(&render(&synthetic::full()));
    let time = section(&page, "time");
    insta::assert_snapshot!(
        "full-translators",
        time[time.find("<h3>What emu-min").unwrap()..time.find("Every counter").unwrap()]
            .lines()
            .take(12)
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert!(time.contains("total.jit.tb_count"));
    let page = text(&render(&synthetic::ablation()));
    let time = section(&page, "time");
    assert!(time.contains("99.0%") && time.contains("cr3 4"), "{time}");
}

#[test]
fn exits_and_time_are_taken_apart() {
    let page = text(&render(&synthetic::full()));
    let exits = section(&page, "exits");
    let rows = |section: &str, label: &str, workload: &str| {
        let table = &section[section.find(&format!("aria-label=\"{label}\"")).unwrap()..];
        let table = &table[..table.find("</table>").unwrap()];
        let kept = |line: &&str| line.contains("<thead>") || line.contains(workload);
        table.lines().filter(kept).collect::<Vec<_>>().join("\n")
    };
    let latencies = rows(exits, "Exits by reason, with their latencies", ">port_io<");
    insta::assert_snapshot!("full-exit-times", latencies);
    let kvm = rows(exits, "What KVM counted", "<td");
    insta::assert_snapshot!("full-kvm-statistics", kvm);
    let time = section(&page, "time");
    insta::assert_snapshot!("full-quadrants", rows(time, "Guest and host, user and kernel", ">syscall<"));
    assert!(time.contains("On PVM the guest&#39;s kernel is emulated by the host&#39;s"), "its method is given");
}

#[test]
fn chosen_mechanisms_are_named() {
    let mut experiment = synthetic::full();
    experiment.meta.plan.emu = Some("link=off".into());
    let unlinked = crate::model::Setup::new(crate::model::EngineId::EmuInterp, "link=off").unwrap();
    for cell in experiment.meta.plan.cells.iter_mut().filter(|c| c.engine.id == unlinked.id) {
        cell.engine = unlinked;
    }
    for run in experiment.runs.iter_mut().filter(|r| r.engine.id == unlinked.id) {
        run.engine = unlinked;
    }
    let page = text(&render(&experiment));
    assert!(section(&page, "slowdown").contains("emu-interp[link=off]"));
    let method = section(&page, "method");
    assert!(method.contains("--engines native,kvm,qemu-kvm,emu-dbt,emu-interp,") && method.contains("--emu link=off"));
}

#[test]
fn nothing_is_fetched() {
    for experiment in [synthetic::full(), synthetic::hostile(), synthetic::empty(), synthetic::hostile_ablation()] {
        let page = render(&experiment).replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for outside in ["http://", "https://", "src=", "@import", "url(", "<link", "<iframe"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}

#[test]
fn an_empty_experiment_says_so() {
    let page = text(&render(&synthetic::empty()));
    assert!(page.contains("No run has ended yet, so there is nothing to judge."));
    assert!(page.contains("still running, or was killed: 0 of"));
    assert!(!page.contains("<figure>"));
}

#[test]
fn a_partial_experiment_shows_what_it_has() {
    let page = text(&render(&synthetic::partial()));
    assert!(page.contains("was interrupted: 50 of"));
    assert!(page.contains("<code>qemu-tcg</code>: qemu-system-x86_64 is not installed. To get it: apt-get install"));
    assert!(page.contains("the last line is torn and left out"));
}

#[test]
fn a_mismatch_is_loud() {
    let page = text(&render(&synthetic::mismatch()));
    let alert = "qsort computed something else on emu-interp than the other engines: its times are void.";
    assert!(page.contains(alert));
    assert!(section(&page, "agreement").contains("MISMATCH") && page.contains("bad0bad0bad0bad0"));
    assert!(section(&page, "slowdown").contains("5 × MISMATCH"));
    assert!(page.contains("5 runs failed") && page.contains("the guest ended with code 139"));
}

#[test]
fn a_clock_that_disagrees_is_flagged() {
    let page = text(&render(&synthetic::mismatch()));
    let clocks = section(&page, "clocks");
    assert!(clocks.contains("In 5 of") && clocks.contains("Runs whose clocks disagree"), "{clocks}");
    assert!(clocks.contains("+11.11%"), "{clocks}");
    let page = text(&render(&synthetic::full()));
    let clocks = section(&page, "clocks");
    assert!(clocks.contains("In 0 of") && !clocks.contains("Runs whose clocks"), "{clocks}");
    assert!(clocks.contains("The empty region of interest, by both clocks"), "{clocks}");
}

#[test]
fn pvm_is_never_shown_as_hardware_virtualization() {
    assert!(render(&synthetic::full()).contains("not hardware-assisted"));
    let with = |kvm: serde_json::Value| {
        let mut experiment = synthetic::full();
        experiment.meta.host = serde_json::json!({ "kvm": kvm });
        text(&render(&experiment))
    };
    let verdict = with(serde_json::json!({ "backend": "VT-x", "nested": false }));
    assert!(!section(&verdict, "verdict").contains("box note"));
    let verdict = with(serde_json::json!({ "backend": "AMD-V", "nested": true }));
    assert!(section(&verdict, "verdict").contains("Nested virtualization."));
    let verdict = with(serde_json::json!({ "backend": "unknown" }));
    assert!(section(&verdict, "verdict").contains("Unknown KVM backend."));
}

#[test]
fn hostile_texts_stay_texts() {
    let page = render(&synthetic::hostile());
    assert_eq!(page.matches("<script").count(), 1, "only the page's own");
    assert!(page.contains("&#60;script&#62;") || page.contains("&lt;script&gt;"));
    assert!(!page.contains("<b>"));
    let page = render(&synthetic::hostile_ablation());
    assert!(page.matches("<script").count() == 1 && !page.contains("<b>"));
}

#[test]
fn every_chart_has_a_name_and_every_section_a_heading() {
    let page = render(&synthetic::full());
    assert_eq!(page.matches("<svg ").count(), page.matches("<svg role=\"img\" aria-label=\"").count());
    assert_eq!(page.matches("<section ").count(), page.matches("<h2 ").count());
    assert_eq!(page.matches("<figure>").count(), page.matches("<figcaption>").count());
}
