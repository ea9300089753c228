//! `evlab explain`: where the time of a program goes.

use std::io::Write;

use anyhow::bail;
use evlab::cli::ExplainArgs;
use evlab::engines::StopFlag;
use evlab::explain::{Account, Model, reason};
use evlab::model::EngineId;
use evlab::report::units;
use serde_json::json;
use workloads::Profile;

use super::list::{plain_table, trimmed};
use super::model::{self, Sampled};
use super::run::program;
use super::{Verdict, profile};

/// Events with less than this share of the time are told together.
const SMALL: f64 = 0.01;
/// Characters of a bar for the whole time.
const BAR: f64 = 40.0;

/// Measures the program and prints its account on each engine.
pub(crate) fn execute(args: &ExplainArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    // A wrong name is told before minutes of measuring.
    program(&args.workload, &args.args, profile::RAM_MIB, 1.0, Profile::Full)?;
    let mut errors = std::io::stderr();
    let notes: &mut dyn Write = if args.json { &mut errors } else { out };
    let Some(found) = model::find(&args.costs, &args.engines, &args.sandbox, stop, notes)? else {
        return Ok(Verdict::Interrupted);
    };
    // Native is what the others are compared with.
    let mut measured = found.engines.clone();
    if !measured.contains(&EngineId::Native) && found.costs.data.engines().contains(&EngineId::Native) {
        measured.insert(0, EngineId::Native);
    }
    let sampled =
        model::sample(&args.workload, &args.args, &measured, args.runs, args.costs.seed, &args.sandbox, stop)?;
    if stop.is_stopped() {
        return Ok(Verdict::Interrupted);
    }
    let accounts: Vec<Account> = sampled
        .rows
        .iter()
        .filter_map(|row| {
            let model = Model::fit(row.engine, &found.costs.data, None)?;
            Some(Account::of(&model, &sampled.profile, row.ns, row.n))
        })
        .collect();
    if accounts.is_empty() {
        match sampled.problems.first() {
            Some(problem) => bail!("{problem}"),
            None => bail!("{} runs on none of the chosen engines; evlab list says which do", args.workload),
        }
    }
    let native = accounts.iter().find(|account| account.engine == EngineId::Native);
    let shown = accounts.iter().filter(|account| found.engines.contains(&account.engine));
    if args.json {
        let explained = shown.map(|account| json!({ "account": account, "reason": reason(account, native) }));
        let all = json!({
            "workload": args.workload,
            "args": sampled.args,
            "costs": { "measured": found.costs.measured, "host": found.costs.host },
            "profile": sampled.profile.counts,
            "engines": explained.collect::<Vec<_>>(),
            "problems": sampled.problems,
        });
        serde_json::to_writer_pretty(&mut *out, &all)?;
        writeln!(out)?;
    } else {
        head(args, &sampled, out)?;
        for account in shown {
            print(account, out)?;
            writeln!(out, "{}\n", reason(account, native))?;
        }
        for problem in &sampled.problems {
            writeln!(out, "{problem}")?;
        }
    }
    Ok(if sampled.problems.is_empty() { Verdict::Well } else { Verdict::Bad })
}

fn head(args: &ExplainArgs, sampled: &Sampled, out: &mut dyn Write) -> std::io::Result<()> {
    let words: Vec<&str> =
        std::iter::once(args.workload.as_str()).chain(sampled.args.iter().map(String::as_str)).collect();
    writeln!(
        out,
        "{}: {} instructions, {} of them in ring 0\n",
        words.join(" "),
        units::short(sampled.profile.count("instructions")),
        units::short(sampled.profile.count("ring0.instructions"))
    )
}

fn print(account: &Account, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{}: {}, the median of {} runs; {} explained",
        account.engine,
        units::time(account.ns),
        account.n,
        units::percent(account.explained)
    )?;
    let mut table = plain_table();
    table.set_header(["EVENT", "COUNT", "EACH", "TIME", "SHARE", ""]);
    let (large, small): (Vec<_>, Vec<_>) = account.items.iter().partition(|item| item.share >= SMALL);
    for item in large {
        table.add_row([
            item.what.to_owned(),
            units::short(item.count),
            units::time(item.each_ns),
            units::time(item.ns),
            units::percent(item.share),
            bar(item.share),
        ]);
    }
    let mut without_count = |what: &str, ns: f64| {
        let share = ns / account.ns;
        table.add_row([
            what.to_owned(),
            String::new(),
            String::new(),
            units::time(ns),
            units::percent(share),
            bar(share),
        ]);
    };
    if !small.is_empty() {
        without_count("other events", small.iter().map(|item| item.ns).sum());
    }
    without_count(if account.rest_ns < 0.0 { "rest (too much above)" } else { "rest" }, account.rest_ns);
    writeln!(out, "{}", trimmed(&table))
}

/// A share of the time; what is too much is hollow.
fn bar(share: f64) -> String {
    let length = (share.abs() * BAR).round().min(2.0 * BAR) as usize;
    if share < 0.0 { "-" } else { "#" }.repeat(length)
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn bars_are_as_long_as_shares() {
        assert_eq!([bar(0.5).len(), bar(0.0).len(), bar(-0.1).len(), bar(99.0).len()], [20, 0, 4, 80]);
        assert!(bar(-0.1).starts_with('-') && bar(0.1).starts_with('#'));
    }
}
