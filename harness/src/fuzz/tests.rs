//! The oracle as a whole: the corpus holds, generated cases hold, and a wrong engine is found out.

use std::path::Path;

use emu_min::{Config, Model};

use super::*;
use crate::exec::{self, Engine, ExecError, FinalState, Runner, Snippet};

fn campaign(engines: [Engine; 2], cases: u64, open: Opener) -> Campaign {
    let features = emulated(Model::highest()).unwrap().common(&host());
    let limits = Limits { cases: Some(cases), time: None, findings: 3, threads: 2 };
    Campaign {
        seed: 1,
        engines,
        cpus: engines.map(|engine| engine.config(Model::highest())),
        limits,
        catalog: Catalog::new(&features),
        open,
    }
}

fn replay_corpus(engines: [Engine; 2]) {
    if let Some(Err(error)) =
        engines.map(|engine| exec::open(engine, engine.config(Model::highest()))).into_iter().find(Result::is_err)
    {
        eprintln!("skipped: {error}");
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let cases = corpus::load(&folder).unwrap();
    assert!(cases.len() > 100, "{} holds {} cases", folder.display(), cases.len());
    let campaign = campaign(engines, 0, exec::open);
    let mut wrong = Vec::new();
    for (path, case) in cases {
        if let Some(finding) = campaign.replay(&case).unwrap() {
            wrong.push(format!("{}: {:?}", path.display(), finding.differences));
        }
    }
    assert!(wrong.is_empty(), "{} of the corpus diverge:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_corpus_holds_against_this_processor() {
    replay_corpus([Engine::Native, Engine::EmuInterp]);
}

#[test]
fn the_corpus_holds_between_the_tiers() {
    replay_corpus([Engine::EmuNaive, Engine::EmuInterp]);
}

#[test]
fn generated_cases_hold_between_the_tiers() {
    let tally = campaign([Engine::EmuNaive, Engine::EmuInterp], 5000, exec::open).run(|| false, |_| {}).unwrap();
    assert_eq!(tally.cases, 5000);
    let texts: Vec<_> = tally.findings.iter().map(|f| (corpus::disassemble(&f.case.code), &f.differences)).collect();
    assert!(texts.is_empty(), "{texts:?}");
}

/// emu-min, but for BSWAP, after which the lowest bit of RAX is wrong.
struct Liar(Box<dyn Runner>);

impl Runner for Liar {
    fn engine(&self) -> Engine {
        Engine::EmuNaive
    }

    fn run(&mut self, snippet: &Snippet) -> Result<FinalState, ExecError> {
        let mut state = self.0.run(snippet)?;
        let len = usize::try_from(state.registers.rip.wrapping_sub(snippet.registers.rip)).unwrap_or(0).min(64);
        let code = exec::final_bytes(snippet, &state.memory, snippet.registers.rip, len);
        if state.end == exec::End::Hlt && Case::of(snippet.clone(), code.len()).code.iter().any(is_bswap) {
            state.registers.gprs[0] ^= 1;
        }
        Ok(state)
    }
}

fn is_bswap(instruction: &iced_x86::Instruction) -> bool {
    instruction.mnemonic() == iced_x86::Mnemonic::Bswap
}

fn open_liar(engine: Engine, cpu: Config) -> Result<Box<dyn Runner>, ExecError> {
    let runner = exec::open(engine, cpu)?;
    Ok(if engine == Engine::EmuNaive { Box::new(Liar(runner)) } else { runner })
}

#[test]
fn a_planted_divergence_is_found_and_shrunk_to_its_instruction() {
    let mut campaign = campaign([Engine::EmuInterp, Engine::EmuNaive], 100_000, open_liar);
    campaign.catalog = campaign.catalog.only(&["bswap".into(), "add".into(), "mov".into(), "imul".into()]).unwrap();
    let tally = campaign.run(|| false, |_| {}).unwrap();
    let finding = tally.findings.first().expect("the planted divergence is found");
    assert!(matches!(&finding.case.code[..], [only] if is_bswap(only)), "{:?}", finding.case.code);
    assert_eq!(finding.differences.len(), 1, "{:?}", finding.differences);
    assert!(finding.differences[0].what.ends_with("ax"), "{:?}", finding.differences);
    assert_eq!(finding.case.snippet.registers.ymm, [[0; 2]; 16]);
}
