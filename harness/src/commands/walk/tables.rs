//! What `evlab walk` prints: the processes of a guest side by side.

use std::io::Write;

use evlab::walk::{EntryView, LookView, PageView, Picture, Report, TlbEntryView, TlbKind, letters};
use vmm_min::PageTableEntry;

use crate::commands::list::{plain_table, trimmed, wrapped};

/// Processes side by side; more stand below.
const COLUMNS: usize = 3;
/// Characters of a line of a cell.
const WIDTH: usize = 32;
/// Levels of page tables, the root's first, and the lowest bit of the address that each is indexed by.
const LEVELS: [(u8, &str, u32); 4] = [(4, "PML4E", 39), (3, "PDPTE", 30), (2, "PDE", 21), (1, "PTE", 12)];

const LEGEND: &str = "\
Bits: P present, W writable, U ring 3 may, A accessed, D dirty, PS large page, G global, NX not executable;
'-' is clear, '.' means nothing at that level. An access needs W and U (and no NX) in every entry.";

pub(super) fn print(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    let address = report.address.0;
    let indices = LEVELS.map(|(_, name, shift)| format!("{name} {}", address >> shift & 511));
    writeln!(out, "{address:#x} is {}, offset {:#x}", indices.join(", "), address & 0xfff)?;
    for picture in &report.engines {
        let what: Vec<&str> =
            std::iter::once(report.workload.as_str()).chain(report.args.iter().map(String::as_str)).collect();
        writeln!(out, "\n{} on {}: {}", what.join(" "), picture.engine, picture.end)?;
        if picture.processes.is_empty() {
            writeln!(out, "no process was seen: the machine did not exit once after the guest entered ring 3")?;
        }
        for processes in picture.processes.chunks(COLUMNS) {
            side_by_side(processes, out)?;
        }
        summary(picture, out)?;
    }
    if report.engines.len() > 1 {
        writeln!(out, "\n{}", agreement(&report.engines))?;
    }
    writeln!(out, "\n{LEGEND}")
}

fn side_by_side(processes: &[LookView], out: &mut dyn Write) -> std::io::Result<()> {
    let mut table = plain_table();
    let named = processes.iter().map(|p| format!("P{}", p.process));
    table.set_header([String::new(), String::new()].into_iter().chain(named));
    let mut row = |label: &str, part: &str, cell: &dyn Fn(&LookView) -> String| {
        let cells: Vec<String> = processes.iter().map(cell).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.add_row([label.to_owned(), part.to_owned()].into_iter().chain(cells));
        }
    };
    row("seen at", "", &|p| format!("exit {}: {}", p.exit, p.why));
    row("CR3", "", &|p| p.cr3.to_string());
    for (level, name, _) in LEVELS {
        let of = |p: &LookView, what: &dyn Fn(&EntryView) -> String| {
            p.entries.iter().find(|entry| entry.level == level).map(what).unwrap_or_default()
        };
        row(name, "at", &|p| of(p, &|entry| entry.address.to_string()));
        row("", "value", &|p| of(p, &|entry| format!("{:#018x}", entry.value.0)));
        row("", "bits", &|p| of(p, &bits));
    }
    row("walk ends", "", &|p| wrapped(p.unmapped.as_deref().unwrap_or_default(), WIDTH));
    row("frame", "", &|p| p.page.map(|page| format!("{} ({})", page.frame, size(page.size))).unwrap_or_default());
    row("physical", "", &|p| p.page.map(|page| page.physical.to_string()).unwrap_or_default());
    row("rights", "", &|p| p.page.as_ref().map(rights).unwrap_or_default());
    row("value", "", &value);
    row("TLB", "", &tlb);
    writeln!(out, "{}", trimmed(&table))
}

/// The bits of an entry, always at the same place.
fn bits(entry: &EntryView) -> String {
    let raw = PageTableEntry(entry.value.0);
    if !raw.present() {
        return "not present".to_owned();
    }
    let shown = letters(entry.level, raw).into_iter().filter(|(name, _)| !["PWT", "PCD", "PAT"].contains(name));
    let letters: Vec<&str> = shown
        .map(|(name, bit)| match bit {
            Some(true) => name,
            Some(false) => "-",
            None => ".",
        })
        .collect();
    letters.join(" ")
}

fn size(bytes: u64) -> &'static str {
    match bytes {
        0x1000 => "4 KiB page",
        0x20_0000 => "2 MiB page",
        _ => "1 GiB page",
    }
}

fn rights(page: &PageView) -> String {
    let mut text = "read".to_owned();
    if page.write {
        text.push_str(", write");
    }
    if page.execute {
        text.push_str(", execute");
    }
    text.push_str(if page.user { "; every ring" } else { "; rings 0 to 2" });
    if page.global {
        text.push_str("; global");
    }
    text
}

fn value(look: &LookView) -> String {
    match (&look.value, look.page) {
        (Some(value), _) => format!("{:#04x} ({})", value.byte, value.bytes),
        (None, Some(_)) => "outside RAM: reads as all ones".to_owned(),
        (None, None) => String::new(),
    }
}

fn tlb(look: &LookView) -> String {
    match look.tlb.kind {
        TlbKind::Soft if look.tlb.entries.is_empty() => "miss".to_owned(),
        TlbKind::Soft => {
            let lines: Vec<String> = look.tlb.entries.iter().map(held).collect();
            lines.join("\n")
        }
        TlbKind::None => "none: every access walks".to_owned(),
        TlbKind::Hardware => "the processor's: cannot be asked".to_owned(),
    }
}

