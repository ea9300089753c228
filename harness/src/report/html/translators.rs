//! What the emulators of this repository and QEMU's translator did, side by side.

use super::view::{Cell, Table};
use crate::meaning;
use crate::model::{EngineId, Setup};
use crate::report::counters::Counters;
use crate::report::summary::Summary;
use crate::report::units;

/// Whose counters are shown.
const SOURCES: [&str; 2] = ["emu", "qemu"];

/// One cell: an engine with a workload.
struct Subject<'a> {
    counters: &'a Counters,
    engine: Setup,
    workload: &'a str,
}

impl Subject<'_> {
    /// In the region of interest.
    fn emu(&self, counter: &str) -> Option<f64> {
        self.counters.get(self.engine, self.workload, "emu", counter)
    }

    /// In the whole run, as QEMU counts; in the region of interest where nobody counted more.
    fn whole(&self, counter: &str) -> Option<f64> {
        self.emu(&format!("total.{counter}")).or_else(|| self.emu(counter))
    }

    fn qemu(&self, counter: &str) -> Option<f64> {
        self.counters.get(self.engine, self.workload, "qemu", &format!("total.{counter}"))
    }

    /// How many of two kinds are of the first.
    fn share(&self, some: &str, others: &str) -> Option<f64> {
        let (some, others) = (self.emu(some)?, self.emu(others)?);
        (some + others > 0.0).then(|| some / (some + others))
    }

    /// Bytes of host code for each byte of guest code.
    fn expansion(&self) -> Option<f64> {
        let ratio = |host: Option<f64>, guest: Option<f64>| Some(host? / guest.filter(|&g| g > 0.0)?);
        ratio(self.qemu("jit.tb_avg_host_bytes"), self.qemu("jit.tb_avg_target_bytes"))
            .or_else(|| ratio(self.whole("code.bytes"), self.whole("code.guest_bytes")))
    }

    fn per_instruction(&self) -> Option<f64> {
        let guest = self.whole("code.guest_instructions").filter(|&n| n > 0.0)?;
        Some(self.whole("code.bytes")? / guest)
    }

    fn flushes(&self) -> Cell {
        let qemu = [("jit.tb_flush", "code"), ("jit.tb_invalidate", "blocks"), ("tlb.flush_full", "TLB")];
        let mut parts: Vec<(String, f64)> =
            qemu.iter().filter_map(|&(name, short)| Some((short.to_owned(), self.qemu(name)?))).collect();
        for name in self.counters.names(self.engine, self.workload, "emu") {
            if let Some(cause) = name.strip_prefix("total.flush.")
                && let Some(n) = self.emu(&name)
            {
                parts.push((cause.replace(['.', '_'], " "), n));
            }
        }
        parts.extend(self.whole("block.invalidated").map(|n| ("blocks".to_owned(), n)));
        parts.retain(|part| part.1 > 0.0);
        if parts.is_empty() {
            return Cell::number(None, units::number);
        }
        Cell::text(
            parts.iter().map(|(what, n)| format!("{what} {}", units::count(*n as u64))).collect::<Vec<_>>().join(", "),
        )
    }

    fn row(&self) -> Vec<Cell> {
        let count = |value| Cell::number(value, |n| units::count(n as u64));
        let percent = |value| Cell::number(value, units::percent);
        // Host code counts no hits, neither of its TLB nor of its links.
        let translates = self.emu("tier.translated").is_some();
        let only = if translates { "of interpreted code" } else { "" };
        let second = self.share("tlb.recall", "tlb.miss");
        let blocks = self.qemu("jit.tb_count").or_else(|| self.whole("block.translated"));
        let links = match (self.qemu("jit.tb_direct_jump"), self.qemu("jit.tb_count").filter(|&n| n > 0.0)) {
            (Some(direct), Some(all)) => percent(Some(direct / all)).with_note("of the blocks"),
            _ => percent(self.share("link.hit", "link.miss")).with_note(only).with_note(
                self.emu("translated.link")
                    .map_or(String::new(), |n| format!("{} jumps made direct", units::count(n as u64))),
            ),
        };
        vec![
            Cell::code(self.workload),
            Cell::code(self.engine.name()),
            Cell::number(self.counters.instructions(self.engine, self.workload), units::short),
            percent(self.share("tier.translated", "tier.interpreted")),
            count(self.whole("block.decoded")),
            count(blocks).with_note(
                self.whole("region.translated")
                    .map_or(String::new(), |n| format!("{} regions", units::count(n as u64))),
            ),
            Cell::number(self.whole("translate_ns"), units::time),
            count(self.qemu("jit.code_bytes").or_else(|| self.whole("code.bytes"))),
            Cell::number(self.expansion(), units::ratio).with_note(
                self.per_instruction().map_or(String::new(), |n| format!("{} bytes an instruction", units::number(n))),
            ),
            percent(self.share("tlb.hit", "tlb.miss"))
                .with_note(only)
                .with_note(second.map_or(String::new(), |s| format!("2nd level {}", units::percent(s)))),
            links,
            self.flushes(),
            count(self.emu("string.bulk")),
        ]
    }
}

