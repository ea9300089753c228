//! Model-specific registers (numbers: Intel SDM volume 4).

use crate::core::{CR0_PG, Core, EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE, FS, GS, RAX, RCX, RDX};
use crate::int::Int;
use crate::op::{Op, R};
use crate::paging::canonical;

const TSC: u32 = 0x10;
const APIC_BASE: u32 = 0x1b;
const SYSENTER_CS: u32 = 0x174;
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;
const MISC_ENABLE: u32 = 0x1a0;
const PAT: u32 = 0x277;
const MTRR_CAP: u32 = 0xfe;
const MTRR_DEF_TYPE: u32 = 0x2ff;
const EFER: u32 = 0xc000_0080;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const FMASK: u32 = 0xc000_0084;
const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;

impl Core {
    fn read_msr(&mut self, number: u32, done: u8) -> R<u64> {
        let msrs = &self.msrs;
        Ok(match number {
            TSC => self.tsc(done),
            APIC_BASE => msrs.apic_base,
            SYSENTER_CS..=SYSENTER_EIP => msrs.sysenter[(number - SYSENTER_CS) as usize],
            MISC_ENABLE => msrs.misc_enable,
            PAT => msrs.pat,
            // No variable ranges; the default type is write-back.
            MTRR_CAP => 0,
            MTRR_DEF_TYPE => 0x806,
            EFER => self.efer,
            STAR => msrs.star,
            LSTAR => msrs.lstar,
            CSTAR => msrs.cstar,
            FMASK => msrs.fmask,
            FS_BASE => self.seg[FS].base,
            GS_BASE => self.seg[GS].base,
            KERNEL_GS_BASE => msrs.kernel_gs_base,
            TSC_AUX => msrs.tsc_aux,
            _ => return Err(self.gp()),
        })
    }

    fn write_msr(&mut self, number: u32, value: u64, done: u8) -> R {
        let address =
            matches!(number, LSTAR | CSTAR | FS_BASE | GS_BASE | KERNEL_GS_BASE | SYSENTER_ESP | SYSENTER_EIP);
        if address && !canonical(value) {
            return Err(self.gp());
        }
        match number {
            TSC => self.tsc_offset = self.tsc_offset.wrapping_add(value.wrapping_sub(self.tsc(done))),
            APIC_BASE => self.msrs.apic_base = value,
            SYSENTER_CS..=SYSENTER_EIP => self.msrs.sysenter[(number - SYSENTER_CS) as usize] = value,
            MISC_ENABLE => self.msrs.misc_enable = value,
            PAT => {
                // Each byte is a memory type: 0, 1, 4, 5, 6 or 7.
                if value.to_le_bytes().iter().any(|kind| !matches!(kind, 0 | 1 | 4..=7)) {
                    return Err(self.gp());
                }
                self.msrs.pat = value;
            }
            EFER => return self.write_efer(value),
            STAR => self.msrs.star = value,
            LSTAR => self.msrs.lstar = value,
            CSTAR => self.msrs.cstar = value,
            FMASK => self.msrs.fmask = value & 0xffff_ffff,
            FS_BASE => self.seg[FS].base = value,
            GS_BASE => self.seg[GS].base = value,
            KERNEL_GS_BASE => self.msrs.kernel_gs_base = value,
            TSC_AUX if value >> 32 == 0 => self.msrs.tsc_aux = value,
            _ => return Err(self.gp()),
        }
        self.update_mode();
        Ok(())
    }

    fn write_efer(&mut self, value: u64) -> R {
        let writable = EFER_SCE | EFER_LME | EFER_NXE;
        let changes_lme_while_paging = self.cr0 & CR0_PG != 0 && (value ^ self.efer) & EFER_LME != 0;
        if value & !(writable | EFER_LMA) != 0 || changes_lme_while_paging {
            return Err(self.gp());
        }
        self.efer = value & writable | self.efer & EFER_LMA;
        self.update_mode();
        self.flush_tlb();
        Ok(())
    }
}

pub(crate) fn rdmsr(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let value = core.read_msr(core.r[RCX] as u32, op.n)?;
    u32::set(core, RAX as u8, value);
    u32::set(core, RDX as u8, value >> 32);
    Ok(())
}

pub(crate) fn wrmsr(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let value = u32::get(core, RAX as u8) | u32::get(core, RDX as u8) << 32;
    core.write_msr(core.r[RCX] as u32, value, op.n)
}