fn held(entry: &TlbEntryView) -> String {
    let who = match entry.rights.as_str() {
        "user" => "ring 3",
        "supervisor" => "ring 0",
        _ => "ring 0 under SMAP",
    };
    let place = if entry.level == 1 { "" } else { " (second array)" };
    let global = if entry.global { ", global" } else { "" };
    format!("hit: {} by {who}{global}{place}", entry.access)
}

/// What the picture shows, in sentences.
fn summary(picture: &Picture, out: &mut dyn Write) -> std::io::Result<()> {
    rules(&picture.processes, out)?;
    let frames: Vec<(usize, u64)> =
        picture.processes.iter().filter_map(|p| Some((p.process, p.page?.physical.0))).collect();
    let Some((&(_, first), others)) = frames.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Ok(());
    };
    if others.iter().all(|&(_, physical)| physical == first) {
        return writeln!(out, "One address, one frame: {} processes share {first:#x}.", frames.len());
    }
    let places: Vec<String> = frames.iter().map(|(process, physical)| format!("P{process} {physical:#x}")).collect();
    writeln!(out, "One address, different frames: {}.", places.join(", "))
}

/// What the architecture says of TLBs, once where it is the same for all.
fn rules(processes: &[LookView], out: &mut dyn Write) -> std::io::Result<()> {
    let Some((first, others)) = processes.split_first() else { return Ok(()) };
    if others.iter().all(|other| other.tlb.rule == first.tlb.rule) {
        return writeln!(out, "A TLB {}.", first.tlb.rule);
    }
    processes.iter().try_for_each(|p| writeln!(out, "P{}: a TLB {}.", p.process, p.tlb.rule))
}

/// Whether all engines showed the same.
fn agreement(pictures: &[Picture]) -> String {
    let seen = |picture: &Picture| -> Vec<_> {
        let look = |p: &LookView| (p.cr3, p.entries.clone(), p.page, p.unmapped.clone(), p.value.clone());
        picture.processes.iter().map(look).collect()
    };
    let Some((first, others)) = pictures.split_first() else { return String::new() };
    let differing: Vec<String> =
        others.iter().filter(|other| seen(other) != seen(first)).map(|other| other.engine.to_string()).collect();
    if differing.is_empty() {
        return "The engines agree: the same page tables, frames and values.".to_owned();
    }
    format!("{} and {} differ in page tables, frames or values.", first.engine, differing.join(", "))
}

#[cfg(test)]
mod tests {
    use evlab::model::{EngineId, Setup};
    use evlab::walk::{Hex, Moment, TlbView, ValueView};

    use super::*;

    fn look(process: usize, physical: u64) -> LookView {
        let entry = |name: &str, level, value| EntryView {
            name: name.to_owned(),
            level,
            index: 0,
            address: Hex(0x1000 * u64::from(level)),
            value: Hex(value),
            bits: Vec::new(),
        };
        LookView {
            process,
            exit: 7,
            why: "out 0x3f8 (console)".to_owned(),
            ring: 0,
            cr3: Hex(0x4000),
            entries: vec![entry("PML4E", 4, 0x3027), entry("PTE", 1, 0x8000_0000_0000_0067)],
            page: Some(PageView {
                physical: Hex(physical),
                frame: Hex(physical & !0xfff),
                size: 4096,
                write: true,
                user: true,
                execute: false,
                global: false,
                in_ram: true,
            }),
            unmapped: None,
            value: Some(ValueView { byte: 4, bytes: "04 00".to_owned() }),
            tlb: TlbView {
                kind: TlbKind::Soft,
                hit: Some(false),
                entries: Vec::new(),
                may_hold: true,
                rule: "may hold it".to_owned(),
            },
        }
    }

    fn text(processes: Vec<LookView>) -> String {
        let engine = Setup::plain(EngineId::EmuInterp);
        let picture =
            Picture { engine, end: "it ended".to_owned(), ended_well: true, console: String::new(), processes };
        let mut other = picture.clone();
        other.engine = Setup::plain(EngineId::Kvm);
        let report = Report {
            workload: "two".to_owned(),
            args: vec!["3".to_owned()],
            address: Hex(0xabcd),
            at: Moment::Last,
            engines: vec![picture, other],
        };
        let mut out = Vec::new();
        print(&report, &mut out).expect("a vector takes all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn processes_stand_side_by_side() {
        let text = text(vec![look(1, 0x9bcd), look(2, 0xabcd)]);
        let line = |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).expect("a line");
        assert_eq!(line("0xabcd is"), "0xabcd is PML4E 0, PDPTE 0, PDE 0, PTE 10, offset 0xbcd");
        assert!(line("two 3 on emu-interp: it ended").len() > 10);
        assert_eq!(line("physical").split_whitespace().collect::<Vec<_>>(), ["physical", "0x9bcd", "0xabcd"]);
        assert!(line("value").contains("0x0000000000003027"), "{text}");
        assert!(text.contains("P W U A . - . -") && text.contains("P W U A D . - NX"), "{text}");
        assert!(text.contains("One address, different frames: P1 0x9bcd, P2 0xabcd."), "{text}");
        assert!(text.contains("The engines agree") && text.contains("\nA TLB may hold it.\n"), "{text}");
    }

    #[test]
    fn a_walk_that_ends_early_says_where() {
        let mut unmapped = look(1, 0);
        unmapped.page = None;
        unmapped.value = None;
        unmapped.entries.truncate(1);
        unmapped.entries[0].value = Hex(0);
        unmapped.unmapped = Some("not mapped (the level-4 entry 0x0 is not present)".to_owned());
        let text = text(vec![unmapped]);
        assert!(text.contains("walk ends") && text.contains("level-4 entry"), "{text}");
        assert!(text.contains("not present") && !text.lines().any(|line| line.starts_with("frame")), "{text}");
    }
}
