//! A final state as JSON.

use serde_json::{Map, Value, json};

use super::end::{End, exception_name};
use super::names::{get_register, hex};
use super::runner::{Engine, FinalState};
use super::snippet::Mode;

const GPRS: [&str; 16] =
    ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];

/// The state as a JSON object: `engine`, `end`, `exception`, `registers`, `memory`. All register values and addresses
/// are strings of `0x` and hexadecimal digits, at full width.
#[must_use]
pub fn to_json(engine: Engine, mode: Mode, state: &FinalState) -> Value {
    let registers = &state.registers;
    let digits = |name: &str| {
        let ([low, high], bits) = get_register(registers, name).unwrap_or(([0; 2], 64));
        let text = hex([low, high]);
        let width = bits.div_ceil(4) as usize;
        format!("0x{:0>width$}", text.trim_start_matches("0x"))
    };
    let mut out = Map::new();
    for name in GPRS {
        out.insert(name.to_owned(), digits(name).into());
    }
    for name in ["rip", "rflags", "mxcsr"] {
        out.insert(name.to_owned(), digits(name).into());
    }
    for (i, name) in SEGMENTS.into_iter().enumerate() {
        let base = match name {
            "fs" => registers.fs_base,
            "gs" => registers.gs_base,
            _ => 0,
        };
        let selector = format!("{:#06x}", registers.selectors[i]);
        out.insert(name.to_owned(), json!({ "selector": selector, "base": format!("{base:#018x}") }));
    }
    let numbered = |prefix: &str, count| (0..count).map(|i| digits(&format!("{prefix}{i}"))).collect::<Vec<_>>();
    out.insert("xmm".to_owned(), numbered("xmm", 16).into());
    out.insert("ymm".to_owned(), numbered("ymm", 16).into());
    let x87 = json!({ "fcw": digits("fcw"), "fsw": digits("fsw"), "ftw": digits("ftw"), "st": numbered("st", 8) });
    out.insert("x87".to_owned(), x87);

    let exception = match state.end {
        End::Exception(exception) => json!({
            "vector": exception.vector,
            "name": exception_name(exception.vector),
            "error_code": exception.error_code.map(|code| format!("{code:#x}")),
            "address": exception.address.map(|address| format!("{address:#018x}")),
        }),
        _ => Value::Null,
    };
    let memory: Vec<Value> = state
        .memory
        .iter()
        .map(|change| json!({ "address": format!("{:#x}", change.address), "bytes": bytes_hex(&change.bytes) }))
        .collect();
    json!({
        "engine": engine.name(),
        "mode": mode.bits(),
        "end": state.end.name(),
        "exception": exception,
        "registers": out,
        "memory": memory,
    })
}

/// Two digits a byte, separated by blanks.
pub(crate) fn bytes_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Exception, MemoryChange, Registers};

    #[test]
    fn everything_that_was_promised_is_there() {
        let mut registers = Registers { fs_base: 0x1234, ..Registers::default() };
        registers.x87.st[0] = 0x3fff_8000_0000_0000_0000;
        registers.ymm[1] = [2, 1];
        let state = FinalState {
            end: End::Exception(Exception::new(14, 6, 0x10)),
            registers,
            memory: vec![MemoryChange { address: 0x2000, bytes: vec![1, 0xab] }],
        };
        let json = to_json(Engine::Native, Mode::Bits64, &state);
        assert_eq!(json["exception"]["vector"], 14);
        assert_eq!(json["exception"]["error_code"], "0x6");
        assert_eq!(json["exception"]["address"], "0x0000000000000010");
        assert_eq!(json["registers"]["r15"], "0x0000000000000000");
        assert_eq!(json["registers"]["fs"]["base"], "0x0000000000001234");
        assert_eq!(json["registers"]["x87"]["st"][0], "0x3fff8000000000000000");
        assert_eq!(json["registers"]["ymm"][1], format!("0x{:032x}{:032x}", 1, 2));
        assert_eq!(json["registers"]["xmm"][1], format!("0x{:032x}", 2));
        assert_eq!(json["memory"][0]["bytes"], "01 ab");
    }
}
