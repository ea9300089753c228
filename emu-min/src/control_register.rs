//! Control registers: CR0, CR2, CR3, CR4 and CR8 and the rules for writing them (Intel SDM volume 3, 2.5).

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::core::{
    CR0_AM, CR0_CD, CR0_EM, CR0_ET, CR0_MP, CR0_NE, CR0_NW, CR0_PE, CR0_PG, CR0_TS, CR0_WP, CR4_DE, CR4_FSGSBASE,
    CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, CR4_PAE, CR4_PCE, CR4_PCIDE, CR4_PGE, CR4_SMAP, CR4_SMEP, CR4_TSD,
    CR4_UMIP, CS, Core, EFER_LMA, EFER_LME, Mode,
};
use crate::descriptor::{selector_operand, store_word};
use crate::exception::UD;
use crate::int::Int;
use crate::op::{Op, R, Selected, end, store};
use crate::paging::{PCID, PHYS_BITS};

/// Bits of CR0 that exist; the others stay clear.
const CR0_BITS: u64 = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
/// Bits of CR4 that may be set, and OSXSAVE if there is XSAVE; PSE and MCE (bits 4 and 6) mean nothing here.
const CR4_BITS: u64 = CR4_TSD
    | CR4_DE
    | 1 << 4
    | CR4_PAE
    | 1 << 6
    | CR4_PGE
    | CR4_PCE
    | CR4_OSFXSR
    | CR4_OSXMMEXCPT
    | CR4_UMIP
    | CR4_FSGSBASE
    | CR4_PCIDE
    | CR4_SMEP
    | CR4_SMAP;
/// In a value for CR3 while CR4.PCIDE is set: translations of the process-context identifier stay. Not kept.
const CR3_KEEP: u64 = 1 << 63;

impl Core {
    fn write_cr0(&mut self, value: u64) -> R {
        let value = value | CR0_ET;
        let paging = value & CR0_PG != 0;
        // Without PE the processor would be in real mode, which is not modelled (and PG without PE is invalid anyway).
        let invalid = value >> 32 != 0 || value & CR0_PE == 0 || (value & CR0_NW != 0 && value & CR0_CD == 0);
        if invalid {
            return Err(self.gp());
        }
        let was_paging = self.cr0 & CR0_PG != 0;
        if paging && !was_paging {
            // Only 4-level paging is modelled, so paging means long mode.
            if self.efer & EFER_LME == 0 || self.cr4 & CR4_PAE == 0 || self.seg[CS].long() {
                return Err(self.gp());
            }
            self.efer |= EFER_LMA;
        } else if was_paging && !paging {
            if self.mode == Mode::Bits64 || self.cr4 & CR4_PCIDE != 0 {
                return Err(self.gp());
            }
            self.efer &= !EFER_LMA;
        }
        let changed = self.cr0 ^ value;
        self.cr0 = value & CR0_BITS;
        self.update_mode();
        if changed & (CR0_PG | CR0_WP) != 0 {
            self.flush_tlb();
        }
        Ok(())
    }

    fn write_cr3(&mut self, value: u64) -> R {
        let tagged = self.cr4 & CR4_PCIDE != 0;
        let keep = tagged && value & CR3_KEEP != 0;
        let value = if tagged { value & !CR3_KEEP } else { value };
        if value >> PHYS_BITS != 0 {
            return Err(self.gp());
        }
        let (from, to) = if tagged { ((self.cr3 & PCID) as u16, (value & PCID) as u16) } else { (0, 0) };
        self.cr3 = value;
        self.switch_space(from, to, keep);
        Ok(())
    }

    fn write_cr4(&mut self, value: u64) -> R {
        let leaves_pae = self.long_mode() && value & CR4_PAE == 0;
        let begins_tagging = value & !self.cr4 & CR4_PCIDE != 0;
        let untaggable = begins_tagging && (!self.long_mode() || self.cr3 & PCID != 0);
        let os_xsave = if self.xcr0_supported() != 0 { CR4_OSXSAVE } else { 0 };
        if value & !(CR4_BITS | os_xsave) != 0 || leaves_pae || untaggable {
            return Err(self.gp());
        }
        self.cr4 = value;
        self.update_mode();
        self.flush_tlb();
        self.arm_breakpoints();
        Ok(())
    }
}

/// The register operand of a move to or from a control or debug register: 64 bits in 64-bit mode, else 32.
pub(crate) fn get_register(core: &Core, number: u8) -> u64 {
    let value = core.r[(number & 31) as usize];
    if core.mode == Mode::Bits64 { value } else { value & 0xffff_ffff }
}

/// #UD for a control register that does not exist, then #GP(0) outside ring 0.
fn check_access(core: &mut Core, number: u8) -> R {
    if !matches!(number, 0 | 2 | 3 | 4 | 8) {
        return Err(core.fault(UD));
    }
    core.require_ring0()
}

fn mov_from_cr(core: &mut Core, op: &Op) -> R {
    check_access(core, op.src)?;
    let value = match op.src {
        0 => core.cr0,
        2 => core.cr2,
        3 => core.cr3,
        4 => core.cr4,
        _ => core.cr8,
    };
    u64::set(core, op.dst, value);
    Ok(())
}

fn mov_to_cr(core: &mut Core, op: &Op) -> R {
    check_access(core, op.dst)?;
    let value = get_register(core, op.src);
    match op.dst {
        0 => core.write_cr0(value),
        2 => {
            core.cr2 = value;
            Ok(())
        }
        3 => core.write_cr3(value),
        4 => core.write_cr4(value),
        _ if value <= 15 => {
            core.cr8 = value;
            Ok(())
        }
        _ => Err(core.gp()),
    }
}

fn smsw(core: &mut Core, op: &Op) -> R {
    core.check_umip()?;
    let value = core.cr0;
    store_word(core, op, value)
}

/// LMSW: the low four bits of CR0; it can set PE but not clear it.
fn lmsw(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let value = u64::from(selector_operand(core, op)?);
    let pe = core.cr0 & CR0_PE;
    core.write_cr0(core.cr0 & !15 | value & 15 | pe)
}

fn clts(core: &mut Core, _: &Op) -> R {
    core.require_ring0()?;
    core.cr0 &= !CR0_TS;
    core.update_sse();
    Ok(())
}

pub(crate) fn select(ins: &Instruction, op: &mut Op) -> Selected {
    let is_cr = |i: u32| ins.op_kind(i) == OpKind::Register && Register::is_cr(ins.op_register(i));
    match op.mnemonic {
        Mnemonic::Mov if is_cr(0) => end!(mov_to_cr),
        Mnemonic::Mov if is_cr(1) => end!(mov_from_cr),
        Mnemonic::Smsw => store!(smsw),
        Mnemonic::Lmsw => end!(lmsw),
        Mnemonic::Clts => end!(clts),
        _ => None,
    }
}
