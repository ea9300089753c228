//! A trace for people: one line a step, what belongs to it behind it or below it.

use std::io::{self, Write};

use super::{Change, Delivered, ExitLine, InsnLine, Line, MemLine, WalkLine};

/// Room for an instruction in assembly language.
const TEXT: usize = 36;
/// What stands under a step begins here.
const INDENT: &str = "           ";
/// Characters of data that are shown.
const DATA: usize = 48;
/// The flags that instructions compute or test, by their bits in RFLAGS.
const FLAGS: [(u32, &str); 9] =
    [(0, "CF"), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (8, "TF"), (9, "IF"), (10, "DF"), (11, "OF")];

/// The names of the columns.
pub(super) fn header(emulated: bool, out: &mut dyn Write) -> io::Result<()> {
    if emulated {
        writeln!(out, "{:>10} ring {:<16}  {:<TEXT$}  EFFECTS", "N", "RIP", "INSTRUCTION")
    } else {
        writeln!(out, "{:>10} ring {:<16}  {:>12}  EXIT", "N", "RIP", "NS")
    }
}

/// Writes what belongs to one step.
pub(super) fn write(lines: &[Line], out: &mut dyn Write) -> io::Result<()> {
    let mut rest = lines;
    if let [Line::Insn(insn), behind @ ..] = lines {
        let accesses = behind.iter().take_while(|line| matches!(line, Line::Mem(_))).count();
        let (accesses, others) = behind.split_at(accesses);
        instruction(insn, accesses, out)?;
        rest = others;
    }
    rest.iter().try_for_each(|line| alone(line, out))
}

fn instruction(insn: &InsnLine, accesses: &[Line], out: &mut dyn Write) -> io::Result<()> {
    let mut effects: Vec<String> = insn.registers.iter().map(change).collect();
    for line in accesses {
        if let Line::Mem(access) = line {
            effects.push(memory(access));
        }
    }
    let head =
        format!("{:>10}  r{}  {:016x}  {:<TEXT$}  {}", insn.n, insn.ring, insn.rip.0, insn.text, effects.join("  "));
    writeln!(out, "{}", head.trim_end())
}

fn alone(line: &Line, out: &mut dyn Write) -> io::Result<()> {
    match line {
        Line::Insn(insn) => instruction(insn, &[], out),
        Line::Mem(access) => writeln!(out, "{:>10} {}", access.n, memory(access)),
        Line::Walk(line) => writeln!(out, "{INDENT}{}", walk(line)),
        Line::Walks { more, .. } => {
            writeln!(out, "{INDENT}walk: {more} more, of further or the processor's own accesses")
        }
        Line::Exception(event) | Line::Interrupt(event) => writeln!(out, "{INDENT}{}", delivered(event)),
        Line::Exit(line) if line.ns.is_some() => {
            let (ring, rip) = (line.ring.unwrap_or_default(), line.rip.map_or(0, |rip| rip.0));
            writeln!(out, "{:>10}  r{ring}  {rip:016x}  {:>12}  {}", line.n, line.ns.unwrap_or_default(), exit(line))
        }
        Line::Exit(line) => writeln!(out, "{INDENT}exit: {}", exit(line)),
        Line::End { message, .. } => writeln!(out, "end: {message}"),
    }
}

fn change(change: &Change) -> String {
    let Change { name, to, .. } = change;
    if name != "rflags" {
        return format!("{name}={to}");
    }
    let value = u64::from_str_radix(to.trim_start_matches("0x"), 16).unwrap_or(0);
    let set: Vec<&str> = FLAGS.iter().filter(|(bit, _)| value >> bit & 1 != 0).map(|(_, name)| *name).collect();
    format!("flags=[{}]", set.join(" "))
}

/// `r8 [0x1000]=0x4`: a read of 8 bytes; `w` writes, `rw` does both, and then shows what was there and what is.
fn memory(access: &MemLine) -> String {
    let kind = match access.access {
        "read" => "r",
        "write" => "w",
        _ => "rw",
    };
    let mut text = format!("{kind}{} [{:#x}]", access.size, access.address.0);
    match (&access.read, &access.written) {
        (Some(read), Some(written)) => text.push_str(&format!("={read}->{written}")),
        (Some(value), None) | (None, Some(value)) => text.push_str(&format!("={value}")),
        (None, None) => {}
    }
    text
}

fn walk(line: &WalkLine) -> String {
    let mut text = format!("walk for {} of {:#x}:", line.purpose, line.address.0);
    for entry in &line.entries {
        text.push_str(&format!(" {} [{}]={:#x}", entry.name, entry.address, entry.value.0));
    }
    match (line.physical, &line.unmapped) {
        (Some(physical), _) => text.push_str(&format!(" -> {physical}")),
        (None, why) => text.push_str(&format!(": {}", why.as_deref().unwrap_or("no page"))),
    }
    text
}

