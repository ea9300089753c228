//! The cost of one port-I/O exit: the machine's run loop against a bare KVM_RUN loop, both on the same guest.
//!
//! The measure of the machine's own overhead is the ratio, which each benchmark's two lines give; take it from runs that
//! alternate, since exits vary by tens of percent over minutes on a shared host. `PORT_EXIT_RATIO=rounds` prints the
//! median ratio of that many alternating rounds instead.

#[path = "../tests/support/elf_image.rs"]
mod elf_image;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use elf_image::kernel;
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_min::{CpuKind, End, GuestSpec, Limits, Machine};

/// Where the guest's code lies.
const CODE: u64 = 0x10_0000;

/// `B` on the marker channel, `exits` writes to port 0x80, `E`, and the exit port; 32-bit code.
fn guest(exits: u32) -> Vec<u8> {
    [
        &[0xb0, b'B', 0xe6, 0xe9][..], // mov al, 'B'; out 0xe9, al
        &[0xb9],                       // mov ecx, exits
        &exits.to_le_bytes(),
        &[0xe6, 0x80, 0x49, 0x75, 0xfb], // l: out 0x80, al; dec ecx; jnz l
        &[0xb0, b'E', 0xe6, 0xe9],       // mov al, 'E'; out 0xe9, al
        &[0xe6, 0xf4],                   // out 0xf4, al
    ]
    .concat()
}

/// Time from `B` to `E` through the machine.
fn through_machine(exits: u32) -> Duration {
    let file = kernel(&guest(exits));
    let mut spec = GuestSpec::new(&file[..]);
    spec.ram_mib = 4;
    let machine = Machine::new(&spec, CpuKind::Kvm).expect("the machine");
    let limits = Limits { wall: Duration::from_secs(600), instructions: None };
    let outcome = machine.run(limits, &mut ()).expect("the run");
    assert_eq!(outcome.end, End::Exited(b'E'));
    outcome.roi.expect("B and E").duration()
}

/// Time from `B` to `E` through nothing but KVM_RUN.
fn through_bare_loop(exits: u32) -> Duration {
    let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4 << 20)]).expect("RAM");
    ram.write_slice(&guest(exits), GuestAddress(CODE)).expect("loading");
    let kvm = Kvm::new().expect("/dev/kvm");
    let vm = kvm.create_vm().expect("a VM");
    let region = kvm_userspace_memory_region {
        memory_size: 4 << 20,
        userspace_addr: ram.get_host_address(GuestAddress(0)).expect("RAM's address") as u64,
        ..Default::default()
    };
    // SAFETY: the region is the whole mapping of `ram`, which outlives the VM.
    unsafe { vm.set_user_memory_region(region) }.expect("the memory slot");
    let mut vcpu = vm.create_vcpu(0).expect("a vCPU");
    // The same CPUID as the machine gives, since KVM saves more state for a guest with more features.
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).expect("KVM_GET_SUPPORTED_CPUID");
    vcpu.set_cpuid2(&cpuid).expect("KVM_SET_CPUID2");
    start_at_code(&vcpu);
    let mut begin = None;
    loop {
        match vcpu.run().expect("KVM_RUN") {
            VcpuExit::IoOut(0x80, data) => {
                black_box(data);
            }
            VcpuExit::IoOut(0xe9, b"B") => begin = Some(Instant::now()),
            VcpuExit::IoOut(0xe9, b"E") => return begin.expect("B before E").elapsed(),
            other => panic!("unexpected exit {other:?}"),
        }
    }
}

/// Flat 32-bit protected mode, as PVH begins.
fn start_at_code(vcpu: &VcpuFd) {
    let mut sregs = vcpu.get_sregs().expect("KVM_GET_SREGS");
    for (segment, type_, selector) in [(&mut sregs.cs, 0xb, 0x10), (&mut sregs.ds, 3, 0x18), (&mut sregs.ss, 3, 0x18)] {
        (segment.base, segment.limit, segment.selector, segment.type_) = (0, u32::MAX, selector, type_);
        (segment.db, segment.g) = (1, 1);
    }
    sregs.cr0 = 0x11;
    vcpu.set_sregs(&sregs).expect("KVM_SET_SREGS");
    vcpu.set_regs(&kvm_regs { rip: CODE, rflags: 2, ..Default::default() }).expect("KVM_SET_REGS");
}

/// Prints the median over `rounds` of the ratio of the two, taken in turn.
fn print_ratio(rounds: usize) {
    const EXITS: u32 = 5000;
    let mut ratios: Vec<f64> = (0..rounds)
        .map(|round| {
            // Whoever goes first alternates, so that a drift of the host favours neither.
            let (machine, bare) = if round % 2 == 0 {
                let machine = through_machine(EXITS);
                (machine, through_bare_loop(EXITS))
            } else {
                let bare = through_bare_loop(EXITS);
                (through_machine(EXITS), bare)
            };
            let us = |d: Duration| d.as_secs_f64() * 1e6 / f64::from(EXITS);
            println!("machine {:.3} us, bare {:.3} us an exit", us(machine), us(bare));
            machine.as_secs_f64() / bare.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    if let Some(median) = ratios.get(ratios.len() / 2) {
        println!("machine / bare: median {median:.3}, from {:.3} to {:.3}", ratios[0], ratios[ratios.len() - 1]);
    }
}

fn main() {
    if let Err(e) = vmm_min::kvm_tsc_khz() {
        println!("skipped: {e}");
        return;
    }
    if let Ok(rounds) = std::env::var("PORT_EXIT_RATIO") {
        print_ratio(rounds.parse().expect("PORT_EXIT_RATIO is a number of rounds"));
        return;
    }
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let mut group = criterion.benchmark_group("port_exit");
    let exits = |iterations: u64| u32::try_from(iterations).expect("fewer than 2^32 exits");
    group.bench_function("bare KVM_RUN", |b| b.iter_custom(|n| through_bare_loop(exits(n))));
    group.bench_function("machine", |b| b.iter_custom(|n| through_machine(exits(n))));
    group.finish();
    criterion.final_summary();
}
