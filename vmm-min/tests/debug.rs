//! A debugger on every virtual CPU that the host has, without gdb: what it sees and does is the same.

#[path = "support/machine.rs"]
mod machine;

use std::time::Duration;

use object::{Object, ObjectSymbol};
use vmm_min::{
    CpuKind, DebugStop, Debuggee, End, GuestSpec, InsertError, Limits, Machine, RunError, Start, Stop, Trigger,
    Watchpoint,
};

const AMPLE: Limits = Limits { wall: Duration::from_secs(120), instructions: None };
/// The lecture's address, at which process 1 has 4 and process 2 has 5.
const ADDRESS: u64 = 0xabcd;
const STEP: Stop = Stop::Debug(DebugStop::Step);

fn program() -> &'static [u8] {
    workloads::find("two_processes").expect("in the catalogue").elf
}

/// The address of the symbol of that name, or else whose name has this part.
fn symbol(elf: &[u8], part: &str) -> u64 {
    let file = object::File::parse(elf).expect("an ELF");
    let find = |is: &dyn Fn(&str) -> bool| file.symbols().find(|symbol| symbol.name().is_ok_and(is));
    let symbol = find(&|name| name == part).or_else(|| find(&|name| name.contains(part)));
    symbol.unwrap_or_else(|| panic!("no symbol {part}")).address()
}

fn at(trigger: Trigger, address: u64, size: u64) -> Watchpoint {
    Watchpoint { trigger, address, size }
}

fn breakpoint(address: u64) -> Watchpoint {
    at(Trigger::Execute, address, 1)
}

fn met(point: Watchpoint) -> Stop {
    Stop::Debug(DebugStop::Met(point))
}

/// Debugs `two_processes` on each CPU.
fn on_each(kinds: &[CpuKind], session: impl Fn(CpuKind, &mut Debuggee<'_, '_>) -> Result<End, RunError>) {
    for &kind in kinds {
        let mut spec = GuestSpec::new(workloads::kernel()).with_module(program());
        spec.cmdline = "procs=2 -- two_processes 3".to_owned();
        spec.ram_mib = 64;
        let Some(machine) = machine::machine(&spec, kind) else { continue };
        let outcome = machine.debug(AMPLE, &mut (), |debuggee| session(kind, debuggee)).unwrap();
        assert_eq!(outcome.end, End::Exited(0), "{kind:?}");
        let console = String::from_utf8(outcome.console).unwrap();
        assert!(console.contains("result "), "{kind:?}: {console}");
    }
}

fn read<const N: usize>(debuggee: &mut Debuggee<'_, '_>, address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    assert_eq!(debuggee.read(address, &mut bytes).unwrap(), N, "{address:#x}");
    bytes
}

const EMULATED: [CpuKind; 3] = [CpuKind::EmuNaive, CpuKind::EmuInterp, CpuKind::EmuDbt];

#[test]
fn each_process_has_its_own_value_at_the_same_address() {
    let frame = breakpoint(symbol(program(), "syscall5frame"));
    on_each(&CpuKind::ALL, |kind, debuggee| {
        assert_eq!(debuggee.begin(Start::Ring3)?, None, "{kind:?}");
        let entry = symbol(program(), "_start");
        let registers = debuggee.registers()?;
        assert_eq!((registers.cpl, registers.rip), (3, entry), "{kind:?}");
        let mut roots = Vec::new();
        for value in [4, 5] {
            let code: [u8; 8] = read(debuggee, frame.address);
            debuggee.insert(frame).unwrap();
            assert_eq!(read(debuggee, frame.address), code, "{kind:?}: a breakpoint is not seen");
            assert_eq!(debuggee.resume(false)?, met(frame), "{kind:?}");
            let registers = debuggee.registers()?;
            assert_eq!((registers.cpl, registers.rip), (3, frame.address), "{kind:?}");
            assert_eq!(u64::from_le_bytes(read(debuggee, ADDRESS)), value, "{kind:?}");
            let walk = debuggee.walk(ADDRESS)?;
            assert_eq!((walk.steps.len(), walk.steps[0].gpa & !0xfff), (4, registers.cr3 & !0xfff), "{kind:?}");
            roots.push((registers.cr3, walk.end.unwrap().gpa));
            assert!(debuggee.remove(frame)? && !debuggee.remove(frame)?);
            assert_eq!(debuggee.resume(true)?, STEP, "{kind:?}");
        }
        assert!(roots[0].0 != roots[1].0 && roots[0].1 != roots[1].1, "{kind:?}: {roots:x?}");
        debuggee.detach(&[])
    });
}

