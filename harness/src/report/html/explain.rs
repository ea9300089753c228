//! Why each engine costs what it costs, drawn from its counters.

use super::verdict::{exits_per_ms, instruction_costs, ns_per_exit, ns_per_instruction};
use super::view::Explanation;
use crate::model::{EngineId, Setup};
use crate::report::counters::Counters;
use crate::report::summary::Summary;
use crate::report::units;
use crate::stats::median;

/// One explanation per engine that has a time.
pub(super) fn all(summary: &Summary, counters: &Counters) -> Vec<Explanation> {
    summary
        .engines
        .iter()
        .filter(|&&e| summary.cells.iter().any(|c| c.engine == e && c.n > 0))
        .map(|&engine| Explanation {
            engine: engine.to_string(),
            what: what(engine.id),
            points: Source { summary, counters, engine }.points(),
        })
        .collect()
}

const fn what(engine: EngineId) -> &'static str {
    match engine {
        EngineId::Native => "The same program file as a Linux process: the baseline that every ratio is against.",
        EngineId::Kvm => {
            "A minimal VMM on /dev/kvm. The CPU executes guest instructions directly; what the guest may not do itself, \
             such as port I/O, ends in an exit: KVM stops the guest, the VMM serves the request, the guest goes on."
        }
        EngineId::QemuKvm => {
            "QEMU with the same KVM underneath. Between exits it is the same CPU; each exit passes through a larger VMM, \
             and a larger machine takes longer to start."
        }
        EngineId::EmuInterp => {
            "A CPU in software that keeps what it has decoded: blocks of decoded instructions, a soft TLB that remembers \
             where pages are, and flags that are computed only when somebody reads them."
        }
        EngineId::EmuDbt => {
            "The interpreter with a translator on top: code that is executed often becomes host code, which jumps from block \
             to block by itself; all the rest is interpreted."
        }
        EngineId::EmuNaive => {
            "The same CPU in software without memory: it decodes every instruction each time and walks the page tables at \
             every access."
        }
        EngineId::QemuTcg => {
            "QEMU's translator: it turns each block of guest code into host code once and then runs that; what is left is \
             the length of the translation, the soft TLB in front of each access, and floating point in software."
        }
    }
}

struct Source<'a> {
    summary: &'a Summary,
    counters: &'a Counters,
    engine: Setup,
}

