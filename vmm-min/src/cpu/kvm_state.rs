//! A KVM virtual CPU whose whole state is set and read from outside: for code that runs without a guest of its own.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave};
use vm_memory::{Bytes, GuestAddress};

use super::kvm::{KvmCpu, refused};
use super::{CpuError, Exit, VirtualCpu};
use crate::memory::GuestRam;

/// Bytes of the XSAVE area that is set and read: the legacy region, the header and the AVX component.
pub const XSAVE_BYTES: usize = 832;

/// A segment register with its hidden part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SegmentState {
    /// Selector.
    pub selector: u16,
    /// Base address.
    pub base: u64,
    /// The descriptor's access byte in bits 0-7, its AVL, L, D/B and G in bits 12-15.
    pub attributes: u16,
    /// Limit in bytes.
    pub limit: u32,
}

/// All state of a processor in long mode that code can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullState {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub gprs: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [SegmentState; 6],
    /// Task register.
    pub task: SegmentState,
    /// Base and limit of the GDT.
    pub gdt: (u64, u16),
    /// Base and limit of the IDT.
    pub idt: (u64, u16),
    /// CR0, CR2, CR3, CR4.
    pub control: [u64; 4],
    /// IA32_EFER.
    pub efer: u64,
    /// XSAVE area in the standard format.
    pub xsave: [u8; XSAVE_BYTES],
}

/// Why the CPU stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// It executed `hlt` in ring 0.
    Hlt,
    /// It shut down.
    Shutdown,
    /// The time is over.
    Timeout,
    /// Something that the code should not be able to cause.
    Other(String),
}

/// A virtual CPU on bare memory.
#[derive(Debug)]
pub struct BareKvm {
    cpu: KvmCpu,
    ram: Arc<GuestRam>,
    watchdog: Watchdog,
}

impl BareKvm {
    /// A CPU on `mib` MiB of memory. It is used by the thread that made it.
    ///
    /// # Errors
    /// The host lacks KVM, or refuses.
    pub fn new(mib: u32) -> Result<Self, CpuError> {
        let ram = GuestRam::new(mib).map_err(|e| CpuError::Unexpected(e.to_string()))?;
        let ram = Arc::new(ram);
        let (mut cpu, _) = KvmCpu::new(Arc::clone(&ram))?;
        cpu.bind_to_thread();
        // Where the host has AVX, so has the guest; a KVM without KVM_CAP_XCRS keeps its default.
        let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
        xcrs.xcrs[0].value = if std::arch::is_x86_feature_detected!("avx") { 7 } else { 3 };
        let _ = cpu.vcpu().set_xcrs(&xcrs);
        let watchdog = Watchdog::new(cpu.kicker());
        Ok(Self { cpu, ram, watchdog })
    }

    /// Copies into memory; `false` if it does not fit.
    #[must_use]
    pub fn write(&self, gpa: u64, bytes: &[u8]) -> bool {
        self.ram.memory().write_slice(bytes, GuestAddress(gpa)).is_ok()
    }

    /// Copies from memory; `false` if not all of it is there.
    #[must_use]
    pub fn read(&self, gpa: u64, bytes: &mut [u8]) -> bool {
        self.ram.read(gpa, bytes) == bytes.len()
    }

    /// Sets IA32_STAR, and IA32_LSTAR and IA32_CSTAR, where `syscall` leads; IA32_FMASK stays 0.
    ///
    /// # Errors
    /// KVM refuses it.
    pub fn set_system_call(&mut self, star: u64, entry: u64) -> Result<(), CpuError> {
        // Numbers: Intel SDM volume 4, table 2-2.
        let msrs = [(0xc000_0081, star), (0xc000_0082, entry), (0xc000_0083, entry)];
        let entries = msrs.map(|(index, data)| kvm_msr_entry { index, data, ..Default::default() });
        let list = Msrs::from_entries(&entries).map_err(|e| CpuError::Unexpected(e.to_string()))?;
        let set = self.cpu.vcpu().set_msrs(&list).map_err(refused("KVM_SET_MSRS"))?;
        if set == entries.len() { Ok(()) } else { Err(CpuError::Unexpected(format!("KVM set {set} of 3 MSRs"))) }
    }