#[test]
fn a_step_over_a_system_call_is_in_the_kernel_and_leaves_no_trace() {
    let frame = breakpoint(symbol(program(), "syscall5frame"));
    on_each(&CpuKind::ALL, |kind, debuggee| {
        debuggee.begin(Start::Ring3)?;
        debuggee.insert(frame).unwrap();
        assert_eq!(debuggee.resume(false)?, met(frame), "{kind:?}");
        debuggee.remove(frame)?;
        let mut steps = 0;
        let mut call = frame.address;
        while read(debuggee, call) != [0x0f, 0x05] {
            assert_eq!(debuggee.resume(true)?, STEP, "{kind:?}");
            let registers = debuggee.registers()?;
            assert_eq!(registers.cpl, 3, "{kind:?}");
            call = registers.rip;
            steps += 1;
            assert!(steps < 100, "{kind:?}: no system call");
        }
        assert_eq!(debuggee.resume(true)?, STEP, "{kind:?}");
        let inside = debuggee.registers()?;
        assert_eq!((inside.cpl, inside.rflags & 0x100, inside.gpr[11] & 0x100), (0, 0, 0), "{kind:?}");
        let names = ["syscall_entry", "page_fault"].map(|name| symbol(workloads::kernel(), name));
        let vectors = symbol(workloads::kernel(), "vectors");
        assert!(names.contains(&inside.rip) || inside.rip == vectors + 14 * 16, "{kind:?}: {:#x}", inside.rip);
        for _ in 0..3 {
            assert_eq!(debuggee.resume(true)?, STEP, "{kind:?}: in the kernel");
            assert_eq!(debuggee.registers()?.cpl, 0, "{kind:?}");
        }
        let dispatch = breakpoint(symbol(workloads::kernel(), "dispatch"));
        debuggee.insert(dispatch).unwrap();
        assert_eq!(debuggee.resume(false)?, met(dispatch), "{kind:?}");
        debuggee.remove(dispatch)?;
        let behind = breakpoint(call + 2);
        debuggee.insert(behind).unwrap();
        assert_eq!(debuggee.resume(false)?, met(behind), "{kind:?}");
        let after = debuggee.registers()?;
        assert_eq!((after.cpl, after.rip, after.rflags & 0x100), (3, call + 2, 0), "{kind:?}");
        debuggee.detach(&[behind])
    });
}

#[test]
fn registers_and_memory_can_be_changed() {
    on_each(&CpuKind::ALL, |kind, debuggee| {
        debuggee.begin(Start::Ring3)?;
        let before = debuggee.registers()?;
        let mut changed = before;
        changed.gpr[15] = 0x1234_5678_9abc_def0;
        changed.rflags ^= 1;
        changed.segments[4].base = 0x5000;
        debuggee.set_registers(&changed)?;
        assert_eq!(debuggee.registers()?, changed, "{kind:?}");
        debuggee.set_registers(&before)?;
        let float = debuggee.float_registers()?;
        let mut other = float.clone();
        (other.xmm[3], other.mxcsr, other.fpu.fcw) = (7 << 100, 0x1fa0, 0x27f);
        debuggee.set_float_registers(&other)?;
        assert_eq!(debuggee.float_registers()?, other, "{kind:?}");
        debuggee.set_float_registers(&float)?;

        // A read-only page of code: what runs next is what was written.
        let rip = before.rip;
        let code: [u8; 2] = read(debuggee, rip);
        assert!(debuggee.write(rip, &[0xeb, 0xfe])?);
        assert_eq!(debuggee.resume(true)?, STEP, "{kind:?}");
        assert_eq!(debuggee.registers()?.rip, rip, "{kind:?}: a jump to itself");
        // Under a breakpoint too.
        debuggee.insert(breakpoint(rip)).unwrap();
        assert!(debuggee.write(rip, &code)?);
        assert_eq!(read(debuggee, rip), code, "{kind:?}");
        assert!(debuggee.remove(breakpoint(rip))?);
        assert_eq!(read(debuggee, rip), code, "{kind:?}");

        assert_eq!(debuggee.read(0x10, &mut [0; 8])?, 0, "{kind:?}");
        assert_eq!(debuggee.read(1 << 63, &mut [0; 8])?, 0, "{kind:?}: not canonical");
        assert!(!debuggee.write(0x10, &[0; 8])?, "{kind:?}");
        debuggee.detach(&[])
    });
}

