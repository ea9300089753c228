use std::sync::LazyLock;

use super::*;
use crate::report::companions::{Companions, Found};
use crate::report::{charts, data::Data, synthetic};
use crate::{isolation, micro};

/// A text that tries to break out of the page.
const EVIL: &str = "</td></table></svg></style></script><script>alert(1)</script><b onclick=x>\"'&";

fn render(experiment: &Experiment) -> String {
    let data = Data::new(experiment);
    page(&data, &charts::all(&data)).unwrap()
}

/// The page with what other commands measured.
fn render_with(experiment: &Experiment, companions: Companions) -> String {
    let data = Data::new(experiment).beside(companions);
    page(&data, &charts::all(&data)).unwrap()
}

/// Micro-benchmarks and findings of the host.
fn companions(experiment: &Experiment) -> Companions {
    let host = &experiment.meta.host;
    Companions {
        micro: Some(Found { dir: "m".into(), content: micro::made(host.clone()) }),
        isolation: Some(Found { dir: "i".into(), content: isolation::made(host.clone()) }),
        warnings: Vec::new(),
    }
}

fn hostile_companions() -> Companions {
    let mut companions = companions(&synthetic::hostile());
    if let Some(micro) = &mut companions.micro {
        micro.content.meta.tool = EVIL.into();
        micro.content.meta.started = EVIL.into();
        micro.content.cells[0].note = Some(EVIL.into());
    }
    if let Some(isolation) = &mut companions.isolation {
        isolation.content.meta.tool.version = EVIL.into();
        isolation.content.findings[0].attack = EVIL.into();
        isolation.content.findings[0].outcome = EVIL.into();
        isolation.content.findings[1].contained = Some(false);
        isolation.content.findings[1].breaches = vec![EVIL.into()];
    }
    companions.warnings.push(EVIL.into());
    companions
}

/// Every kind of page, rendered once for all tests.
static PAGES: LazyLock<Vec<(&str, String)>> = LazyLock::new(|| {
    let full = synthetic::full();
    let mut pages: Vec<(&str, String)> = vec![
        ("full", render_with(&full, companions(&full))),
        ("hostile", render_with(&synthetic::hostile(), hostile_companions())),
        ("micro", micro(&micro::made(full.meta.host.clone())).unwrap()),
        ("isolation", isolation(&isolation::made(full.meta.host.clone())).unwrap()),
    ];
    let others = [
        synthetic::partial(),
        synthetic::empty(),
        synthetic::mismatch(),
        synthetic::ablation(),
        synthetic::hostile_ablation(),
    ];
    pages.extend(others.iter().map(|experiment| ("other", render(experiment))));
    pages
});

