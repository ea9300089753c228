//! A virtual CPU on /dev/kvm: one VM, one vCPU, RAM as its only memory slot, no interrupt controller.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvm_bindings::{
    CpuId, KVM_EXIT_IO_OUT, KVM_MAX_CPUID_ENTRIES, kvm_dtable, kvm_interrupt, kvm_regs, kvm_segment, kvm_sregs,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};

use super::kvm_debug::KvmDebug;
use super::kvm_kick::KvmKick;
use super::kvm_stats::KvmStats;
use super::{CpuError, Exit, Kick, Registers, Segment, VirtualCpu};
use crate::boot::BootState;
use crate::counters::Counter;
use crate::debug::DebugCpu;
use crate::memory::GuestRam;

/// `_IOW(KVMIO, 0x86, struct kvm_interrupt)`.
const KVM_INTERRUPT: libc::c_ulong = 0x4004_ae86;

/// The host's processor as a virtual CPU.
#[derive(Debug)]
pub(crate) struct KvmCpu {
    vcpu: VcpuFd,
    vm: VmFd,
    kick: Arc<KvmKick>,
    /// Opened at the first reading, so that they cost nothing at start-up; empty where KVM has none.
    stats: Option<Vec<KvmStats>>,
    /// Made when a debugger comes.
    pub(super) debug: Option<Box<KvmDebug>>,
    // Dropped last: the VM maps it.
    ram: Arc<GuestRam>,
}

/// What it took to make a KVM virtual CPU, by step.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KvmCosts {
    pub(crate) open: Duration,
    pub(crate) create_vm: Duration,
    pub(crate) memory_slot: Duration,
    pub(crate) create_vcpu: Duration,
    pub(crate) cpuid: Duration,
}

impl KvmCpu {
    /// Makes a VM with `ram` at guest-physical address 0 and one vCPU that sees the CPUID KVM supports.
    pub(crate) fn new(ram: Arc<GuestRam>) -> Result<(Self, KvmCosts), CpuError> {
        let mut costs = KvmCosts::default();
        let mut last = Instant::now();
        let mut lap = |slot: &mut Duration| *slot = std::mem::replace(&mut last, Instant::now()).elapsed();

        let kvm = open_kvm()?;
        lap(&mut costs.open);
        let vm = create_vm(&kvm)?;
        lap(&mut costs.create_vm);
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: ram.size() as u64,
            userspace_addr: ram.host_ptr() as u64,
        };
        // SAFETY: the region is exactly the mapping that `ram` owns, and `ram` outlives the VM in this object.
        unsafe { vm.set_user_memory_region(region) }.map_err(refused("KVM_SET_USER_MEMORY_REGION"))?;
        lap(&mut costs.memory_slot);
        let mut vcpu = vm.create_vcpu(0).map_err(refused("KVM_CREATE_VCPU"))?;
        lap(&mut costs.create_vcpu);
        let cpuid = guest_cpuid(&kvm)?;
        vcpu.set_cpuid2(&cpuid).map_err(refused("KVM_SET_CPUID2"))?;
        lap(&mut costs.cpuid);

        let kick = Arc::new(KvmKick::default());
        // SAFETY: the page stays mapped while `vcpu` lives; `drop` disarms the kick before that.
        unsafe { kick.arm(vcpu.get_kvm_run()) };
        Ok((Self { vcpu, vm, kick, stats: None, debug: None, ram }, costs))
    }

    /// The vCPU itself, to set and read its state.
    pub(super) fn vcpu(&mut self) -> &mut VcpuFd {
        &mut self.vcpu
    }

    /// The memory of the VM.
    pub(super) fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// The port access in the shared page, after KVM_EXIT_IO.
    fn io_exit(&mut self) -> Result<Exit<'_>, CpuError> {
        let limit = self.vm.run_size();
        let run = self.vcpu.get_kvm_run();
        // SAFETY: the exit reason is KVM_EXIT_IO, so this is the union's live member.
        let io = unsafe { run.__bindgen_anon_1.io };
        let (size, offset) = (usize::from(io.size), io.data_offset as usize);
        let len = size * io.count as usize;
        if offset.saturating_add(len) > limit {
            return Err(CpuError::Unexpected(format!("KVM_EXIT_IO with {len} bytes at offset {offset}")));
        }
        let base = std::ptr::from_mut(run).cast::<u8>();
        // SAFETY: the range was just checked to lie in the mapping of `limit` bytes that begins at `run`; the borrow
        // of `self` keeps the vCPU from running, and so the kernel from writing, while the slice lives.
        let data = unsafe { std::slice::from_raw_parts_mut(base.add(offset), len) };
        Ok(if u32::from(io.direction) == KVM_EXIT_IO_OUT {
            Exit::IoOut { port: io.port, size, data }
        } else {
            Exit::IoIn { port: io.port, size, data }
        })
    }

    /// The memory access in the shared page, after KVM_EXIT_MMIO.
    fn mmio_exit(&mut self) -> Exit<'_> {
        let run = self.vcpu.get_kvm_run();
        // SAFETY: the exit reason is KVM_EXIT_MMIO, so this is the union's live member.
        let mmio = unsafe { &mut run.__bindgen_anon_1.mmio };
        let len = (mmio.len as usize).min(mmio.data.len());
        let data = &mut mmio.data[..len];
        if mmio.is_write != 0 {
            Exit::MmioWrite { gpa: mmio.phys_addr, data }
        } else {
            Exit::MmioRead { gpa: mmio.phys_addr, data }
        }
    }

    /// KVM's reason for giving up, after KVM_EXIT_INTERNAL_ERROR.
    fn internal_error(&mut self) -> CpuError {
        let run = self.vcpu.get_kvm_run();
        // SAFETY: the exit reason is KVM_EXIT_INTERNAL_ERROR, so this is the union's live member.
        let internal = unsafe { run.__bindgen_anon_1.internal };
        let words = (internal.ndata as usize).min(internal.data.len());
        // Source: <linux/kvm.h>, KVM_INTERNAL_ERROR_*.
        let what = match internal.suberror {
            1 => "an instruction that KVM had to emulate and cannot",
            2 => "unexpected simultaneous exceptions",
            3 => "a fault while delivering an event",
            4 => "an exit that KVM does not expect",
            _ => "unknown",
        };
        CpuError::KvmInternal { suberror: internal.suberror, what, data: internal.data[..words].to_vec() }
    }
}

