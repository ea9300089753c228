//! `evlab isolation`: hostile guests on every engine.

use std::io::Write;

use anyhow::{Context, bail};
use evlab::cli::IsolationArgs;
use evlab::engines::StopFlag;
use evlab::host::{self, HostInfo};
use evlab::isolation::{Attack, Files, Finding, Meta, Options, Suite, attacks};
use evlab::model::EngineId;
use evlab::report::{self, REPORT_HTML};
use evlab::results::EngineMeta;
use evlab::studio;

use super::list::{plain_table, trimmed};
use super::{Verdict, experiment};

/// Runs the attacks and prints what came of each.
pub(crate) fn execute(args: &IsolationArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let engines = studio::select("engine", &args.engines, &EngineId::ALL, |engine| engine.name())?;
    let known: Vec<&Attack> = attacks().iter().collect();
    let chosen = studio::select("attack", &args.attacks, &known, |attack| attack.name)?;
    // With --json, standard output is for JSON alone.
    let found = if args.json {
        experiment::look_for(&engines, &mut std::io::stderr())?
    } else {
        experiment::look_for(&engines, out)?
    };
    let engines = experiment::usable(&found);
    if engines.is_empty() {
        bail!("this host has none of the chosen engines; evlab doctor says how to get them");
    }
    let suite = Suite::new(options(args), stop).context("cannot prepare the suite")?;
    let host = host::describe();
    let folder =
        studio::prepare(args.out.as_deref(), host.hostname.as_deref().unwrap_or_default(), jiff::Timestamp::now())?;
    let dir = folder.path.clone();
    let mut files = match Files::create(&dir, &meta(args, chosen.len() * engines.len(), found, &host)?) {
        Ok(files) => files,
        Err(error) => {
            folder.discard();
            return Err(error.into());
        }
    };
    let mut findings = Vec::new();
    let mut interrupted = false;
    for (attack, engine) in chosen.iter().flat_map(|attack| engines.iter().map(move |&engine| (attack, engine))) {
        let finding =
            suite.run(engine, attack, stop).with_context(|| format!("cannot run {} on {engine}", attack.name))?;
        // Of what was cut short nothing can be said.
        interrupted = stop.is_stopped();
        if interrupted {
            break;
        }
        if !args.json && finding.contained == Some(false) {
            writeln!(out, "{} on {engine}: not contained: {}", attack.name, finding.breaches.join("; "))?;
        }
        files.append(&finding)?;
        findings.push(finding);
    }
    report::render_isolation(&dir)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &findings)?;
        writeln!(out)?;
    } else {
        print(&findings, out)?;
        writeln!(out, "report: {}", dir.join(REPORT_HTML).display())?;
    }
    if interrupted {
        return Ok(Verdict::Interrupted);
    }
    let bad = findings.iter().any(|finding| finding.contained == Some(false));
    Ok(if bad { Verdict::Bad } else { Verdict::Well })
}

/// What the findings rest on.
fn meta(args: &IsolationArgs, planned: usize, engines: Vec<EngineMeta>, host: &HostInfo) -> anyhow::Result<Meta> {
    Ok(Meta {
        format: Meta::FORMAT,
        tool: experiment::tool(),
        started: jiff::Timestamp::now().to_string(),
        sandbox: !args.sandbox.no_sandbox,
        planned,
        engines,
        host: serde_json::to_value(host).context("cannot describe this host")?,
    })
}

/// Prints how each attack ended, and whether all were contained.
pub(super) fn print(findings: &[Finding], out: &mut dyn Write) -> std::io::Result<()> {
    let engines: Vec<EngineId> =
        EngineId::ALL.into_iter().filter(|&engine| findings.iter().any(|f| f.engine == engine)).collect();
    let mut attacks: Vec<&str> = Vec::new();
    for finding in findings {
        if !attacks.contains(&finding.attack.as_str()) {
            attacks.push(&finding.attack);
        }
    }
    let mut table = plain_table();
    table.set_header(std::iter::once("ATTACK").chain(engines.iter().map(|engine| engine.name())));
    for attack in attacks {
        let cells = engines.iter().map(|&engine| {
            let finding = findings.iter().find(|f| f.attack == attack && f.engine == engine);
            finding.map_or_else(String::new, cell)
        });
        table.add_row(std::iter::once(attack.to_owned()).chain(cells));
    }
    writeln!(out, "{}\n", trimmed(&table))?;
    let tried = findings.iter().filter(|finding| finding.contained.is_some()).count();
    let bad = findings.iter().filter(|finding| finding.contained == Some(false)).count();
    let checked = findings.iter().filter(|finding| finding.memory_checked).count();
    writeln!(
        out,
        "memory around guest RAM was checked in {checked} of {tried} runs; QEMU's and a Linux process's cannot be"
    )?;
    match bad {
        0 => writeln!(out, "all {tried} attacks were contained, and every guest beside them computed the right result"),
        _ => writeln!(out, "{bad} of {tried} attacks were NOT contained"),
    }
}

fn cell(finding: &Finding) -> String {
    match finding.contained {
        None => "-".to_owned(),
        Some(true) => finding.outcome.clone(),
        Some(false) => "NOT CONTAINED".to_owned(),
    }
}

/// How the guests are run, as the command line has it.
fn options(args: &IsolationArgs) -> Options {
    Options {
        no_sandbox: args.sandbox.no_sandbox,
        #[cfg(debug_assertions)]
        plant: args.plant.map(|bug| bug.name().to_owned()),
        #[cfg(not(debug_assertions))]
        plant: None,
    }
}
