//! Registers by name, as users and the corpus write them.

use super::registers::Registers;

const GPR64: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
const GPR32: [&str; 8] = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];

/// Why a register was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No such register.
    #[error(
        "no register {0:?}; there are rax to r15, rip, rflags, fs_base, gs_base, xmm0 to xmm15, ymm0 to ymm15, mxcsr, \
         fcw, fsw, ftw and st0 to st7"
    )]
    Unknown(String),
    /// Not a number.
    #[error("{value:?} is not a value for {name}; write a decimal or 0x-hexadecimal number of at most {bits} bits")]
    Value {
        /// The register.
        name: String,
        /// What was given.
        value: String,
        /// Bits of the register.
        bits: u32,
    },
}

/// Where a name points.
enum Place {
    Gpr(usize),
    Gpr32(usize),
    Rip,
    Rflags,
    FsBase,
    GsBase,
    Xmm(usize),
    Ymm(usize),
    Mxcsr,
    Fcw,
    Fsw,
    Ftw,
    St(usize),
}

impl Place {
    fn find(name: &str) -> Option<Self> {
        let numbered = |prefix: &str, limit: usize| {
            let digits = name.strip_prefix(prefix)?;
            let plain = digits == "0" || !digits.starts_with(['0', '+']);
            digits.parse::<usize>().ok().filter(|&n| plain && n < limit)
        };
        if let Some(i) = GPR64.iter().position(|&gpr| gpr == name) {
            return Some(Self::Gpr(i));
        }
        if let Some(i) = GPR32.iter().position(|&gpr| gpr == name) {
            return Some(Self::Gpr32(i));
        }
        Some(match name {
            "rip" | "eip" => Self::Rip,
            "rflags" | "eflags" => Self::Rflags,
            "fs_base" => Self::FsBase,
            "gs_base" => Self::GsBase,
            "mxcsr" => Self::Mxcsr,
            "fcw" => Self::Fcw,
            "fsw" => Self::Fsw,
            "ftw" => Self::Ftw,
            _ => numbered("xmm", 16)
                .map(Self::Xmm)
                .or_else(|| numbered("ymm", 16).map(Self::Ymm))
                .or_else(|| numbered("st", 8).map(Self::St))?,
        })
    }

    const fn bits(&self) -> u32 {
        match self {
            Self::Gpr(_) | Self::Rip | Self::Rflags | Self::FsBase | Self::GsBase => 64,
            Self::Gpr32(_) | Self::Mxcsr => 32,
            Self::Fcw | Self::Fsw => 16,
            Self::Ftw => 8,
            Self::St(_) => 80,
            Self::Xmm(_) => 128,
            Self::Ymm(_) => 256,
        }
    }
}

/// Sets the register `name` to `value`, a decimal or 0x-hexadecimal number.
///
/// # Errors
/// No such register, or no such value.
pub fn set_register(registers: &mut Registers, name: &str, value: &str) -> Result<(), NameError> {
    let name = name.to_ascii_lowercase();
    let place = Place::find(&name).ok_or_else(|| NameError::Unknown(name.clone()))?;
    let bits = place.bits();
    let [low, high] =
        parse_wide(value, bits).ok_or_else(|| NameError::Value { name, value: value.to_owned(), bits })?;
    match place {
        Place::Gpr(i) | Place::Gpr32(i) => registers.gprs[i] = low as u64,
        Place::Rip => registers.rip = low as u64,
        Place::Rflags => registers.rflags = low as u64 | Registers::FIXED_FLAGS,
        Place::FsBase => registers.fs_base = low as u64,
        Place::GsBase => registers.gs_base = low as u64,
        Place::Xmm(i) => registers.ymm[i][0] = low,
        Place::Ymm(i) => registers.ymm[i] = [low, high],
        Place::Mxcsr => registers.mxcsr = low as u32,
        Place::Fcw => registers.x87.fcw = low as u16,
        Place::Fsw => registers.x87.fsw = low as u16,
        Place::Ftw => registers.x87.ftw = low as u8,
        Place::St(i) => registers.x87.st[i] = low,
    }
    Ok(())
}