impl Drop for KvmCpu {
    fn drop(&mut self) {
        self.kick.disarm();
    }
}

/// The exits that need a second look at the shared page, and those that do not.
enum Seen {
    Io,
    Mmio,
    Internal,
    Debug { pc: u64, dr6: u64 },
    Plain(Exit<'static>),
}

impl VirtualCpu for KvmCpu {
    fn boot(&mut self, state: BootState) -> Result<(), CpuError> {
        let mut sregs = self.vcpu.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
        set_pvh_segments(&mut sregs);
        self.vcpu.set_sregs(&sregs).map_err(refused("KVM_SET_SREGS"))?;
        let regs =
            kvm_regs { rip: u64::from(state.entry), rbx: u64::from(state.start_info), rflags: 2, ..Default::default() };
        self.vcpu.set_regs(&regs).map_err(refused("KVM_SET_REGS"))
    }

    fn bind_to_thread(&mut self) {
        self.kick.bind();
    }

    #[inline]
    fn run(&mut self) -> Result<Exit<'_>, CpuError> {
        let seen = match self.vcpu.run() {
            Ok(VcpuExit::IoOut(..) | VcpuExit::IoIn(..)) => Seen::Io,
            Ok(VcpuExit::MmioRead(..) | VcpuExit::MmioWrite(..)) => Seen::Mmio,
            Ok(VcpuExit::Hlt) => Seen::Plain(Exit::Hlt),
            Ok(VcpuExit::Shutdown) => Seen::Plain(Exit::Shutdown),
            Ok(VcpuExit::IrqWindowOpen) => Seen::Plain(Exit::IrqWindow),
            Ok(VcpuExit::Intr) => Seen::Plain(Exit::Interrupted),
            Ok(VcpuExit::InternalError) => Seen::Internal,
            Ok(VcpuExit::Debug(info)) => Seen::Debug { pc: info.pc, dr6: info.dr6 },
            Ok(VcpuExit::FailEntry(reason, _)) => return Err(CpuError::FailedEntry { reason }),
            Ok(other) => return Err(CpuError::Unexpected(format!("{other:?}"))),
            Err(e) if matches!(e.errno(), libc::EINTR | libc::EAGAIN) => {
                self.kick.clear();
                Seen::Plain(Exit::Interrupted)
            }
            Err(e) => return Err(refused("KVM_RUN")(e)),
        };
        match seen {
            Seen::Io => self.io_exit(),
            Seen::Mmio => Ok(self.mmio_exit()),
            Seen::Internal => match self.refused_breakpoint()? {
                Some(stop) => Ok(Exit::Debug(stop)),
                None => Err(self.internal_error()),
            },
            Seen::Debug { pc, dr6 } => Ok(self.debug_exit(pc, dr6)?.map_or(Exit::Interrupted, Exit::Debug)),
            Seen::Plain(exit) => Ok(exit),
        }
    }

    fn is_interruptible(&mut self) -> bool {
        self.vcpu.get_kvm_run().ready_for_interrupt_injection != 0
    }

    fn interrupt(&mut self, vector: u8) -> Result<(), CpuError> {
        let interrupt = kvm_interrupt { irq: u32::from(vector) };
        // SAFETY: the request reads the structure that the pointer is to.
        let result = unsafe { libc::ioctl(self.vcpu.as_raw_fd(), KVM_INTERRUPT, &raw const interrupt) };
        let run = self.vcpu.get_kvm_run();
        // Of use until the next run tells anew: one interrupt may wait, not two.
        run.ready_for_interrupt_injection = 0;
        if result < 0 {
            return Err(CpuError::Kvm { request: "KVM_INTERRUPT", source: io::Error::last_os_error() });
        }
        Ok(())
    }