#[test]
fn emulated_cpus_watch_data_in_every_ring() {
    on_each(&EMULATED, |kind, debuggee| {
        debuggee.begin(Start::Ring3)?;
        let point = at(Trigger::Write, ADDRESS, 1);
        debuggee.insert(point).unwrap();
        let mut values = Vec::new();
        while values.len() < 4 {
            assert_eq!(debuggee.resume(false)?, met(point), "{kind:?}");
            values.push(read::<1>(debuggee, ADDRESS)[0]);
        }
        assert!(values.contains(&4) && values.contains(&5), "{kind:?}: {values:?}");
        debuggee.remove(point)?;
        // The kernel's own variable, at each switch.
        let point = at(Trigger::Write, symbol(workloads::kernel(), "current_pid"), 4);
        debuggee.insert(point).unwrap();
        assert_eq!(debuggee.resume(false)?, met(point), "{kind:?}");
        assert_eq!(debuggee.registers()?.cpl, 0, "{kind:?}");
        debuggee.detach(&[point])
    });
}

#[test]
fn a_session_can_begin_before_the_kernel() {
    on_each(&CpuKind::ALL, |kind, debuggee| {
        assert_eq!(debuggee.begin(Start::Boot)?, None);
        let entry = symbol(workloads::kernel(), "pvh_entry_phys");
        assert_eq!((debuggee.registers()?.rip, debuggee.registers()?.paging()), (entry, false), "{kind:?}");
        assert_eq!(debuggee.resume(true)?, STEP, "{kind:?}");
        assert_ne!(debuggee.registers()?.rip, entry, "{kind:?}");
        let main = breakpoint(symbol(workloads::kernel(), "kernel_main"));
        debuggee.insert(main).unwrap();
        assert_eq!(debuggee.resume(false)?, met(main), "{kind:?}");
        assert_eq!((debuggee.registers()?.cpl, debuggee.registers()?.rip), (0, main.address), "{kind:?}");
        debuggee.detach(&[main])
    });
}

#[test]
fn kvm_says_what_it_cannot_watch() {
    on_each(&[CpuKind::Kvm], |_, debuggee| {
        debuggee.begin(Start::Ring3)?;
        let refused = debuggee.insert(at(Trigger::Read, ADDRESS, 1)).unwrap_err();
        assert!(matches!(refused, InsertError::Shape | InsertError::NoWatchpoints), "{refused}");
        debuggee.detach(&[])
    });
}

#[test]
fn somebody_can_call_the_debugger_back() {
    for kind in CpuKind::ALL {
        let mut spec = GuestSpec::new(workloads::kernel()).with_module(program());
        spec.cmdline = "procs=2 -- two_processes 3".to_owned();
        spec.ram_mib = 64;
        let Some(machine) = machine::machine(&spec, kind) else { continue };
        let handle = machine.stop_handle();
        let session = |debuggee: &mut Debuggee<'_, '_>| {
            debuggee.begin(Start::Ring3)?;
            let rip = debuggee.registers()?.rip;
            // A jump to itself.
            assert!(debuggee.write(rip, &[0xeb, 0xfe])?);
            let caller = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                handle.attend();
                handle
            });
            assert_eq!(debuggee.resume(false)?, Stop::Asked, "{kind:?}");
            debuggee.heed();
            assert_eq!(debuggee.registers()?.rip, rip, "{kind:?}");
            let handle = caller.join().unwrap();
            handle.stop();
            assert!(debuggee.is_stopped());
            match debuggee.resume(false)? {
                Stop::Ended(end) => Ok(*end),
                other => panic!("{kind:?}: {other:?}"),
            }
        };
        let outcome = Machine::debug(machine, AMPLE, &mut (), session).unwrap();
        assert_eq!(outcome.end, End::Stopped, "{kind:?}");
    }
}
