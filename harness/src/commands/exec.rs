//! `evlab exec`: raw machine code on one or several engines, and what differs.

use std::io::Write;

use anyhow::Context;
use emu_min::Model;
use evlab::exec::{Difference, ExecArgs, FinalState, Mode, Scope, Snippet, describe, differences, open, to_json};
use evlab::fuzz::{self, Catalog, Judge};
use serde_json::{Value, json};

use super::Verdict;

/// Executes the code on each engine.
pub(crate) fn execute(args: &ExecArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let snippet = args.snippet()?;
    snippet.validate()?;
    let cpu = args.cpu.model(args.engine.iter().map(|engine| engine.has_emulated_cpu()))?;
    let setups = args.emu.setups(args.engine.iter().map(|engine| engine.id()))?;
    let mut states = Vec::with_capacity(args.engine.len());
    for (&engine, setup) in args.engine.iter().zip(setups) {
        states.push((engine, open(engine, setup.config(cpu))?.run(&snippet)?));
    }
    let Some(((first, reference), others)) = states.split_first() else { return Ok(Verdict::Well) };

    let mut defined = Vec::new();
    let mut undefined = Vec::new();
    for (engine, state) in others {
        for (difference, is_defined) in compare(&snippet, cpu, reference, state)? {
            if is_defined { &mut defined } else { &mut undefined }.push((*engine, difference));
        }
    }
    if args.json {
        let list: Vec<Value> = states.iter().map(|(engine, state)| to_json(*engine, snippet.mode, state)).collect();
        let value = match &list[..] {
            [only] => only.clone(),
            _ => {
                let rows = |found: &[(_, Difference)]| -> Vec<Value> {
                    found.iter().map(|(engine, d)| row(*first, *engine, d)).collect()
                };
                json!({ "engines": list, "differences": rows(&defined), "undefined": rows(&undefined) })
            }
        };
        serde_json::to_writer_pretty(&mut *out, &value).context("cannot write the JSON")?;
        writeln!(out)?;
    } else {
        print(out, &states, snippet.mode)?;
        for (title, found) in [("differs", &defined), ("differs, where no manual defines it", &undefined)] {
            for (engine, difference) in found {
                writeln!(out, "{title}, {first} != {engine}: {difference}")?;
            }
        }
        if !others.is_empty() && defined.is_empty() {
            writeln!(out, "all engines agree")?;
        }
    }
    Ok(if defined.is_empty() { Verdict::Well } else { Verdict::Bad })
}

fn row(first: evlab::exec::Engine, engine: evlab::exec::Engine, difference: &Difference) -> Value {
    json!({
        "what": difference.what,
        first.name(): difference.left,
        engine.name(): difference.right,
    })
}

/// What differs, and whether a manual defines it.
fn compare(
    snippet: &Snippet,
    cpu: Model,
    left: &FinalState,
    right: &FinalState,
) -> anyhow::Result<Vec<(Difference, bool)>> {
    let found = differences(left, right, snippet.mode, &Scope::default());
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let features = fuzz::emulated(cpu)?.common(&fuzz::host());
    let verdict = Judge::new(Catalog::new(&features)).judge(snippet, left, right);
    let defined = match verdict {
        fuzz::Verdict::Same => Vec::new(),
        fuzz::Verdict::Unjudged(_) => found.clone(),
        fuzz::Verdict::Different(defined) => defined,
    };
    let is_defined = |difference: &Difference| defined.iter().any(|d| d.what == difference.what);
    Ok(found.into_iter().map(|difference| (difference.clone(), is_defined(&difference))).collect())
}

fn print(out: &mut dyn Write, states: &[(evlab::exec::Engine, FinalState)], mode: Mode) -> anyhow::Result<()> {
    for (engine, state) in states {
        writeln!(out, "{engine}: {}", describe(state, mode))?;
    }
    Ok(())
}
