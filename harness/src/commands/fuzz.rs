//! `evlab fuzz`: random machine code on two engines.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, anyhow};
use evlab::engines::StopFlag;
use evlab::exec::{describe, open};
use evlab::fuzz::{self, Campaign, Catalog, Finding, FuzzArgs, Limits, Progress, Tally, corpus};
use indicatif::{ProgressBar, ProgressStyle};

use super::Verdict;

/// Seconds without --seconds and --cases.
const DEFAULT_SECONDS: u64 = 60;

/// Replays the corpus, then runs random cases.
pub(crate) fn execute(args: &FuzzArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let engines = args.pair().map_err(|sentence| anyhow!(sentence))?;
    let cpu = args.cpu.model(engines.map(evlab::exec::Engine::has_emulated_cpu))?;
    let setups = args.emu.setups(engines.map(evlab::exec::Engine::id))?;
    let features = fuzz::emulated(cpu)?.common(&fuzz::host());
    let catalog = Catalog::new(&features).only(&args.only)?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let threads = match args.threads {
        Some(threads) => threads as usize,
        None => evlab::host::processors(),
    };
    let seconds = args.seconds.or(args.cases.is_none().then_some(DEFAULT_SECONDS));
    let limits =
        Limits { cases: args.cases, time: seconds.map(Duration::from_secs), findings: args.findings as usize, threads };
    let cpus = [setups[0].config(cpu), setups[1].config(cpu)];
    let campaign = Campaign { seed, engines, cpus, limits, catalog, open };

    writeln!(out, "{} against {}, CPU model {cpu}, seed {seed}, {threads} threads", setups[1], setups[0])?;
    let mut found = 0;
    let cases = corpus::load(&args.corpus)?;
    for (path, case) in &cases {
        if let Some(finding) = campaign.replay(case)? {
            found += 1;
            print(out, &finding, engines.map(evlab::exec::Engine::name))?;
            writeln!(out, "  case {}\n", path.display())?;
        }
    }
    writeln!(out, "corpus: {} cases, {found} diverge", cases.len())?;

    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg}")?);
    let tally = campaign.run(
        || stop.is_stopped(),
        |progress| {
            bar.set_message(line(&progress));
            bar.tick();
        },
    )?;
    bar.finish_and_clear();
    for finding in &tally.findings {
        print(out, finding, engines.map(evlab::exec::Engine::name))?;
        let about = format!("{} and {} diverged at seed {seed}", engines[0], engines[1]);
        writeln!(out, "  written to {}\n", corpus::save(&args.out, &finding.case, &about)?.display())?;
    }
    summarize(out, &tally)?;
    if let Some(path) = &args.coverage {
        let how = format!(
            "`evlab fuzz --engines {},{} --cpu {cpu} --cases {} --seed {seed} --coverage FILE` on {}; {} kinds of divergence.",
            engines[0],
            engines[1],
            tally.cases,
            fuzz::processor(),
            tally.findings.len()
        );
        let text = tally.coverage.markdown(&campaign.catalog, &how);
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let missing = tally.coverage.missing(&campaign.catalog).len();
        writeln!(out, "coverage written to {}; encodings without a case: {missing}", path.display())?;
    }
    Ok(match (found + tally.findings.len(), stop.is_stopped()) {
        (0, false) => Verdict::Well,
        (0, true) => Verdict::Interrupted,
        _ => Verdict::Bad,
    })
}

fn line(progress: &Progress) -> String {
    let seconds = progress.elapsed.as_secs_f64();
    let rate = progress.cases as f64 / seconds.max(0.001);
    format!("{} cases, {rate:.0}/s, {seconds:.0} s, {} divergences", progress.cases, progress.findings)
}

fn summarize(out: &mut dyn Write, tally: &Tally) -> anyhow::Result<()> {
    let seconds = tally.elapsed.as_secs_f64();
    let rate = tally.cases as f64 / seconds.max(0.001);
    writeln!(out, "{} cases in {seconds:.1} s, {rate:.0}/s; {} divergences", tally.cases, tally.findings.len())?;
    if tally.repeated > 0 {
        writeln!(out, "  {} more of the same kinds", tally.repeated)?;
    }
    for (reason, count) in &tally.unjudged {
        writeln!(out, "  {count} not judged: {reason}")?;
    }
    Ok(())
}

/// A divergence for readers: code, initial state, what differs, both final states.
fn print(out: &mut dyn Write, finding: &Finding, names: [&str; 2]) -> anyhow::Result<()> {
    let file = corpus::CaseFile::of(&finding.case, "");
    match finding.index {
        Some(index) => writeln!(out, "divergence at case {index}, {}-bit code {}", file.mode, file.code)?,
        None => writeln!(out, "divergence in the corpus, {}-bit code {}", file.mode, file.code)?,
    }
    for text in &file.disassembly {
        writeln!(out, "    {text}")?;
    }
    for (name, value) in &file.registers {
        writeln!(out, "  before: {name} = {value}")?;
    }
    for (address, bytes) in &file.memory {
        writeln!(out, "  before: [{address}] = {bytes}")?;
    }
    for difference in &finding.differences {
        writeln!(out, "  {}: {} {} != {} {}", difference.what, names[0], difference.left, names[1], difference.right)?;
    }
    for (name, state) in names.iter().zip(&finding.states) {
        writeln!(out, "  after, {name}: {}", describe(state, finding.case.snippet.mode))?;
    }
    Ok(())
}