fn subjects<'a>(summary: &'a Summary, counters: &'a Counters) -> impl Iterator<Item = Subject<'a>> {
    let counted =
        |s: &Subject<'_>| SOURCES.iter().any(|source| !s.counters.names(s.engine, s.workload, source).is_empty());
    let emulates = |engine: Setup| engine.id.has_emulated_cpu() || engine.id == EngineId::QemuTcg;
    summary
        .cells
        .iter()
        .filter(move |cell| emulates(cell.engine))
        .map(|cell| Subject { counters, engine: cell.engine, workload: &cell.workload })
        .filter(counted)
}

/// One row per workload and emulator; a column that nobody counted is left out.
pub(super) fn table(summary: &Summary, counters: &Counters) -> Table {
    let mut table = Table::new(
        "What emu-min and QEMU's translator did",
        [
            "workload",
            "engine",
            "instructions",
            "of them translated",
            "blocks decoded*",
            "blocks translated*",
            "translating*",
            "host code, bytes*",
            "host code / guest code*",
            "TLB hits",
            "linked",
            "flushes*",
            "bulk elements",
        ],
    );
    table.rows = subjects(summary, counters).map(|subject| subject.row()).collect();
    drop_empty_columns(&mut table);
    table
}

/// Leaves out the columns in which no row has anything; the first two name the row.
fn drop_empty_columns(table: &mut Table) {
    for column in (2..table.head.len()).rev() {
        let empty = |row: &Vec<Cell>| row.get(column).is_none_or(|cell| cell.class.contains("none"));
        if table.rows.iter().all(empty) {
            table.head.remove(column);
            for row in &mut table.rows {
                row.remove(column);
            }
        }
    }
}

/// Every counter of the emulators: one row per workload and counter, one column per engine.
pub(super) fn all(summary: &Summary, counters: &Counters) -> Table {
    let subjects: Vec<Subject<'_>> = subjects(summary, counters).collect();
    let mut engines: Vec<Setup> = subjects.iter().map(|s| s.engine).collect();
    engines.sort_unstable();
    engines.dedup();
    let mut table = Table::new("Every counter of the emulators", ["workload", "counter", "meaning"]);
    table.head.extend(engines.iter().map(Setup::name));
    for workload in &summary.workloads {
        for source in SOURCES {
            let names = engines.iter().flat_map(|&e| counters.names(e, &workload.label, source));
            let names: std::collections::BTreeSet<String> = names.filter(|name| shown(name)).collect();
            for name in names {
                let mut row = vec![
                    Cell::code(&workload.label),
                    Cell::code(&name),
                    Cell::text(meaning::text(source, &name, None)),
                ];
                row.extend(engines.iter().map(|&engine| {
                    let value = counters.get(engine, &workload.label, source, &name);
                    if name.ends_with("_ns") {
                        Cell::number(value, units::time)
                    } else {
                        Cell::number(value, |n| units::count(n as u64))
                    }
                }));
                table.rows.push(row);
            }
        }
    }
    table
}

/// Counts in the region of interest, and of whole runs what is QEMU's or about translations, which are made before it.
fn shown(name: &str) -> bool {
    let Some(total) = name.strip_prefix("total.") else { return true };
    ["jit.", "tlb.flush", "code.", "translated.", "translate", "block.", "region.", "flush."]
        .iter()
        .any(|p| total.starts_with(p))
}