/// Fails where a tag is not closed, or closed by another's end.
fn assert_balanced(page: &str) {
    const VOID: [&str; 4] = ["meta", "input", "br", "link"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if rest.starts_with('!') {
            continue;
        }
        let end = rest.find('>').expect("a tag ends");
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap_or_default();
        rest = after;
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "before {rest:.80}");
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
            if name == "style" || name == "script" {
                rest = &rest[rest.find(&format!("</{name}>")).expect("it ends")..];
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
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
    for id in ["verdict", "ladder", "why", "agreement", "clocks", "engines", "method"] {
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
    let time = section(&page, "emulators");
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
    let time = section(&page, "emulators");
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
    for (name, page) in PAGES.iter() {
        let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for outside in ["http://", "https://", "src=", "@import", "url(", "<link", "<iframe"] {
            assert!(!page.contains(outside), "{name}: {outside}");
        }
        assert!(page.contains("content=\"default-src &#39;none&#39;;"), "{name}");
    }
}

#[test]
fn the_policy_allows_the_pages_own_style_and_script() {
    use base64::Engine;
    use sha2::Digest;
    let page = render(&synthetic::full());
    for (name, directive) in [("style", "style-src"), ("script", "script-src")] {
        let (_, after) = page.split_once(&format!("<{name}>")).expect("it has one");
        let (content, _) = after.split_once(&format!("</{name}>")).expect("it ends");
        let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(content.as_bytes()));
        let (_, policy) = page.split_once(&format!("{directive} &#39;sha256-")).expect("a policy");
        assert!(policy.starts_with(&hash.replace('+', "&#43;")) || policy.starts_with(&hash), "{directive}: {hash}");
        // The policy forbids styles in attributes, so there may be none.
        assert!(!page.contains(" style=\""));
    }
}

#[test]
fn every_page_is_well_formed() {
    for (_, page) in PAGES.iter() {
        assert_balanced(page);
        assert_eq!(page.matches("<caption>").count(), page.matches("<table ").count());
        assert_eq!(page.matches("<h1>").count(), 1);
    }
}

#[test]
fn an_unbalanced_page_is_noticed() {
    assert_balanced("<!DOCTYPE html><p a=\"1\">x<br>y</p><script>if (a < b) {}</script>");
    for wrong in ["<p><b></p></b>", "<p>", "<p></p></p>"] {
        assert!(std::panic::catch_unwind(|| assert_balanced(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn what_others_measured_is_in_the_page() {
    let experiment = synthetic::full();
    let page = text(&render_with(&experiment, companions(&experiment)));
    let events = section(&page, "events");
    assert!(events.contains("evlab micro measured this on 2026-11-22 (evlab 0.1.0)"), "{events:.400}");
    assert!(
        events.contains(">syscall<")
            && events.contains(">emu-dbt<")
            && events.contains("a Linux process has no ring 0")
    );
    let attacks = section(&page, "isolation");
    assert!(attacks.contains("1 of ") && attacks.contains("NOT CONTAINED") && attacks.contains(">wild-physical<"));
    assert!(page.contains("wild-physical was not contained on emu-dbt: memory of the host was written."), "an alert");
    let without = text(&render(&experiment));
    assert!(section(&without, "events").contains("evlab micro --quick"));
    assert!(section(&without, "isolation").contains("evlab isolation"));
}

#[test]
fn warmups_and_crowds_have_pages() {
    let cell: crate::warmup::Cell = serde_json::from_value(serde_json::json!({
        "engine": "emu-dbt", "workload": EVIL, "args": [], "n": 3, "class": "warm-up",
        "classes": { "flat": 0, "warm_up": 3, "slow_down": 0, "no_steady_state": 0 },
        "steady_from": 4, "steady_ns": 1.5e6, "steady_low_ns": 1.4e6, "steady_high_ns": 1.6e6,
        "first_over_steady": 2.5, "first_over_steady_low": 2.4, "first_over_steady_high": 2.6, "note": EVIL,
    }))
    .unwrap();
    let meta = serde_json::json!({ "tool": EVIL, "started": EVIL, "runs": 3, "laps": 40, "host": { "cpu": { "model": EVIL } } });
    let page = warmup(&crate::warmup::Warmup { meta, cells: vec![cell], warnings: vec![EVIL.into()] }).unwrap();
    assert_balanced(&page);
    assert!(page.contains("3 runs of 40 laps") && page.contains("1.40–1.60 ms") && page.contains("warm-up"), "{page}");
    assert_eq!(page.matches("<script").count(), 1);
}

#[test]
fn more_runs_than_a_page_can_hold_are_cut() {
    let mut experiment = synthetic::full();
    while experiment.runs.len() <= tables::MOST_RUNS {
        experiment.runs.extend_from_within(..);
    }
    assert_eq!(tables::runs(&experiment).rows.len(), tables::MOST_RUNS);
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
    assert!(page.contains("&#60;b&#62;") || page.contains("&lt;b&gt;"));
    for (name, page) in PAGES.iter() {
        assert_eq!(page.matches("<script").count(), 1, "{name}");
        assert!(!page.contains("<b onclick") && !page.contains("alert(1)<"), "{name}");
    }
}

#[test]
fn every_chart_has_a_name_and_every_section_a_heading() {
    let page = render(&synthetic::full());
    assert_eq!(page.matches("<svg ").count(), page.matches("<svg role=\"img\" aria-label=\"").count());
    assert_eq!(page.matches("<svg ").count(), page.matches("<desc>").count());
    assert_eq!(page.matches("<section ").count(), page.matches("<h2 id").count());
    assert_eq!(page.matches("<figure>").count(), page.matches("<figcaption>").count());
}
