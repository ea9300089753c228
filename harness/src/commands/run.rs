//! `evlab run`: one run in this process.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use evlab::cli::RunArgs;
use evlab::engines::{self, Job, Program, StopFlag};
use evlab::model::{Confine, EngineId, RunRecord, RunRequest, Setup, Status};
use evlab::studio::PlanError;
use workloads::{BadValue, Profile, Workload};

use super::Verdict;
use super::list::{plain_table, trimmed};

/// Does the run and prints its record.
pub(crate) fn execute(args: &RunArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let engine = engine_named(&args.engine)?;
    let setup = match args.machine.emu.setups([engine])?[..] {
        [setup] => setup,
        _ => Setup::plain(engine),
    };
    let (program, words) = program(args)?;
    let needed = workloads::find(&args.workload).map_or(0, |workload| workload.hz);
    let job = Job {
        request: RunRequest {
            workload: args.workload.clone(),
            args: words,
            engine: setup,
            ram_mib: args.machine.ram,
            timeout_s: args.machine.timeout,
            prefault: args.machine.prefault.is_on(),
            cpu: args.machine.model(&[engine])?,
            hz: args.machine.hz.unwrap_or(needed),
            deterministic: args.machine.deterministic,
            confine: Confine { sandbox: args.machine.sandbox.choice(), ..Confine::default() },
        },
        program,
        kernel: workloads::kernel(),
    };
    let record = engines::engine(engine).run(&job, stop)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &record)?;
        writeln!(out)?;
    } else {
        print(&record, out)?;
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

/// The program and its arguments: from the catalogue, or from a file.
fn program(args: &RunArgs) -> anyhow::Result<(Program, Vec<String>)> {
    if let Some(workload) = workloads::find(&args.workload) {
        check_words(workload, &args.args)?;
        let words =
            if args.args.is_empty() { workload.args(Profile::Full, args.machine.size) } else { args.args.clone() };
        let program = Program {
            name: workload.name.to_owned(),
            elf: Cow::Borrowed(workload.elf),
            processes: workload.processes,
            native: workload.native,
        };
        return Ok((program, words));
    }
    let path = Path::new(&args.workload);
    if !args.workload.contains('/') && !path.exists() {
        let known = workloads::catalogue().iter().map(|w| w.name);
        let unknown = PlanError::unknown("workload", &args.workload, known);
        bail!("{unknown}; a program of your own is given as a path, such as ./{}", args.workload);
    }
    let name = path.file_name().map_or_else(|| args.workload.clone(), |n| n.to_string_lossy().into_owned());
    let elf = Cow::Owned(read_program(path, args.machine.ram)?);
    Ok((Program { name, elf, processes: 1, native: true }, args.args.clone()))
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
    if words.len() > workload.params.len() {
        let names: Vec<&str> = workload.params.iter().map(|p| p.name).collect();
        let takes = if names.is_empty() { "no arguments".to_owned() } else { names.join(" ") };
        bail!("{} takes {takes}, but {} arguments were given", workload.name, words.len());
    }
    for (word, param) in words.iter().zip(workload.params) {
        let wrong = match param.parse(word.as_bytes()) {
            Ok(_) => continue,
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
    Ok(())
}

fn print(record: &RunRecord, out: &mut dyn Write) -> std::io::Result<()> {
    write!(out, "{}", record.console)?;
    if !record.console.is_empty() && !record.console.ends_with('\n') {
        writeln!(out)?;
    }
    writeln!(out)?;
    let mut table = plain_table();
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table.add_row([name.to_owned(), value]);
        }
    };
    let what: Vec<&str> =
        std::iter::once(record.workload.as_str()).chain(record.args.iter().map(String::as_str)).collect();
    row("run", Some(format!("{} on {}", what.join(" "), record.engine)));
    row("status", Some(status(record)));
    row("checksum", record.checksum.clone());
    row("time, host clock", record.roi_host_ns.map(time));
    row("time, guest clock", record.roi_guest_ns.map(time));
    row("start to ring 3", record.startup_ns.map(time));
    row("start to end", Some(time(record.wall_ns)));
    row(
        "guest instructions",
        record.guest_instructions.map(|n| instructions(n, record.roi_guest_ns.or(record.roi_host_ns))),
    );
    writeln!(out, "{}", trimmed(&table))?;
    let mut inside: Vec<_> =
        record.counters.iter().filter(|c| !c.counter.starts_with("total.") && c.value > 0).collect();
    if inside.is_empty() {
        return Ok(());
    }
    inside.sort_by(|a, b| (&a.source, b.value, &a.counter).cmp(&(&b.source, a.value, &b.counter)));
    let mut table = plain_table();
    table.set_header(["COUNTED BY", "IN THE REGION OF INTEREST", ""]);
    for counter in inside {
        let value = if counter.counter.ends_with("_ns") { time(counter.value) } else { grouped(counter.value) };
        table.add_row([counter.source.clone(), counter.counter.clone(), value]);
    }
    writeln!(out, "\n{}", trimmed(&table))
}

fn status(record: &RunRecord) -> String {
    let word = match record.status {
        Status::Ok => "ok",
        Status::Mismatch => "mismatch",
        Status::Failed => "failed",
        Status::Timeout => "timeout",
        Status::Interrupted => "interrupted",
    };
    record.message.as_ref().map_or_else(|| word.to_owned(), |m| format!("{word}: {m}"))
}

/// A time with four digits and the unit that suits it.
fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = if value < 10.0 {
        3
    } else if value < 100.0 {
        2
    } else {
        1
    };
    format!("{value:.digits$} {unit}")
}

/// A count with its rate.
fn instructions(count: u64, roi_ns: Option<u64>) -> String {
    let count_text = grouped(count);
    match roi_ns {
        Some(ns) if ns > 0 => format!("{count_text} ({:.1} million a second)", count as f64 * 1e3 / ns as f64),
        _ => count_text,
    }
}

/// A number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(time(999), "999 ns");
        assert_eq!(time(1_500), "1.500 us");
        assert_eq!(time(123_456_789), "123.5 ms");
        assert_eq!(instructions(2_000, Some(1_000)), "2,000 (2000.0 million a second)");
    }

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
}
