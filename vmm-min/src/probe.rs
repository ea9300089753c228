//! How fast KVM runs the two rings, measured: what no file of the host states.
//!
//! With VT-x or AMD-V a loop of register instructions takes the same time in ring 0 and in ring 3. A KVM without such
//! hardware support emulates ring 0 instruction by instruction, and the ratio is in the thousands.

use std::io;
use std::time::{Duration, Instant};

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use vm_memory::{Bytes, GuestAddress};

use crate::cpu::CpuError;
use crate::memory::{GuestRam, MemoryError};

/// Time of one iteration of `dec ecx; jnz` in a guest on KVM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RingTimes {
    /// In ring 0, nanoseconds.
    pub ring0_ns: f64,
    /// In ring 3, nanoseconds.
    pub ring3_ns: f64,
}

impl RingTimes {
    /// How many times as long ring 0 takes.
    pub fn ratio(&self) -> f64 {
        self.ring0_ns / self.ring3_ns
    }
}

/// Why it could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// KVM is not there, or refused a request.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// There is no memory for the guest.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The guest did not do what its four instructions say.
    #[error("the probe's guest left ring {ring} with the unexpected exit {exit}")]
    Exit {
        /// The ring it ran in.
        ring: u8,
        /// KVM's exit.
        exit: String,
    },
}

/// Measures both rings; takes some milliseconds.
///
/// # Errors
/// KVM cannot be used or does not run the guest.
pub fn ring_times() -> Result<RingTimes, ProbeError> {
    let ram = GuestRam::new(RAM_MIB)?;
    load(&ram)?;
    let kvm = Kvm::new().map_err(refused(OPEN))?;
    let vm = kvm.create_vm().map_err(refused("KVM_CREATE_VM"))?;
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: ram.size() as u64,
        userspace_addr: ram.host_ptr() as u64,
    };
    // SAFETY: the region is exactly the mapping that `ram` owns, and the VM is gone before `ram` is: it was made later.
    unsafe { vm.set_user_memory_region(region) }.map_err(refused("KVM_SET_USER_MEMORY_REGION"))?;
    let mut vcpu = vm.create_vcpu(0).map_err(refused("KVM_CREATE_VCPU"))?;
    Ok(RingTimes { ring0_ns: iteration_ns(&mut vcpu, 0)?, ring3_ns: iteration_ns(&mut vcpu, 3)? })
}

const OPEN: &str = "opening /dev/kvm";
const RAM_MIB: u32 = 2;
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PD: u64 = 0x3000;
const CODE_AT: u64 = 0x4000;
/// Virtual address of a page that is mapped to where no RAM is.
const DEVICE_AT: u64 = 0x20_0000;
/// Physical address of that page.
const NO_RAM: u64 = 0x1000_0000;

/// `again: dec ecx; jnz again; mov [rbx], al; hlt`; the store is an exit that every ring may cause.
const CODE: [u8; 7] = [0xff, 0xc9, 0x75, 0xfc, 0x88, 0x03, 0xf4];

/// Present, writable, for ring 3 too, accessed and dirty (Intel SDM, volume 3, 4.5).
const MAPPED: u64 = 0x67;
/// A 2 MiB page.
const LARGE: u64 = 0x80;

fn load(ram: &GuestRam) -> Result<(), MemoryError> {
    let words = [(PML4, PDPT | MAPPED), (PDPT, PD | MAPPED), (PD, MAPPED | LARGE), (PD + 8, NO_RAM | MAPPED | LARGE)];
    let memory = ram.memory();
    words
        .into_iter()
        .try_for_each(|(at, word)| memory.write_obj(word, GuestAddress(at)))
        .and_then(|()| memory.write_slice(&CODE, GuestAddress(CODE_AT)))
        .map_err(|error| MemoryError::Layout(error.to_string()))
}

