//! `evlab run`: one run in this process.

mod tables;

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use evlab::cli::{MachineArgs, RunArgs};
use evlab::engines::{self, Job, Program, StopFlag};
use evlab::host::KvmBackend;
use evlab::model::{Confine, EngineId, Placement, RunRequest, Setup, Status};
use evlab::studio::PlanError;
use workloads::sizes::{LAPS, LAPS_PREFIX};
use workloads::{BadValue, Param, Profile, Workload};

use super::Verdict;

/// Does the run and prints its record.
pub(crate) fn execute(args: &RunArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let engine = engine_named(&args.engine)?;
    let mut job = job(&args.workload, &args.args, engine, &args.machine, Profile::Full)?;
    job.request.placement = args.setup.map(Placement::drawn);
    // The sandbox of the run lets nobody look for it afterwards.
    let backend = KvmBackend::loaded();
    let record = engines::engine(engine).run(&job, stop)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &record)?;
        writeln!(out)?;
    } else {
        tables::print(&record, backend, out)?;
    }
    Ok(match record.status {
        Status::Ok => Verdict::Well,
        Status::Interrupted => Verdict::Interrupted,
        Status::Mismatch | Status::Failed | Status::Timeout => Verdict::Bad,
    })
}

/// The engine of that name, or a sentence with the nearest one and the list.
pub(crate) fn engine_named(name: &str) -> Result<EngineId, PlanError> {
    name.parse().map_err(|_| PlanError::unknown("engine", name, EngineId::ALL.into_iter().map(EngineId::name)))
}

/// The run that a command line asks for.
pub(super) fn job(
    workload: &str,
    args: &[String],
    engine: EngineId,
    machine: &MachineArgs,
    profile: Profile,
) -> anyhow::Result<Job<'static>> {
    let setup = match machine.emu.setups([engine])?[..] {
        [setup] => setup,
        _ => Setup::plain(engine),
    };
    let (program, words) = program(workload, args, machine.ram, machine.size, profile)?;
    let needed = workloads::find(workload).map_or(0, |workload| workload.hz);
    Ok(Job {
        request: RunRequest {
            workload: workload.to_owned(),
            args: words,
            engine: setup,
            ram_mib: machine.ram,
            timeout_s: machine.timeout,
            prefault: machine.prefault.is_on(),
            cpu: machine.model(&[engine])?,
            hz: machine.hz.unwrap_or(needed),
            deterministic: machine.deterministic,
            profile: None,
            placement: None,
            confine: Confine { sandbox: machine.sandbox.choice(), ..Confine::default() },
        },
        program,
        kernel: workloads::kernel(),
    })
}

/// The program and its arguments: from the catalogue, or from a file.
///
/// The machine has so much RAM, MiB; the work of the catalogue is that of the profile times `size`.
pub(crate) fn program(
    name: &str,
    args: &[String],
    ram_mib: u32,
    size: f64,
    profile: Profile,
) -> anyhow::Result<(Program, Vec<String>)> {
    if let Some(workload) = workloads::find(name) {
        check_words(workload, args)?;
        let words = if args.is_empty() { workload.args(profile, size) } else { args.to_vec() };
        let program = Program {
            name: workload.name.to_owned(),
            elf: Cow::Borrowed(workload.elf),
            processes: workload.processes,
            native: workload.native,
        };
        return Ok((program, words));
    }
    let path = Path::new(name);
    if !name.contains('/') && !path.exists() {
        let known = workloads::catalogue().iter().map(|w| w.name);
        let unknown = PlanError::unknown("workload", name, known);
        bail!("{unknown}; a program of your own is given as a path, such as ./{name}");
    }
    let file = path.file_name().map_or_else(|| name.to_owned(), |n| n.to_string_lossy().into_owned());
    let elf = Cow::Owned(read_program(path, ram_mib)?);
    Ok((Program { name: file, elf, processes: 1, native: true }, args.to_vec()))
}

/// The bytes of a program, unless it is no file or could not fit into RAM anyway. The engine checks what is in them.
fn read_program(path: &Path, ram_mib: u32) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read the program {}", path.display());
    let metadata = std::fs::metadata(path).with_context(cannot)?;
    if !metadata.is_file() {
        bail!("{} is not a file; name the ELF executable", path.display());
    }
    if metadata.len() > u64::from(ram_mib) << 20 {
        let mib = metadata.len().div_ceil(1 << 20);
        bail!("{} is {mib} MiB long, more than the {ram_mib} MiB of guest RAM; raise --ram", path.display());
    }
    std::fs::read(path).with_context(cannot)
}

/// Refuses arguments that the program would refuse, with its parameters at hand.
fn check_words(workload: &Workload, words: &[String]) -> anyhow::Result<()> {
    let laps = |word: &String| word.strip_prefix(LAPS_PREFIX).map(str::to_owned);
    let words = match words.split_last() {
        Some((last, others)) if workload.laps && laps(last).is_some() => {
            check_word(workload, &LAPS, &laps(last).unwrap_or_default())?;
            others
        }
        _ => words,
    };
    if words.len() > workload.params.len() {
        let names: Vec<&str> = workload.params.iter().map(|p| p.name).collect();
        let takes = if names.is_empty() { "no arguments".to_owned() } else { names.join(" ") };
        bail!("{} takes {takes}, but {} arguments were given", workload.name, words.len());
    }
    words.iter().zip(workload.params).try_for_each(|(word, param)| check_word(workload, param, word))
}

fn check_word(workload: &Workload, param: &Param, word: &str) -> anyhow::Result<()> {
    let wrong = match param.parse(word.as_bytes()) {
        Ok(_) => return Ok(()),
        Err(BadValue::NotANumber) => "is no number",
        Err(BadValue::OutOfRange) => "is out of range",
    };
    bail!(
        "argument '{word}' of {} {wrong}: {} ({}) takes {} to {} {}",
        workload.name,
        param.name,
        param.doc,
        param.min,
        param.max,
        param.unit
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked_against_the_catalogue() {
        let workload = workloads::find("dense_mm").expect("the studio's own");
        let words = |words: &[&str]| -> Vec<String> { words.iter().map(|&w| w.to_owned()).collect() };
        assert!(check_words(workload, &words(&["64"])).is_ok());
        let error = check_words(workload, &words(&["many"])).expect_err("no number").to_string();
        assert!(error.contains("'many' of dense_mm is no number"), "{error}");
        assert!(check_words(workload, &words(&["0"])).is_err());
        assert!(check_words(workload, &words(&["64", "2", "3", "4", "5"])).is_err());
    }

    #[test]
    fn laps_are_a_last_argument_of_programs_that_can_do_them() {
        let words = |words: &[&str]| -> Vec<String> { words.iter().map(|&w| w.to_owned()).collect() };
        let check = |name: &str, given: &[&str]| {
            check_words(workloads::find(name).expect("in the catalogue"), &words(given)).map_err(|e| e.to_string())
        };
        assert_eq!(check("dense_mm", &["64", "laps=3"]), Ok(()));
        assert_eq!(check("dense_mm", &["laps=10000"]), Ok(()));
        for bad in [&["laps=0"][..], &["laps=10001"], &["laps="], &["laps=3", "64"]] {
            assert!(check("dense_mm", bad).is_err(), "{bad:?}");
        }
        let error = check("dense_mm", &["64", "laps=x"]).expect_err("no number");
        assert!(error.contains("'x' of dense_mm is no number: laps"), "{error}");
        assert!(check("preempt", &["laps=3"]).is_err());
    }
}