    fn request_irq_window(&mut self, wanted: bool) {
        self.vcpu.get_kvm_run().request_interrupt_window = u8::from(wanted);
    }

    fn registers(&mut self) -> Result<Registers, CpuError> {
        let regs = self.vcpu.get_regs().map_err(refused("KVM_GET_REGS"))?;
        let sregs = self.vcpu.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
        Ok(Registers {
            gpr: [
                regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi, regs.r8, regs.r9,
                regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
            ],
            rip: regs.rip,
            rflags: regs.rflags,
            segments: [sregs.es, sregs.cs, sregs.ss, sregs.ds, sregs.fs, sregs.gs].map(|s| segment(&s)),
            cr0: sregs.cr0,
            cr2: sregs.cr2,
            cr3: sregs.cr3,
            cr4: sregs.cr4,
            efer: sregs.efer,
            cpl: sregs.ss.dpl & 3,
        })
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::<KvmKick>::clone(&self.kick)
    }

    fn tsc_khz(&self) -> Option<u32> {
        self.vcpu.get_tsc_khz().ok().filter(|&khz| khz > 0)
    }

    fn instructions(&self) -> Option<u64> {
        None
    }

    fn set_budget(&mut self, _instructions: u64) -> Result<(), CpuError> {
        Err(CpuError::Unsupported { cpu: "KVM", ability: "stop after a number of instructions; give a time limit" })
    }

    fn debug(&mut self) -> Option<&mut dyn DebugCpu> {
        self.debug.get_or_insert_with(|| Box::new(KvmDebug::new()));
        Some(self)
    }

    fn counters(&mut self) -> Result<Vec<Counter>, CpuError> {
        // A KVM without statistics (before Linux 5.14) simply yields none.
        let files = self.stats.get_or_insert_with(|| {
            [KvmStats::open(&self.vcpu, ""), KvmStats::open(&self.vm, "vm.")].into_iter().flatten().collect()
        });
        let mut counters = Vec::new();
        for file in files {
            let values = file.read().map_err(|source| CpuError::Kvm { request: "reading statistics", source })?;
            counters.extend(values);
        }
        Ok(counters)
    }
}

/// Frequency of the time-stamp counter that a guest on this host's KVM sees, kHz (KVM_GET_TSC_KHZ).
///
/// # Errors
/// KVM is not there, or does not know.
pub fn kvm_tsc_khz() -> Result<u32, CpuError> {
    let vm = create_vm(&open_kvm()?)?;
    let vcpu = vm.create_vcpu(0).map_err(refused("KVM_CREATE_VCPU"))?;
    vcpu.get_tsc_khz().map_err(refused("KVM_GET_TSC_KHZ"))
}

fn open_kvm() -> Result<Kvm, CpuError> {
    Kvm::new().map_err(|e| match e.errno() {
        libc::ENOENT | libc::ENXIO | libc::ENODEV => CpuError::NoKvm,
        libc::EACCES | libc::EPERM => CpuError::KvmPermission,
        _ => refused("opening /dev/kvm")(e),
    })
}

fn create_vm(kvm: &Kvm) -> Result<VmFd, CpuError> {
    loop {
        match kvm.create_vm() {
            // KVM_CREATE_VM may be interrupted by a signal without having failed.
            Err(e) if e.errno() == libc::EINTR => {}
            result => return result.map_err(refused("KVM_CREATE_VM")),
        }
    }
}

/// What KVM supports, as seen by processor 0.
fn guest_cpuid(kvm: &Kvm) -> Result<CpuId, CpuError> {
    let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(refused("KVM_GET_SUPPORTED_CPUID"))?;
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            // Bits 31-24: the initial APIC id, which is that of whatever processor answered the request.
            1 => entry.ebx &= 0x00ff_ffff,
            0xb | 0x1f => entry.edx = 0,
            _ => {}
        }
    }
    Ok(cpuid)
}

pub(super) fn refused(request: &'static str) -> impl Fn(kvm_ioctls::Error) -> CpuError {
    move |e| CpuError::Kvm { request, source: io::Error::from_raw_os_error(e.errno()) }
}

/// Flat 32-bit segments, protected mode, paging off. The selectors are Linux's, which PVH leaves open.
fn set_pvh_segments(sregs: &mut kvm_sregs) {
    let flat = |selector, type_| kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    let (code, data) = (flat(0x10, 0xb), flat(0x18, 0x3));
    sregs.cs = code;
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = kvm_segment { limit: 0x67, type_: 0xb, present: 1, ..Default::default() };
    sregs.gdt = kvm_dtable::default();
    sregs.idt = kvm_dtable::default();
    // PE and ET: protected mode, no paging (Intel SDM, volume 3, 2.5).
    sregs.cr0 = 0x11;
    sregs.cr3 = 0;
    sregs.cr4 = 0;
    sregs.efer = 0;
}

fn segment(s: &kvm_segment) -> Segment {
    Segment { selector: s.selector, base: s.base, limit: s.limit, long: s.l != 0, big: s.db != 0 }
}