fn delivered(event: &Delivered) -> String {
    let mut text = match event.source {
        "fault" | "trap" => event.name.to_owned(),
        _ => format!("{} {:#x}", event.name, event.vector),
    };
    if let Some(error) = event.error {
        text.push_str(&format!(" error {error}"));
    }
    if let Some(address) = event.address {
        text.push_str(&format!(" address {address}"));
    }
    text.push_str(&format!(" at {}", event.rip));
    for then in &event.then {
        text.push_str(&format!(", whose delivery raised {then}"));
    }
    match (event.handler, event.handler_ring) {
        (Some(handler), Some(ring)) => text.push_str(&format!(" -> {handler}, ring {} -> {ring}", event.ring)),
        _ => text.push_str(", and then the processor shut down: a triple fault"),
    }
    text
}

fn exit(line: &ExitLine) -> String {
    let mut text = line.reason.to_owned();
    if let Some(port) = line.port {
        text.push_str(&format!(" {port}"));
    }
    if let Some(device) = line.device {
        text.push_str(&format!(" ({device})"));
    }
    if let Some(address) = line.address {
        text.push_str(&format!(" {address}"));
    }
    if let Some(size) = line.size {
        text.push_str(&format!(", {size} byte{}", if size == 1 { "" } else { "s" }));
    }
    if let Some(data) = &line.data {
        let bytes = data.split(' ').filter_map(|byte| u8::from_str_radix(byte, 16).ok());
        let printable: String =
            bytes.take(DATA / 3).map(|b| if b.is_ascii_graphic() || b == b' ' { b as char } else { '.' }).collect();
        let shown = data.get(..DATA).map_or_else(|| data.clone(), |start| format!("{start}..."));
        text.push_str(&format!(": {shown} '{printable}'"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::Hex;

    fn text(lines: &[Line]) -> String {
        let mut out = Vec::new();
        write(lines, &mut out).expect("a vector takes all");
        String::from_utf8(out).expect("text")
    }

    fn insn() -> Line {
        let flags = Change { name: "rflags".to_owned(), from: "0x2".to_owned(), to: "0x46".to_owned() };
        Line::Insn(InsnLine {
            n: 12,
            ring: 3,
            rip: Hex(0x40_1000),
            bytes: "48 31 c0".to_owned(),
            text: "xor rax, rax".to_owned(),
            complete: true,
            registers: vec![Change { name: "rax".to_owned(), from: "0x1".to_owned(), to: "0x0".to_owned() }, flags],
        })
    }

    #[test]
    fn effects_stand_behind_their_instruction() {
        let mem = MemLine {
            n: 12,
            access: "read-write",
            address: Hex(0x2000),
            size: 8,
            read: Some("0x1".to_owned()),
            written: Some("0x2".to_owned()),
        };
        let expected = format!(
            "        12  r3  0000000000401000  {:<TEXT$}  rax=0x0  flags=[PF ZF]  rw8 [0x2000]=0x1->0x2\n",
            "xor rax, rax"
        );
        assert_eq!(text(&[insn(), Line::Mem(mem.clone())]), expected);
        assert_eq!(text(&[Line::Mem(mem)]), "        12 rw8 [0x2000]=0x1->0x2\n");
    }

    #[test]
    fn events_stand_below() {
        let fault = Delivered {
            n: 12,
            vector: 14,
            name: "#PF",
            source: "fault",
            error: Some(Hex(6)),
            address: Some(Hex(0xabcd)),
            rip: Hex(0x40_1000),
            ring: 3,
            then: Vec::new(),
            handler: Some(Hex(0x1000)),
            handler_ring: Some(0),
        };
        let seen = text(&[Line::Exception(fault.clone())]);
        assert_eq!(seen.trim_start(), "#PF error 0x6 address 0xabcd at 0x401000 -> 0x1000, ring 3 -> 0\n");
        let triple = Delivered { then: vec!["#DF error 0x0".to_owned()], handler: None, handler_ring: None, ..fault };
        let seen = text(&[Line::Exception(triple)]);
        assert!(seen.contains("whose delivery raised #DF error 0x0, and then the processor shut down"), "{seen}");
    }

    #[test]
    fn an_exit_shows_its_data() {
        let line = ExitLine {
            n: 3,
            reason: "out",
            port: Some(Hex(0x3f8)),
            device: Some("console"),
            address: None,
            size: Some(1),
            data: Some("68".to_owned()),
            rip: Some(Hex(0x1000)),
            ring: Some(0),
            ns: Some(9000),
        };
        let seen = text(&[Line::Exit(line.clone())]);
        assert_eq!(seen, "         3  r0  0000000000001000          9000  out 0x3f8 (console), 1 byte: 68 'h'\n");
        let long = ExitLine { data: Some(["61"; 100].join(" ")), ns: None, ..line };
        let seen = text(&[Line::Exit(long)]);
        assert!(seen.contains("61 ... 'aaaaaaaaaaaaaaaa'"), "{seen}");
    }
}
