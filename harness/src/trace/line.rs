//! What a trace consists of, as JSON has it: one object a line.

use serde::Serialize;

use super::EventKind;
use crate::walk::{EntryView, Hex};

/// One thing that was seen. `n` is the number of instructions that the guest had retired before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Line {
    /// An instruction.
    Insn(InsnLine),
    /// A load or store of an instruction.
    Mem(MemLine),
    /// A walk of the page tables.
    Walk(WalkLine),
    /// Further walks of the same step: the processor's own accesses, such as to descriptors and to the stack of a handler.
    Walks {
        /// See [`Line`].
        n: u64,
        /// How many.
        more: u64,
    },
    /// An exception or a software interrupt was delivered.
    Exception(Delivered),
    /// An interrupt from outside was delivered.
    Interrupt(Delivered),
    /// The machine was needed.
    Exit(ExitLine),
    /// The trace is over.
    End {
        /// `limit`, `roi`, or `guest`: at the limit of steps, at the end of the region of interest, or with the guest.
        reason: &'static str,
        /// In a sentence.
        message: String,
    },
}

/// An instruction that was executed, or tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InsnLine {
    /// See [`Line`].
    pub n: u64,
    /// The ring that it was executed in.
    pub ring: u8,
    /// The instruction pointer.
    pub rip: Hex,
    /// Its bytes, two digits each.
    pub bytes: String,
    /// In assembly language.
    pub text: String,
    /// It is complete; else it raised a fault, or is a repetition with elements to go.
    pub complete: bool,
    /// The registers that it changed, but for the instruction pointer.
    pub registers: Vec<Change>,
}

/// A register that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// What it held.
    pub from: String,
    /// What it holds.
    pub to: String,
}

/// A load or store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemLine {
    /// See [`Line`].
    pub n: u64,
    /// `read`, `write`, or `read-write`.
    pub access: &'static str,
    /// The linear address.
    pub address: Hex,
    /// Bytes; of a repeated string instruction those of all elements.
    pub size: u64,
    /// What was read, up to 32 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
    /// What was written, up to 32 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
}

/// A walk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WalkLine {
    /// See [`Line`].
    pub n: u64,
    /// What the address was wanted for: `fetch`, `read` or `write`.
    #[serde(rename = "for")]
    pub purpose: &'static str,
    /// The linear address.
    pub address: Hex,
    /// The entries on the way, as they were before it.
    pub entries: Vec<EntryView>,
    /// The physical address, if there is a page.
    pub physical: Option<Hex>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmapped: Option<String>,
}

/// An event on its way to its handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivered {
    /// See [`Line`].
    pub n: u64,
    /// The vector.
    pub vector: u8,
    /// Its name.
    pub name: &'static str,
    /// `fault`, `trap`, `software` or `external`.
    pub source: &'static str,
    /// The error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Hex>,
    /// CR2, of a page fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Hex>,
    /// The instruction pointer that it returns to.
    pub rip: Hex,
    /// The ring that it came in.
    pub ring: u8,
    /// What its delivery raised in its turn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<String>,
    /// Where the handler begins; none after a triple fault.
    pub handler: Option<Hex>,
    /// The ring of the handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handler_ring: Option<u8>,
}

/// An exit to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExitLine {
    /// See [`Line`]; on KVM, which does not count instructions, the number of the exit.
    pub n: u64,
    /// `out`, `in`, `mmio-write`, `mmio-read`, `hlt`, `interrupt-window`, `interrupted`, `budget` or `triple-fault`.
    pub reason: &'static str,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Hex>,
    /// The device behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<&'static str>,
    /// The guest-physical address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Hex>,
    /// Bytes of an access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// The bytes of all accesses, two digits each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// On KVM: the instruction pointer, as KVM tells it: at the instruction or behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rip: Option<Hex>,
    /// On KVM: the ring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring: Option<u8>,
    /// On KVM: nanoseconds since the guest went on after the exit before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns: Option<u64>,
}

impl Line {
    /// By which name it is chosen; `None` if it is always shown.
    pub(super) const fn kind(&self) -> Option<EventKind> {
        Some(match self {
            Self::Insn(_) => EventKind::Insn,
            Self::Mem(_) => EventKind::Mem,
            Self::Walk(_) | Self::Walks { .. } => EventKind::Walk,
            Self::Exception(_) => EventKind::Exception,
            Self::Interrupt(_) => EventKind::Interrupt,
            Self::Exit(_) => EventKind::Io,
            Self::End { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_names_its_event() {
        let mem = MemLine {
            n: 7,
            access: "write",
            address: Hex(0xabcd),
            size: 1,
            read: None,
            written: Some("0x4".to_owned()),
        };
        let json = serde_json::to_string(&Line::Mem(mem)).expect("JSON");
        let expected = r#"{"event":"mem","n":7,"access":"write","address":"0xabcd","size":1,"written":"0x4"}"#;
        assert_eq!(json, expected);
        let end = Line::End { reason: "limit", message: "enough".to_owned() };
        assert_eq!(serde_json::to_value(&end).expect("JSON")["event"], "end");
    }
}
