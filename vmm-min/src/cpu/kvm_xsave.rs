//! The registers of x87 and SSE in the XSAVE area that KVM hands out. (KVM_GET_FPU would leave out MXCSR.)

use emu_min::Fpu;
use kvm_bindings::kvm_xsave;

use super::CpuError;
use super::kvm::{KvmCpu, refused};
use crate::debug::FloatRegisters;

/// Bytes of the legacy region and of XSTATE_BV, which follows it.
const BYTES: usize = 520;
/// XSTATE_BV: the components x87 and SSE are not in their initial state.
const LEGACY: u64 = 3;

impl KvmCpu {
    /// The registers of x87 and SSE.
    pub(super) fn floats(&mut self) -> Result<FloatRegisters, CpuError> {
        let area = self.vcpu().get_xsave().map_err(refused("KVM_GET_XSAVE"))?;
        Ok(unpack(&head(&area)))
    }

    /// Replaces them.
    pub(super) fn set_floats(&mut self, registers: &FloatRegisters) -> Result<(), CpuError> {
        // Of the other components nothing changes.
        let mut area = self.vcpu().get_xsave().map_err(refused("KVM_GET_XSAVE"))?;
        let mut bytes = head(&area);
        pack(&mut bytes, registers);
        for (word, bytes) in area.region.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        // SAFETY: KVM_SET_XSAVE reads 4096 bytes, the size of `kvm_xsave`; features with larger areas need a request to
        // the host (arch_prctl) that is never made here.
        unsafe { self.vcpu().set_xsave(&area) }.map_err(refused("KVM_SET_XSAVE"))
    }
}

/// The beginning of an area.
fn head(area: &kvm_xsave) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(area.region) {
        *bytes = word.to_le_bytes();
    }
    bytes
}

fn field<const N: usize>(bytes: &[u8; BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

/// Reads the legacy region, as FXSAVE64 writes it (Intel SDM volume 1, table 10-2 and 13.4.1).
fn unpack(bytes: &[u8; BYTES]) -> FloatRegisters {
    let half = |at| u16::from_le_bytes(field(bytes, at));
    let wide = |at| u64::from_le_bytes(field(bytes, at));
    FloatRegisters {
        fpu: Fpu {
            fcw: half(0),
            fsw: half(2),
            ftw: bytes[4],
            fop: half(6),
            fip: wide(8),
            fcs: 0,
            fdp: wide(16),
            fds: 0,
            st: std::array::from_fn(|i| u128::from_le_bytes(field(bytes, 32 + i * 16)) & ((1 << 80) - 1)),
        },
        mxcsr: u32::from_le_bytes(field(bytes, 24)),
        xmm: std::array::from_fn(|i| u128::from_le_bytes(field(bytes, 160 + i * 16))),
    }
}

/// Writes it.
fn pack(bytes: &mut [u8; BYTES], registers: &FloatRegisters) {
    let fpu = &registers.fpu;
    let xstate = u64::from_le_bytes(field(bytes, 512)) | LEGACY;
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &fpu.fcw.to_le_bytes());
    put(2, &fpu.fsw.to_le_bytes());
    put(4, &[fpu.ftw]);
    put(6, &fpu.fop.to_le_bytes());
    put(8, &fpu.fip.to_le_bytes());
    put(16, &fpu.fdp.to_le_bytes());
    // A reserved bit would be #GP in the guest (Intel SDM volume 1, 10.2.3).
    put(24, &(registers.mxcsr & 0xffff).to_le_bytes());
    for (i, value) in fpu.st.iter().enumerate() {
        put(32 + i * 16, &value.to_le_bytes()[..10]);
    }
    for (i, value) in registers.xmm.iter().enumerate() {
        put(160 + i * 16, &value.to_le_bytes());
    }
    put(512, &xstate.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_marked_as_in_use() {
        let fpu = Fpu {
            fcw: 0x27f,
            fsw: 7 << 11,
            ftw: 0x81,
            fop: 0x123,
            fip: 0x40_1000,
            fdp: 1 << 46,
            st: std::array::from_fn(|i| (i as u128 + 1) << 72 | 5),
            ..Fpu::default()
        };
        let registers = FloatRegisters { fpu, xmm: std::array::from_fn(|i| (i as u128 + 7) << 100), mxcsr: 0x1fa0 };
        let mut bytes = [0xff; BYTES];
        bytes[512..].copy_from_slice(&4u64.to_le_bytes());
        pack(&mut bytes, &registers);
        assert_eq!(unpack(&bytes), registers);
        assert_eq!((bytes[512], bytes[28..32].to_vec()), (7, vec![0xff; 4]), "MXCSR_MASK is the host's");
    }
}
