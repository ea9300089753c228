//! Exits to the machine, as lines.

use vmm_min::Why;

use super::ExitLine;
use crate::walk::Hex;

/// The line of an exit; what only KVM tells is left out.
pub(super) fn exit_line(n: u64, why: &Why) -> ExitLine {
    let mut line = ExitLine {
        n,
        reason: reason(why),
        port: None,
        device: why.device(),
        address: None,
        size: None,
        data: None,
        rip: None,
        ring: None,
        ns: None,
    };
    match why {
        Why::Port { port, size, data, .. } => {
            (line.port, line.size, line.data) = (Some(Hex((*port).into())), Some(*size), Some(bytes(data)));
        }
        Why::Memory { gpa, data, .. } => {
            (line.address, line.size, line.data) = (Some(Hex(*gpa)), Some(data.len()), Some(bytes(data)));
        }
        _ => {}
    }
    line
}

fn bytes(data: &[u8]) -> String {
    let bytes: Vec<String> = data.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

const fn reason(why: &Why) -> &'static str {
    match why {
        Why::Port { out: true, .. } => "out",
        Why::Port { .. } => "in",
        Why::Memory { write: true, .. } => "mmio-write",
        Why::Memory { .. } => "mmio-read",
        Why::Halt => "hlt",
        Why::Shutdown => "triple-fault",
        Why::IrqWindow => "interrupt-window",
        Why::Interrupted => "interrupted",
        Why::BudgetExhausted => "budget",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_told_by_what_it_was_for() {
        let out = Why::Port { port: 0x3f8, out: true, size: 1, data: vec![0x68, 0x69] };
        let line = exit_line(3, &out);
        assert_eq!((line.n, line.reason, line.device), (3, "out", Some("console")));
        assert_eq!((line.port, line.size, line.data.as_deref()), (Some(Hex(0x3f8)), Some(1), Some("68 69")));
        let read = exit_line(0, &Why::Memory { gpa: 1 << 40, write: false, data: vec![0xff; 4] });
        assert_eq!((read.reason, read.address, read.size), ("mmio-read", Some(Hex(1 << 40)), Some(4)));
        assert_eq!((read.device, exit_line(0, &Why::Halt).reason), (None, "hlt"));
    }
}