/// The best of this many samples: whatever disturbs a sample makes it longer.
const SAMPLES: u32 = 5;
/// Long enough that an exit's own time does not matter.
const SPAN: Duration = Duration::from_micros(300);
const FIRST_COUNT: u32 = 256;
const LAST_COUNT: u32 = 1 << 24;

fn iteration_ns(vcpu: &mut VcpuFd, ring: u8) -> Result<f64, ProbeError> {
    enter(vcpu, ring)?;
    let mut count = FIRST_COUNT;
    loop {
        let mut best = |count| (0..SAMPLES).map(|_| sample(vcpu, ring, count)).try_fold(Duration::MAX, shorter);
        let rest = best(1)?;
        let span = best(count)?.saturating_sub(rest);
        if span >= SPAN || count >= LAST_COUNT {
            return Ok(span.as_nanos() as f64 / f64::from(count - 1));
        }
        count *= 8;
    }
}

fn shorter(best: Duration, next: Result<Duration, ProbeError>) -> Result<Duration, ProbeError> {
    Ok(best.min(next?))
}

/// Time of a run with `count` iterations.
fn sample(vcpu: &mut VcpuFd, ring: u8, count: u32) -> Result<Duration, ProbeError> {
    let regs =
        kvm_regs { rip: CODE_AT, rcx: count.into(), rbx: DEVICE_AT, rflags: 2, rsp: CODE_AT, ..Default::default() };
    vcpu.set_regs(&regs).map_err(refused("KVM_SET_REGS"))?;
    loop {
        let start = Instant::now();
        let exit = vcpu.run();
        let span = start.elapsed();
        match exit {
            Ok(VcpuExit::MmioWrite(NO_RAM, _)) => return Ok(span),
            // A signal cut the run short: once more, from the beginning.
            Ok(VcpuExit::Intr) => vcpu.set_regs(&regs).map_err(refused("KVM_SET_REGS"))?,
            Err(error) if error.errno() == libc::EINTR => vcpu.set_regs(&regs).map_err(refused("KVM_SET_REGS"))?,
            Ok(other) => return Err(ProbeError::Exit { ring, exit: format!("{other:?}") }),
            Err(error) => return Err(refused("KVM_RUN")(error).into()),
        }
    }
}

/// Puts the virtual CPU into 64-bit mode in `ring`, with Linux's selectors.
fn enter(vcpu: &VcpuFd, ring: u8) -> Result<(), CpuError> {
    let sregs = vcpu.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
    let segment = |selector: u16, type_| kvm_segment {
        limit: u32::MAX,
        selector: selector | u16::from(ring),
        type_,
        present: 1,
        dpl: ring,
        s: 1,
        g: 1,
        ..Default::default()
    };
    let (code, data) = if ring == 0 { (0x10, 0x18) } else { (0x30, 0x28) };
    let data = kvm_segment { db: 1, ..segment(data, 0x3) };
    let sregs = kvm_sregs {
        cs: kvm_segment { l: 1, ..segment(code, 0xb) },
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: kvm_segment { limit: 0x67, type_: 0xb, present: 1, ..Default::default() },
        // PG, WP, NE, ET, PE; PAE; LMA, LME, SCE (Intel SDM, volume 3, 2.2.1 and 2.5).
        cr0: 0x8001_0031,
        cr3: PML4,
        cr4: 0x20,
        efer: 0x501,
        ..sregs
    };
    vcpu.set_sregs(&sregs).map_err(refused("KVM_SET_SREGS"))
}

fn refused(request: &'static str) -> impl Fn(kvm_ioctls::Error) -> CpuError {
    move |error| CpuError::Kvm { request, source: io::Error::from_raw_os_error(error.errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_rings_run_and_ring_0_is_no_faster() {
        match ring_times() {
            Ok(times) => {
                println!("{times:?}, ratio {:.2}", times.ratio());
                assert!(times.ring3_ns > 0.0 && times.ring0_ns > 0.0, "{times:?}");
            }
            Err(ProbeError::Cpu(error @ CpuError::Kvm { request: OPEN, .. })) => println!("skipped: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
}