/// The value of the register `name` as bits 0-127 and 128-255, and its width in bits.
#[must_use]
pub fn get_register(registers: &Registers, name: &str) -> Option<([u128; 2], u32)> {
    let place = Place::find(name)?;
    let value = match place {
        Place::Gpr(i) => u128::from(registers.gprs[i]),
        Place::Gpr32(i) => u128::from(registers.gprs[i] as u32),
        Place::Rip => u128::from(registers.rip),
        Place::Rflags => u128::from(registers.rflags),
        Place::FsBase => u128::from(registers.fs_base),
        Place::GsBase => u128::from(registers.gs_base),
        Place::Xmm(i) => registers.ymm[i][0],
        Place::Ymm(i) => return Some((registers.ymm[i], 256)),
        Place::Mxcsr => u128::from(registers.mxcsr),
        Place::Fcw => u128::from(registers.x87.fcw),
        Place::Fsw => u128::from(registers.x87.fsw),
        Place::Ftw => u128::from(registers.x87.ftw),
        Place::St(i) => registers.x87.st[i],
    };
    Some(([value, 0], place.bits()))
}

/// Names and values, in hexadecimal, of the registers that differ from [`Registers::default`].
#[must_use]
pub fn nonzero_registers(registers: &Registers) -> Vec<(String, String)> {
    let default = Registers::default();
    let fixed = ["rip", "rflags", "fs_base", "gs_base", "mxcsr", "fcw", "fsw", "ftw"].map(str::to_owned);
    let numbered = (0..8).map(|i| format!("st{i}")).chain((0..16).map(|i| format!("ymm{i}")));
    let names = GPR64.iter().map(|&name| name.to_owned()).chain(fixed).chain(numbered);
    names
        .filter_map(|name| {
            let (value, _) = get_register(registers, &name)?;
            let (initial, _) = get_register(&default, &name)?;
            (value != initial).then(|| (name, hex(value)))
        })
        .collect()
}

/// `0x` and the digits that are needed.
pub(crate) fn hex([low, high]: [u128; 2]) -> String {
    if high == 0 { format!("{low:#x}") } else { format!("{high:#x}{low:032x}") }
}

/// A number of at most `bits` bits; beyond 128 bits it must be hexadecimal.
fn parse_wide(text: &str, bits: u32) -> Option<[u128; 2]> {
    let text = text.replace('_', "");
    let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) else {
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let value: u128 = text.parse().ok()?;
        return (bits >= 128 || value >> bits == 0).then_some([value, 0]);
    };
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let digits = if digits.trim_start_matches('0').is_empty() && !digits.is_empty() {
        "0"
    } else {
        digits.trim_start_matches('0')
    };
    if digits.is_empty() || digits.len() as u32 * 4 > bits.next_multiple_of(4) {
        return None;
    }
    let split = digits.len().saturating_sub(32);
    let (high, low) = digits.split_at(split);
    let high = if high.is_empty() { 0 } else { u128::from_str_radix(high, 16).ok()? };
    Some([u128::from_str_radix(low, 16).ok()?, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_can_be_set_and_read_back() {
        let names = ["rax", "r15", "rip", "fs_base", "mxcsr", "fcw", "fsw", "ftw", "st7", "xmm15", "ymm3", "esp"];
        for name in names {
            let mut r = Registers::default();
            set_register(&mut r, name, "0x12").unwrap();
            assert_eq!(get_register(&r, name).unwrap().0, [0x12, 0], "{name}");
        }
        let mut r = Registers::default();
        set_register(&mut r, "ymm0", &format!("0x1{}", "0".repeat(32))).unwrap();
        assert_eq!(r.ymm[0], [0, 1]);
        set_register(&mut r, "RFLAGS", "1").unwrap();
        assert_eq!(r.rflags, 0x203);
        assert_eq!(
            nonzero_registers(&r),
            [("rflags".into(), "0x203".into()), ("ymm0".into(), format!("0x1{}", "0".repeat(32)))]
        );
    }

    #[test]
    fn bad_names_and_values_are_refused() {
        let mut r = Registers::default();
        for name in ["rzx", "xmm16", "st8", "xmm01", "ymm+1", "", "r16"] {
            assert_eq!(set_register(&mut r, name, "0"), Err(NameError::Unknown(name.into())));
        }
        for (name, value) in [
            ("rax", "0x1_0000_0000_0000_0000"),
            ("ftw", "256"),
            ("rax", "-1"),
            ("rax", "0x"),
            ("rax", ""),
            ("st0", "0x1ffffffffffffffffffff"),
        ] {
            assert!(matches!(set_register(&mut r, name, value), Err(NameError::Value { .. })), "{name}={value}");
        }
    }
}