impl Source<'_> {
    fn points(&self) -> Vec<String> {
        let mut points = Vec::new();
        points.extend(self.range());
        match self.engine.id {
            EngineId::Native => {}
            EngineId::Kvm | EngineId::QemuKvm => {
                points.extend([self.exit_rate(), self.exit_cost(), self.kvm_work()].into_iter().flatten());
            }
            EngineId::EmuInterp | EngineId::EmuNaive => {
                points.extend([self.speed(), self.tlb(), self.walks(), self.blocks()].into_iter().flatten());
            }
            // Host code counts neither its accesses nor its blocks.
            EngineId::EmuDbt => points.extend([self.speed(), self.tiers(), self.walks()].into_iter().flatten()),
            EngineId::QemuTcg => points.extend(self.translation()),
        }
        points
    }

    fn workloads(&self) -> impl Iterator<Item = &str> {
        self.summary.cells.iter().filter(|c| c.engine == self.engine).map(|c| c.workload.as_str())
    }

    /// The smallest and the largest of a value over the workloads, with their names.
    fn extremes(&self, value: impl Fn(&str) -> Option<f64>) -> Option<[(String, f64); 2]> {
        let mut all: Vec<(String, f64)> = self.workloads().filter_map(|w| Some((w.to_owned(), value(w)?))).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        Some([all.first()?.clone(), all.last()?.clone()])
    }

    fn over_workloads(&self, value: impl Fn(&str) -> Option<f64>) -> Option<f64> {
        median(&self.workloads().filter_map(value).collect::<Vec<_>>())
    }

    fn emu(&self, workload: &str, counter: &str) -> Option<f64> {
        self.counters.get(self.engine, workload, "emu", counter)
    }

    fn range(&self) -> Option<String> {
        if self.engine == EngineId::Native {
            return None;
        }
        let programs = self.summary.mean(self.engine, false)?;
        let [low, high] = self.extremes(|w| {
            let workload = self.summary.workload(w)?;
            let counts = workload.baseline == Some(EngineId::Native) && workload.group.in_mean(false);
            self.summary.cell(self.engine, w)?.ratio.filter(|_| counts).map(|r| r.value)
        })?;
        let system = self.summary.mean(self.engine, true).map(|m| {
            format!(
                " The system workloads, which do little but enter the kernel or the machine, are at {}.",
                units::ratio(m.estimate.value)
            )
        });
        Some(format!(
            "Programs take {} the time of native, from {} ({}) to {} ({}).{}",
            units::ratio(programs.estimate.value),
            units::ratio(low.1),
            low.0,
            units::ratio(high.1),
            high.0,
            system.unwrap_or_default()
        ))
    }

    fn exit_rate(&self) -> Option<String> {
        let rate = exits_per_ms(self.summary, self.counters, self.engine)?;
        let share = ns_per_exit(self.summary, self.counters, self.engine)
            .map(|(workload, ns)| {
                let share = units::percent((rate * ns / 1e6).min(1.0));
                format!(", which at the cost of an exit in {workload} is {share} of its time")
            })
            .unwrap_or_default();
        Some(format!(
            "While a program computes, the guest leaves the CPU {} times per ms (median over the programs){share}.",
            units::number(rate)
        ))
    }

    fn exit_cost(&self) -> Option<String> {
        let (workload, ns) = ns_per_exit(self.summary, self.counters, self.engine)?;
        let served = self.counters.get(self.engine, &workload, "vmm", "serve_ns").and_then(|serve| {
            let exits = self.counters.exits(self.engine, &workload)?.total;
            Some(serve / exits)
        });
        let served = served.map_or(String::new(), |served| {
            format!(
                ", of which the VMM works {} ({}); the rest is the way out of the guest and back",
                units::time(served),
                units::percent(served / ns)
            )
        });
        Some(format!("Where exits are all there is ({workload}), each costs {}{served}.", units::time(ns)))
    }

    fn kvm_work(&self) -> Option<String> {
        let get = |w: &str, name: &str| self.counters.get(self.engine, w, "kvm", name);
        let inside = self.extremes(|w| get(w, "insn_emulation"));
        let (emulated, where_) = match inside {
            Some(found) => (found, "in a region of interest"),
            None => (self.extremes(|w| get(w, "total.insn_emulation"))?, "in a run, boot included"),
        };
        let [_, (workload, most)] = emulated;
        (most > 0.0).then(|| {
            format!(
                "KVM itself emulated up to {} instructions {where_} ({workload}): those that the CPU may not execute for a \
                 guest. On a backend without hardware assistance that includes all of the guest kernel.",
                units::count(most as u64)
            )
        })
    }

    fn speed(&self) -> Option<String> {
        let ns = ns_per_instruction(self.summary, self.counters, self.engine)?;
        let costs = instruction_costs(self.summary, self.counters, self.engine);
        let program = |w: &str| self.summary.workload(w).is_some_and(|w| w.group.in_mean(false));
        let [fast, slow] = self.extremes(|w| costs.iter().find(|c| c.0 == w && program(w)).map(|c| c.1))?;
        let rate = |ns: f64| format!("{} million", units::number(1e3 / ns));
        Some(format!(
            "It executes {} guest instructions per second in geometric mean over the programs, {} of host time each; \
             fastest {} ({}), slowest {} ({}).",
            rate(ns),
            units::time(ns),
            rate(fast.1),
            fast.0,
            rate(slow.1),
            slow.0
        ))
    }

    fn tlb(&self) -> Option<String> {
        let rate = |w: &str| {
            let (hit, miss) = (self.emu(w, "tlb.hit")?, self.emu(w, "tlb.miss")?);
            (hit > 0.0).then(|| hit / (hit + miss))
        };
        let middle = self.over_workloads(rate)?;
        let [worst, _] = self.extremes(rate)?;
        Some(format!(
            "Its soft TLB answers {} of the accesses (median over the workloads), least in {} with {}.",
            units::percent(middle),
            worst.0,
            units::percent(worst.1)
        ))
    }

    fn walks(&self) -> Option<String> {
        let rate = |w: &str| {
            let instructions = self.counters.instructions(self.engine, w).filter(|&n| n > 0.0)?;
            Some(self.emu(w, "page.walk")? * 1000.0 / instructions)
        };
        let middle = self.over_workloads(rate)?;
        let [_, most] = self.extremes(rate)?;
        Some(format!(
            "It walks the guest's page tables {} times per 1000 instructions (median), most in {} with {}.",
            units::number(middle),
            most.0,
            units::number(most.1)
        ))
    }

    fn blocks(&self) -> Option<String> {
        let rate = |w: &str| {
            let decoded = self.emu(w, "block.decoded")?;
            let executed = self.emu(w, "block.executed")?;
            (decoded > 0.0).then(|| executed / decoded)
        };
        let middle = self.over_workloads(rate)?;
        Some(format!(
            "A block that was decoded is executed {} times (median over the workloads), so decoding is paid once and \
             hardly shows.",
            units::count(middle as u64)
        ))
    }

    fn tiers(&self) -> Option<String> {
        let share = |w: &str| {
            let (translated, interpreted) = (self.emu(w, "tier.translated")?, self.emu(w, "tier.interpreted")?);
            (translated + interpreted > 0.0).then(|| translated / (translated + interpreted))
        };
        let middle = self.over_workloads(share)?;
        let [least, _] = self.extremes(share)?;
        let mut text = format!(
            "Of its instructions {} are executed as host code (median over the workloads), least in {} with {}",
            units::percent(middle),
            least.0,
            units::percent(least.1)
        );
        if let (Some(blocks), Some(ns)) = (
            self.over_workloads(|w| self.emu(w, "total.block.translated")),
            self.over_workloads(|w| self.emu(w, "total.translate_ns")),
        ) {
            text.push_str(&format!(
                "; a run translates {} blocks, which takes {} (medians)",
                units::count(blocks as u64),
                units::time(ns)
            ));
        }
        Some(format!("{text}."))
    }

    fn translation(&self) -> Option<String> {
        let get = |w: &str, name: &str| self.counters.get(self.engine, w, "qemu", name);
        let blocks = self.over_workloads(|w| get(w, "total.jit.tb_count"))?;
        let mut text = format!("A run translates {} blocks (median)", units::count(blocks as u64));
        let guest = self.over_workloads(|w| get(w, "total.jit.tb_avg_target_bytes"));
        let host = self.over_workloads(|w| get(w, "total.jit.tb_avg_host_bytes"));
        if let (Some(guest), Some(host)) = (guest.filter(|&g| g > 0.0), host) {
            text.push_str(&format!(
                " of {} bytes of guest code on average, which become {} bytes of host code: {} as long",
                units::number(guest),
                units::number(host),
                units::ratio(host / guest)
            ));
        }
        if let Some(flushes) = self.over_workloads(|w| get(w, "total.jit.tb_flush")) {
            let often = if flushes == 0.0 { "never".to_owned() } else { format!("{} times", units::number(flushes)) };
            text.push_str(&format!("; the cache of translations overflowed {often}"));
        }
        Some(format!("{text}."))
    }
}
