//! `evlab doctor`: the host, its engines, and what to do about those it lacks.

use std::io::{self, Write};

use anyhow::bail;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, LineStyle, Table};
use serde::Serialize;

use evlab::cli::DoctorArgs;
use evlab::engines::{Availability, all};
use evlab::host::{self, HostInfo, Installed};
use evlab::model::EngineId;

use super::Verdict;

/// One engine, as `--json` prints it.
#[derive(Debug, Serialize)]
struct EngineRow {
    id: EngineId,
    available: bool,
    version: Option<String>,
    reason: Option<String>,
    fix: Option<String>,
}

/// Everything, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Findings {
    host: HostInfo,
    engines: Vec<EngineRow>,
    cautions: Vec<String>,
    verdict: String,
}

/// Describes the host. It is well if the experiment can be run: natively and on at least one more engine. Otherwise the
/// command fails with exit code 2, after it has printed what it found.
pub(crate) fn execute(args: &DoctorArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    if args.install {
        // With --json, standard output is for JSON alone.
        if args.json { install(&mut io::stderr())? } else { install(out)? }
    }
    let findings = examine();
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &findings)?;
        writeln!(out)?;
    } else {
        print(&findings, out)?;
    }
    if !fit(&findings.engines) {
        out.flush()?;
        bail!("{}", findings.verdict);
    }
    Ok(Verdict::Well)
}

/// Installs what is missing and can be installed, which is QEMU.
pub(crate) fn install(out: &mut dyn Write) -> anyhow::Result<()> {
    match host::install_qemu()? {
        Installed::Already(path) => writeln!(out, "QEMU is there already: {path}")?,
        Installed::Now(path) => writeln!(out, "QEMU was installed: {path}")?,
    }
    Ok(())
}

fn examine() -> Findings {
    let host = host::describe();
    let engines: Vec<_> = all().into_iter().map(|engine| row(engine.id(), engine.availability())).collect();
    Findings { cautions: host.cautions(), verdict: verdict(&engines), host, engines }
}

fn row(id: EngineId, availability: Availability) -> EngineRow {
    match availability {
        Availability::Available { version } => {
            EngineRow { id, available: true, version: Some(version), reason: None, fix: None }
        }
        Availability::Missing { reason, fix } => {
            EngineRow { id, available: false, version: None, reason: Some(reason), fix: Some(fix) }
        }
    }
}

/// Whether the experiment can be run: it compares, so it takes two.
fn fit(engines: &[EngineRow]) -> bool {
    let there = |id| engines.iter().any(|engine| engine.id == id && engine.available);
    there(EngineId::Native) && engines.iter().filter(|engine| engine.available).count() >= 2
}

fn verdict(engines: &[EngineRow]) -> String {
    let missing: Vec<_> = engines.iter().filter(|engine| !engine.available).map(|engine| engine.id.name()).collect();
    match (fit(engines), missing.as_slice()) {
        (true, []) => "every engine is there: run 'evlab studio'".to_owned(),
        (true, missing) => {
            format!("the experiment runs without {}; 'evlab studio' says so in its report", missing.join(", "))
        }
        (false, _) => "too few engines: the experiment needs native and one more".to_owned(),
    }
}

fn print(findings: &Findings, out: &mut dyn Write) -> io::Result<()> {
    let mut facts = table();
    for (name, value) in facts_of(&findings.host) {
        facts.add_row([name, &value]);
    }
    writeln!(out, "{}\n", facts.trim_fmt())?;
    let mut engines = table();
    engines.set_header(["engine", "", "version, or why it is missing and what to do"]);
    for engine in &findings.engines {
        let words = [&engine.version, &engine.reason, &engine.fix].into_iter().flatten().cloned();
        let mark = if engine.available { "yes" } else { "no" };
        engines.add_row([engine.id.name(), mark, &words.collect::<Vec<_>>().join("; ")]);
    }
    writeln!(out, "{}\n", engines.trim_fmt())?;
    for caution in &findings.cautions {
        writeln!(out, "caution: {caution}")?;
    }
    writeln!(out, "{}", findings.verdict)
}

fn table() -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()))
        .set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// The host's facts as rows.
fn facts_of(host: &HostInfo) -> Vec<(&'static str, String)> {
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
    let kvm = match (host.kvm.backend, host.kvm.nested) {
        (backend, Some(true)) => format!("{backend}, nested"),
        (backend, _) => backend.to_string(),
    };
    let virtualization = match (host.virtualization.guest, &host.virtualization.product) {
        (true, Some(product)) => format!("a virtual machine ({product})"),
        (true, None) => "a virtual machine".to_owned(),
        (false, Some(product)) => format!("bare hardware ({product})"),
        (false, None) => "bare hardware".to_owned(),
    };
    vec![
        ("host", known(&host.hostname)),
        ("cpu", format!("{} ({}), {} logical cores", host.cpu.model, host.cpu.vendor, host.cpu.cores)),
        ("memory", format!("{} MiB", host.memory_mib)),
        ("kernel", host.kernel.clone()),
        ("distribution", known(&host.distribution)),
        ("runs on", virtualization),
        ("kvm backend", format!("{kvm}\n{}", host.kvm.evidence)),
        ("qemu", host.qemu.clone().unwrap_or_else(|| "not installed".to_owned())),
        ("sandbox", host.sandbox.clone()),
        ("governor", host.governor.clone().unwrap_or_else(|| "none (no frequency scaling)".to_owned())),
        ("load", host.load.map(|load| format!("{load:.2}")).join(" ")),
        ("huge pages", known(&host.transparent_hugepages)),
        ("clock source", known(&host.clocksource)),
        ("tsc", format!("{:.3} GHz", f64::from(host.tsc_khz) / 1e6)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(missing: &[EngineId]) -> Vec<EngineRow> {
        EngineId::ALL
            .into_iter()
            .map(|id| {
                let there = Availability::Available { version: "1".to_owned() };
                let gone = Availability::Missing { reason: "it is gone".to_owned(), fix: "get it".to_owned() };
                row(id, if missing.contains(&id) { gone } else { there })
            })
            .collect()
    }

    #[test]
    fn the_verdict_counts_engines() {
        assert!(verdict(&rows(&[])).starts_with("every engine"));
        let some = verdict(&rows(&[EngineId::QemuTcg, EngineId::Kvm]));
        assert!(some.contains("without kvm, qemu-tcg"), "{some}");
        assert!(!fit(&rows(&[EngineId::Native])));
        assert!(!fit(&rows(&EngineId::ALL[1..])));
        assert!(fit(&rows(&EngineId::ALL[2..])));
    }

    #[test]
    fn everything_found_is_printed() {
        let engines = rows(&[EngineId::QemuKvm]);
        let host = host::describe();
        let findings =
            Findings { cautions: vec!["mind the gap".to_owned()], verdict: verdict(&engines), host, engines };
        let mut text = Vec::new();
        print(&findings, &mut text).expect("a vector takes everything");
        let text = String::from_utf8(text).expect("it is text");
        for word in ["kvm backend", "emu-interp", "it is gone; get it", "caution: mind the gap", "without qemu-kvm"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let json = serde_json::to_value(&findings).expect("it is plain data");
        assert_eq!(json["engines"][2]["reason"], "it is gone");
        assert!(json["host"]["cpu"]["model"].is_string());
    }
}
