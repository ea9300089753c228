//! gdb's `monitor` commands: what gdb has no word for.

use gdbstub::outputln;
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd};
use vmm_min::{CpuError, RunError, WalkStep};

use super::target::Guest;

const HELP: &str = "\
monitor help                this list
monitor cr                  control registers and what their bits turn on
monitor ring                privilege level and mode of the CPU
monitor pid                 the process that the kernel runs
monitor walk ADDRESS        the page-table entries behind a virtual address (0x... or decimal)
monitor why                 why a breakpoint or watchpoint was refused last
monitor step into|over      whether stepi enters the kernel (the default), or goes on until ring 3 is back";

impl MonitorCmd for Guest<'_, '_, '_> {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), RunError> {
        for line in self.answer(&String::from_utf8_lossy(command))?.lines() {
            outputln!(out, "{line}");
        }
        Ok(())
    }
}

impl Guest<'_, '_, '_> {
    /// The answer to a command, of one line or more.
    fn answer(&mut self, command: &str) -> Result<String, CpuError> {
        let words: Vec<&str> = command.split_whitespace().collect();
        Ok(match words[..] {
            [] | ["help"] => HELP.to_owned(),
            ["cr"] => self.control_registers()?,
            ["ring"] => {
                let registers = self.debuggee.registers()?;
                format!("ring {}, {}", registers.cpl, registers.mode())
            }
            ["pid"] => self.process()?,
            ["why"] => self.refusal().unwrap_or_else(|| "nothing was refused".to_owned()),
            ["walk", address] => match parse(address) {
                Some(address) => self.walk(address)?,
                None => format!("'{address}' is no address: give one such as 0xabcd"),
            },
            ["walk"] => "give an address, such as monitor walk 0xabcd".to_owned(),
            ["step", word @ ("into" | "over")] => {
                self.over = word == "over";
                format!("stepi steps {word} the kernel")
            }
            ["step", ..] => format!(
                "stepi steps {} the kernel; change it by monitor step into or monitor step over",
                if self.over { "over" } else { "into" }
            ),
            _ => format!("unknown command '{}'; monitor help lists them", words.join(" ")),
        })
    }

    fn control_registers(&mut self) -> Result<String, CpuError> {
        let r = self.debuggee.registers()?;
        let line = |name: &str, value: u64, bits: &[(u32, &str)]| {
            let set: Vec<&str> = bits.iter().filter(|(bit, _)| value >> bit & 1 != 0).map(|(_, name)| *name).collect();
            format!("{}\n", format!("{name:<4} {value:#018x}  {}", set.join(" ")).trim_end())
        };
        // Intel SDM volume 3, 2.5 and table 2-1.
        let cr0 = [
            (0, "PE"),
            (1, "MP"),
            (2, "EM"),
            (3, "TS"),
            (4, "ET"),
            (5, "NE"),
            (16, "WP"),
            (18, "AM"),
            (29, "NW"),
            (30, "CD"),
            (31, "PG"),
        ];
        let cr4 = [
            (2, "TSD"),
            (3, "DE"),
            (4, "PSE"),
            (5, "PAE"),
            (7, "PGE"),
            (9, "OSFXSR"),
            (10, "OSXMMEXCPT"),
            (11, "UMIP"),
            (16, "FSGSBASE"),
            (17, "PCIDE"),
            (18, "OSXSAVE"),
            (20, "SMEP"),
            (21, "SMAP"),
        ];
        let efer = [(0, "SCE"), (8, "LME"), (10, "LMA"), (11, "NXE")];
        Ok([
            line("cr0", r.cr0, &cr0),
            line("cr2", r.cr2, &[]),
            line("cr3", r.cr3, &[]),
            line("cr4", r.cr4, &cr4),
            line("efer", r.efer, &efer),
        ]
        .concat())
    }

    fn process(&mut self) -> Result<String, CpuError> {
        let Some(address) = self.pid_address else {
            return Ok("this kernel has no variable current_pid".to_owned());
        };
        let mut bytes = [0; 4];
        Ok(match self.debuggee.read(address, &mut bytes)? {
            4 => match u32::from_le_bytes(bytes) {
                0 => "no process yet".to_owned(),
                pid => format!("process {pid}, page tables at {:#x}", self.debuggee.registers()?.cr3),
            },
            _ => "the kernel is not mapped yet".to_owned(),
        })
    }

    fn walk(&mut self, address: u64) -> Result<String, CpuError> {
        let walk = self.debuggee.walk(address)?;
        let mut text = String::new();
        for step in &walk.steps {
            text += &format!("{:<5} at {:#011x}: {:#018x}  {}\n", step.name(), step.gpa, step.entry.0, words(step));
        }
        text += &match walk.end {
            Ok(page) => format!("{address:#x} is at physical address {:#x}", page.gpa),
            Err(why) => format!("{address:#x} is {why}"),
        };
        Ok(text)
    }
}

/// What the bits of an entry say.
fn words(step: &WalkStep) -> String {
    let entry = step.entry;
    if !entry.present() {
        return "not present".to_owned();
    }
    let page = step.level == 1 || entry.page_size();
    let bits = [
        (true, "present"),
        (entry.writable(), "writable"),
        (entry.user(), "user"),
        (entry.accessed(), "accessed"),
        (page && entry.dirty(), "dirty"),
        (step.level > 1 && entry.page_size(), "large"),
        (page && entry.global(), "global"),
        (entry.no_execute(), "no-execute"),
    ];
    bits.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

fn parse(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hexadecimal_or_decimal() {
        assert_eq!(parse("0xabcd"), Some(0xabcd));
        assert_eq!(parse("43981"), Some(0xabcd));
        for bad in ["", "0x", "abcd", "-1", "0x10000000000000000"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