    /// Replaces the whole state.
    ///
    /// # Errors
    /// KVM refuses it.
    pub fn set(&mut self, state: &FullState) -> Result<(), CpuError> {
        let vcpu = self.cpu.vcpu();
        let mut sregs = vcpu.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
        fill_sregs(&mut sregs, state);
        vcpu.set_vcpu_events(&kvm_vcpu_events::default()).map_err(refused("KVM_SET_VCPU_EVENTS"))?;
        vcpu.set_sregs(&sregs).map_err(refused("KVM_SET_SREGS"))?;
        let g = &state.gprs;
        let regs = kvm_regs {
            rax: g[0],
            rcx: g[1],
            rdx: g[2],
            rbx: g[3],
            rsp: g[4],
            rbp: g[5],
            rsi: g[6],
            rdi: g[7],
            r8: g[8],
            r9: g[9],
            r10: g[10],
            r11: g[11],
            r12: g[12],
            r13: g[13],
            r14: g[14],
            r15: g[15],
            rip: state.rip,
            rflags: state.rflags,
        };
        vcpu.set_regs(&regs).map_err(refused("KVM_SET_REGS"))?;
        let mut xsave = kvm_xsave::default();
        for (word, bytes) in xsave.region.iter_mut().zip(state.xsave.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        // SAFETY: KVM_SET_XSAVE reads 4096 bytes, the size of `kvm_xsave`; features with larger areas need a request to
        // the host (arch_prctl) that is never made here.
        unsafe { vcpu.set_xsave(&xsave) }.map_err(refused("KVM_SET_XSAVE"))
    }

    /// The whole state.
    ///
    /// # Errors
    /// KVM does not tell.
    pub fn get(&mut self) -> Result<FullState, CpuError> {
        let vcpu = self.cpu.vcpu();
        let r = vcpu.get_regs().map_err(refused("KVM_GET_REGS"))?;
        let s = vcpu.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
        let area = vcpu.get_xsave().map_err(refused("KVM_GET_XSAVE"))?;
        let mut xsave = [0; XSAVE_BYTES];
        for (bytes, word) in xsave.as_chunks_mut::<4>().0.iter_mut().zip(area.region) {
            *bytes = word.to_le_bytes();
        }
        Ok(FullState {
            gprs: [
                r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14,
                r.r15,
            ],
            rip: r.rip,
            rflags: r.rflags,
            segments: [s.es, s.cs, s.ss, s.ds, s.fs, s.gs].map(|s| from_kvm(&s)),
            task: from_kvm(&s.tr),
            gdt: (s.gdt.base, s.gdt.limit),
            idt: (s.idt.base, s.idt.limit),
            control: [s.cr0, s.cr2, s.cr3, s.cr4],
            efer: s.efer,
            xsave,
        })
    }

    /// Runs until the CPU stops, at most for `time`.
    ///
    /// # Errors
    /// KVM failed.
    pub fn run(&mut self, time: Duration) -> Result<Halt, CpuError> {
        self.watchdog.arm(time);
        let halt = match self.cpu.run() {
            Ok(Exit::Hlt) => Ok(Halt::Hlt),
            Ok(Exit::Shutdown) => Ok(Halt::Shutdown),
            Ok(Exit::Interrupted) => Ok(Halt::Timeout),
            Ok(other) => Ok(Halt::Other(format!("{other:?}"))),
            Err(error) => Err(error),
        };
        self.watchdog.disarm();
        halt
    }
}

/// A thread that kicks the CPU when its time is over.
#[derive(Debug)]
struct Watchdog {
    orders: Option<Sender<Option<Duration>>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    fn new(kick: Arc<dyn super::Kick>) -> Self {
        let (orders, inbox) = mpsc::channel::<Option<Duration>>();
        let thread = std::thread::spawn(move || {
            let mut time = None;
            loop {
                let order = match time {
                    None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    Some(time) => inbox.recv_timeout(time),
                };
                match order {
                    Ok(order) => time = order,
                    // Kicks until it is heard: a kick between two runs would be lost.
                    Err(RecvTimeoutError::Timeout) => {
                        kick.kick();
                        time = Some(Duration::from_millis(10));
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        Self { orders: Some(orders), thread: Some(thread) }
    }

    fn arm(&self, time: Duration) {
        self.order(Some(time));
    }

    fn disarm(&self) {
        self.order(None);
    }

    fn order(&self, order: Option<Duration>) {
        // The thread lives as long as the sender does.
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn fill_sregs(sregs: &mut kvm_sregs, state: &FullState) {
    let [es, cs, ss, ds, fs, gs] = state.segments.map(|s| to_kvm(&s));
    (sregs.es, sregs.cs, sregs.ss, sregs.ds, sregs.fs, sregs.gs) = (es, cs, ss, ds, fs, gs);
    sregs.tr = to_kvm(&state.task);
    sregs.ldt = kvm_segment { unusable: 1, ..Default::default() };
    (sregs.gdt.base, sregs.gdt.limit) = state.gdt;
    (sregs.idt.base, sregs.idt.limit) = state.idt;
    [sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4] = state.control;
    sregs.efer = state.efer;
}

fn to_kvm(s: &SegmentState) -> kvm_segment {
    let bit = |n: u32| (s.attributes >> n & 1) as u8;
    kvm_segment {
        base: s.base,
        limit: s.limit,
        selector: s.selector,
        type_: (s.attributes & 15) as u8,
        s: bit(4),
        dpl: (s.attributes >> 5 & 3) as u8,
        present: bit(7),
        avl: bit(12),
        l: bit(13),
        db: bit(14),
        g: bit(15),
        unusable: u8::from(s.attributes & 0x80 == 0),
        ..Default::default()
    }
}

fn from_kvm(s: &kvm_segment) -> SegmentState {
    let field = |value: u8, n: u32| u16::from(value) << n;
    let attributes = field(s.type_ & 15, 0)
        | field(s.s & 1, 4)
        | field(s.dpl & 3, 5)
        | field(s.present & 1, 7)
        | field(s.avl & 1, 12)
        | field(s.l & 1, 13)
        | field(s.db & 1, 14)
        | field(s.g & 1, 15);
    SegmentState { selector: s.selector, base: s.base, attributes, limit: s.limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_survive_the_round_trip() {
        let code = SegmentState { selector: 0x33, base: 0, attributes: 0xa0fb, limit: u32::MAX };
        assert_eq!(from_kvm(&to_kvm(&code)), code);
        assert_eq!(to_kvm(&code).l, 1);
        assert_eq!(to_kvm(&SegmentState::default()).unusable, 1);
    }
}
