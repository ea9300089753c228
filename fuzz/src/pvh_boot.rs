//! Any bytes as a kernel, modules and command lines, loaded into guest RAM as PVH asks.

use std::sync::Arc;
use std::time::Duration;

use vmm_min::{BOOT_INFO, CpuKind, GuestSpec, Limits, Machine, MockCpu, Module};

use super::elf_image;
use super::input::Input;

/// Guest RAM, MiB: the smallest there is room for a kernel in.
const RAM_MIB: u32 = 2;
/// How long a kernel that was loaded may run.
const LIMITS: Limits = Limits { wall: Duration::from_secs(5), instructions: Some(400) };

/// Loads the guest that `data` describes: an error in words, or a guest that finds all it was given.
pub fn pvh_boot(data: &[u8]) {
    let mut input = Input::new(data);
    let kernel = kernel(&mut input);
    let mut spec = GuestSpec { ram_mib: RAM_MIB, ..GuestSpec::new(kernel) };
    let count = input.u8() % 4;
    for _ in 0..count {
        let len = usize::from(input.u16());
        let cmdline = (len & 1 != 0).then(|| text(&mut input));
        spec.modules.push(Module { elf: input.take(len).to_vec().into(), cmdline });
    }
    spec.cmdline = text(&mut input);
    let mut ram = None;
    let made = Machine::with_cpu(&spec, |memory| {
        ram = Some(Arc::clone(memory));
        Ok(Box::new(MockCpu::new([])))
    });
    match (made, ram) {
        (Ok(_), Some(ram)) => check(&ram, &spec),
        (made, _) => return assert!(made.is_err_and(|error| !error.to_string().is_empty())),
    }
    // What the kernel does with it is its own affair, and its machine's.
    let machine = Machine::new(&spec, CpuKind::EmuInterp).expect("what one CPU was given, another is");
    let outcome = machine.run(LIMITS, &mut ()).expect("an emulated CPU runs any guest");
    assert!(outcome.counter("total.exit.total").is_some());
}

/// Raw bytes, or a sound kernel with some bytes of its headers or its note changed.
fn kernel(input: &mut Input<'_>) -> Vec<u8> {
    let changes = input.u8();
    let len = usize::from(input.u16());
    if changes >= 0x80 {
        return input.take(len).to_vec();
    }
    let code = input.take(len.min(0x3000));
    let mut file = if changes & 1 == 0 {
        elf_image::kernel(code)
    } else {
        let segments = [
            elf_image::load(0x10_0000, code, u64::from(input.u16()) << 4),
            elf_image::pvh_note(0x10_0000 + u32::from(input.u8())),
            elf_image::load(0x10_0000 + (u64::from(input.u16()) << 5), b"second", 0),
        ];
        elf_image::image(2, 0x10_0000, &segments)
    };
    for _ in 0..changes % 8 {
        let at = usize::from(input.u16());
        // Most of it in the ELF header and the program headers, the rest anywhere.
        let at = if at & 0x8000 == 0 { at % 240 } else { at & 0x7fff };
        let value = input.u8();
        if let Some(byte) = file.get_mut(at) {
            *byte = value;
        }
    }
    file
}

fn text(input: &mut Input<'_>) -> String {
    let len = usize::from(input.u8()) << (input.u8() & 7);
    String::from_utf8_lossy(input.take(len)).into_owned()
}

/// What Xen's `arch-x86/hvm/start_info.h` promises the guest.
fn check(ram: &vmm_min::GuestRam, spec: &GuestSpec<'_>) {
    let word = |at: u64| ram.read_u64(at).expect("boot information lies in RAM");
    assert_eq!(word(BOOT_INFO) as u32, 0x336e_c578, "magic");
    let modules = word(BOOT_INFO + 8) >> 32;
    assert_eq!(modules as usize, spec.modules.len());
    let list = word(BOOT_INFO + 16);
    for (i, module) in (0..).zip(&spec.modules) {
        let (at, size) = (word(list + i * 32), word(list + i * 32 + 8));
        let mut bytes = vec![0; size as usize];
        assert_eq!(ram.read(at, &mut bytes), module.elf.len(), "module {i} lies in RAM");
        assert!(bytes == *module.elf, "module {i} is whole");
        if let Some(line) = &module.cmdline {
            string(ram, word(list + i * 32 + 16), line);
        }
    }
}

fn string(ram: &vmm_min::GuestRam, at: u64, line: &str) {
    let mut bytes = vec![0; line.len() + 1];
    assert_eq!(ram.read(at, &mut bytes), bytes.len());
    assert_eq!(bytes.split_last(), Some((&0, line.as_bytes())));
}
