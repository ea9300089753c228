//! PVH boot: the kernel at its physical addresses, modules above it, and `hvm_start_info` that tells it so.
//!
//! Layout of guest RAM: the boot information at [`BOOT_INFO`], below the kernel, which must lie at 1 MiB or above;
//! modules page-aligned above the kernel's end, or so many pages farther up as the spec says. Source: Xen's public header `arch-x86/hvm/start_info.h`.

use std::io::Cursor;

use linux_loader::loader::KernelLoader;
use linux_loader::loader::elf::start_info::{
    XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use linux_loader::loader::elf::{Elf, PvhBootCapability};
use vm_memory::{ByteValued, Bytes, GuestAddress};

use crate::elf::{ElfError, ElfView};
use crate::memory::GuestRam;
use crate::spec::GuestSpec;

/// Guest-physical address of `hvm_start_info`, followed by its tables and strings.
pub const BOOT_INFO: u64 = 0x6000;
/// The boot information ends before this address, where a PC keeps its extended BIOS data.
const BOOT_INFO_END: u64 = 0x9_0000;
/// Lowest guest-physical address of a kernel.
const KERNEL_LOW: u64 = 0x10_0000;
const PAGE: u64 = 4096;

/// Why a guest could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The kernel is not a sound ELF64 file for x86-64.
    #[error("the kernel cannot be loaded: {0}")]
    KernelElf(#[from] ElfError),
    /// The kernel has no note of type 18.
    #[error("the kernel has no PVH entry (ELF note XEN_ELFNOTE_PHYS32_ENTRY), so it cannot be booted")]
    NoPvhNote,
    /// The PVH note names an address outside the kernel.
    #[error("the kernel's PVH entry {entry:#x} lies outside its segments")]
    EntryOutside {
        /// Entry point, guest-physical.
        entry: u64,
    },
    /// A segment lies where the boot information goes.
    #[error("the kernel has a segment at {low:#x}, below 1 MiB; link it at 1 MiB or above")]
    KernelLow {
        /// First guest-physical address of the segment.
        low: u64,
    },
    /// The kernel is larger than RAM.
    #[error("the kernel ends at {end:#x}, beyond the {ram_mib} MiB of guest RAM; raise --ram")]
    KernelLargerThanRam {
        /// First guest-physical address above the kernel.
        end: u64,
        /// Guest RAM, MiB.
        ram_mib: u32,
    },
    /// A module does not fit into what the kernel leaves.
    #[error("module {number} of {size} bytes does not fit into {ram_mib} MiB of guest RAM; raise --ram")]
    ModuleLargerThanRam {
        /// Number of the module, from 1.
        number: usize,
        /// Length of the module, bytes.
        size: usize,
        /// Guest RAM, MiB.
        ram_mib: u32,
    },
    /// A command line holds a zero byte, at which the guest would cut it.
    #[error("a guest command line contains a zero byte")]
    ZeroInCmdline,
    /// The command lines are too long.
    #[error("the guest's command lines need {size} bytes, more than the {max} there are; shorten them")]
    CmdlineTooLong {
        /// Length of the boot information with them, bytes.
        size: usize,
        /// Room for it, bytes.
        max: usize,
    },
    /// The loader refused the kernel for a reason of its own.
    #[error("the kernel cannot be loaded: {0}")]
    Loader(#[from] linux_loader::loader::Error),
    /// Writing to guest RAM failed.
    #[error("cannot write to guest RAM: {0}")]
    Memory(#[from] vm_memory::GuestMemoryError),
}

/// Where a PVH guest starts: 32-bit protected mode, paging off (Xen's `docs/misc/pvh.pandoc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootState {
    /// EIP, guest-physical.
    pub entry: u32,
    /// EBX, the guest-physical address of `hvm_start_info`.
    pub start_info: u32,
}

/// Loads the guest of `spec` with `cmdline` into `ram`.
pub(crate) fn load(ram: &GuestRam, spec: &GuestSpec<'_>, cmdline: &str) -> Result<BootState, BootError> {
    let (entry, kernel_end) = load_kernel(ram, spec)?;
    let mut next = kernel_end.next_multiple_of(PAGE) + u64::from(spec.module_offset_pages) * PAGE;
    let mut modules = Vec::with_capacity(spec.modules.len());
    for (index, module) in spec.modules.iter().enumerate() {
        let size = module.elf.len();
        if next.saturating_add(size as u64) > ram.end() {
            return Err(BootError::ModuleLargerThanRam { number: index + 1, size, ram_mib: spec.ram_mib });
        }
        ram.memory().write_slice(&module.elf, GuestAddress(next))?;
        modules.push(hvm_modlist_entry { paddr: next, size: size as u64, ..Default::default() });
        next = (next + size as u64).next_multiple_of(PAGE);
    }
    let module_lines: Vec<_> = spec.modules.iter().map(|m| m.cmdline.as_deref()).collect();
    let info = boot_info(ram.end(), &mut modules, &module_lines, cmdline)?;
    ram.memory().write_slice(&info, GuestAddress(BOOT_INFO))?;
    Ok(BootState { entry, start_info: BOOT_INFO as u32 })
}

/// Loads the kernel; returns its PVH entry and the first address above it.
fn load_kernel(ram: &GuestRam, spec: &GuestSpec<'_>) -> Result<(u32, u64), BootError> {
    let view = ElfView::parse(&spec.kernel)?;
    let mut end = KERNEL_LOW;
    for segment in view.loads() {
        if segment.p_paddr < KERNEL_LOW {
            return Err(BootError::KernelLow { low: segment.p_paddr });
        }
        end = end.max(segment.p_paddr.saturating_add(segment.p_memsz));
    }
    if end > ram.end() {
        return Err(BootError::KernelLargerThanRam { end, ram_mib: spec.ram_mib });
    }
    let loaded = Elf::load(ram.memory(), None, &mut Cursor::new(&spec.kernel[..]), None)?;
    let PvhBootCapability::PvhEntryPresent(GuestAddress(entry)) = loaded.pvh_boot_cap else {
        return Err(BootError::NoPvhNote);
    };
    let inside = view.loads().any(|s| (s.p_paddr..s.p_paddr + s.p_memsz).contains(&entry));
    match u32::try_from(entry) {
        Ok(entry) if inside => Ok((entry, end)),
        _ => Err(BootError::EntryOutside { entry }),
    }
}

/// The bytes at [`BOOT_INFO`]: start info, memory map, module list, strings; fills in the modules' command lines.
fn boot_info(
    ram_end: u64,
    modules: &mut [hvm_modlist_entry],
    module_lines: &[Option<&str>],
    cmdline: &str,
) -> Result<Vec<u8>, BootError> {
    let memmap_at = BOOT_INFO + (size_of::<hvm_start_info>() as u64).next_multiple_of(16);
    let modlist_at = memmap_at + (size_of::<hvm_memmap_table_entry>() as u64).next_multiple_of(16);
    let strings_at = modlist_at + size_of_val(modules) as u64;

    let mut strings = Vec::new();
    let mut add = |line: &str| {
        let at = strings_at + strings.len() as u64;
        strings.extend_from_slice(line.as_bytes());
        strings.push(0);
        if line.contains('\0') { Err(BootError::ZeroInCmdline) } else { Ok(at) }
    };
    let cmdline_at = add(cmdline)?;
    for (module, line) in modules.iter_mut().zip(module_lines) {
        if let Some(line) = line {
            module.cmdline_paddr = add(line)?;
        }
    }

    let info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        nr_modules: modules.len() as u32,
        modlist_paddr: if modules.is_empty() { 0 } else { modlist_at },
        cmdline_paddr: cmdline_at,
        memmap_paddr: memmap_at,
        memmap_entries: 1,
        ..Default::default()
    };
    let memmap = hvm_memmap_table_entry { addr: 0, size: ram_end, type_: XEN_HVM_MEMMAP_TYPE_RAM, reserved: 0 };
    let mut bytes = info.as_slice().to_vec();
    bytes.resize((memmap_at - BOOT_INFO) as usize, 0);
    bytes.extend_from_slice(memmap.as_slice());
    bytes.resize((modlist_at - BOOT_INFO) as usize, 0);
    for module in &*modules {
        bytes.extend_from_slice(module.as_slice());
    }
    bytes.extend_from_slice(&strings);
    let max = (BOOT_INFO_END - BOOT_INFO) as usize;
    if bytes.len() > max {
        return Err(BootError::CmdlineTooLong { size: bytes.len(), max });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::elf::ET_EXEC;
    use crate::elf_image::{image, kernel, load as segment, pvh_note};
    use crate::spec::Module;

    fn load_into(mib: u32, spec: &GuestSpec<'_>, cmdline: &str) -> Result<(GuestRam, BootState), BootError> {
        let ram = GuestRam::new(mib).unwrap();
        let spec = &GuestSpec { ram_mib: mib, ..spec.clone() };
        load(&ram, spec, cmdline).map(|state| (ram, state))
    }

    fn string_at(ram: &GuestRam, gpa: u64) -> String {
        let mut bytes = [0; 64];
        assert_eq!(ram.read(gpa, &mut bytes), 64);
        String::from_utf8(bytes.iter().copied().take_while(|&b| b != 0).collect()).unwrap()
    }

    #[test]
    fn the_guest_finds_all_it_needs() {
        let file = kernel(b"\xf4kernel");
        let mut spec = GuestSpec::new(&file[..]).with_module(vec![7u8; 5000]).with_module(&b"second"[..]);
        spec.modules[1].cmdline = Some("own line".into());
        let (ram, state) = load_into(4, &spec, "procs=1 -- p").unwrap();
        assert_eq!(state, BootState { entry: 0x10_0000, start_info: 0x6000 });

        let info: hvm_start_info = ram.memory().read_obj(GuestAddress(0x6000)).unwrap();
        assert_eq!((info.magic, info.version, info.nr_modules), (XEN_HVM_START_MAGIC_VALUE, 1, 2));
        assert_eq!(string_at(&ram, info.cmdline_paddr), "procs=1 -- p");
        let map: hvm_memmap_table_entry = ram.memory().read_obj(GuestAddress(info.memmap_paddr)).unwrap();
        assert_eq!((map.addr, map.size, map.type_, info.memmap_entries), (0, 4 << 20, 1, 1));

        let list =
            |i: u64| -> hvm_modlist_entry { ram.memory().read_obj(GuestAddress(info.modlist_paddr + 32 * i)).unwrap() };
        assert_eq!((list(0).paddr, list(0).size, list(0).cmdline_paddr), (0x10_1000, 5000, 0));
        assert_eq!((list(1).paddr, list(1).size), (0x10_3000, 6));
        assert_eq!(string_at(&ram, list(1).cmdline_paddr), "own line");
        assert_eq!(string_at(&ram, list(1).paddr), "second");
        assert_eq!(string_at(&ram, 0x10_0001), "kernel");
    }

    #[test]
    fn modules_are_moved_up_as_asked() {
        let file = kernel(b"\xf4");
        let mut spec = GuestSpec::new(&file[..]).with_module(vec![7u8; 5000]).with_module(&b"second"[..]);
        let first = |spec: &GuestSpec<'_>| -> u64 {
            let (ram, _) = load_into(4, spec, "").unwrap();
            let info: hvm_start_info = ram.memory().read_obj(GuestAddress(0x6000)).unwrap();
            let list: hvm_modlist_entry = ram.memory().read_obj(GuestAddress(info.modlist_paddr)).unwrap();
            let next: hvm_modlist_entry = ram.memory().read_obj(GuestAddress(info.modlist_paddr + 32)).unwrap();
            assert_eq!(next.paddr, list.paddr + 2 * 4096);
            assert_eq!(string_at(&ram, next.paddr), "second");
            list.paddr
        };
        let plain = first(&spec);
        spec.module_offset_pages = 3;
        assert_eq!(first(&spec), plain + 3 * 4096);
        spec.module_offset_pages = 4096;
        let error = load_into(4, &spec, "").unwrap_err();
        assert!(matches!(error, BootError::ModuleLargerThanRam { number: 1, .. }), "{error}");
    }

    #[test]
    fn refuses_with_the_reason() {
        let refuse = |file: &[u8]| load_into(2, &GuestSpec::new(file), "").unwrap_err().to_string();
        let no_note = image(ET_EXEC, 0x10_0000, &[segment(0x10_0000, b"\xf4", 0)]);
        assert!(refuse(&no_note).contains("no PVH entry"));
        let low = image(ET_EXEC, 0x7000, &[segment(0x7000, b"\xf4", 0), pvh_note(0x7000)]);
        assert!(refuse(&low).contains("below 1 MiB"));
        let outside = image(ET_EXEC, 0, &[segment(0x10_0000, b"\xf4", 0), pvh_note(0x10_0001)]);
        assert!(refuse(&outside).contains("outside its segments"));
        let large = image(ET_EXEC, 0, &[segment(0x10_0000, b"\xf4", 2 << 20), pvh_note(0x10_0000)]);
        assert!(refuse(&large).contains("beyond the 2 MiB"));
        assert!(refuse(b"MZ").contains("not an ELF"));
        assert!(refuse(&kernel(b"\xf4")[..4096]).contains("truncated"));

        let file = kernel(b"\xf4");
        let spec = GuestSpec::new(&file[..]).with_module(vec![0; 1 << 20]);
        assert!(load_into(2, &spec, "").unwrap_err().to_string().contains("module 1 of 1048576 bytes"));
        let spec = GuestSpec::new(&file[..]);
        assert!(matches!(load_into(2, &spec, "a\0b"), Err(BootError::ZeroInCmdline)));
        assert!(matches!(load_into(2, &spec, &"a".repeat(1 << 20)), Err(BootError::CmdlineTooLong { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn damaged_kernels_never_panic(
            cut in 0usize..9000,
            hits in prop::collection::vec((0usize..9000, any::<u8>()), 0..12),
            header_hits in prop::collection::vec((16usize..232, any::<u8>()), 0..6),
        ) {
            let mut file = kernel(b"\xf4");
            for (at, byte) in hits.into_iter().chain(header_hits) {
                if let Some(b) = file.get_mut(at) {
                    *b = byte;
                }
            }
            file.truncate(cut.max(1));
            // A loadable result must be within RAM; everything else must be an error.
            if let Ok((ram, state)) = load_into(2, &GuestSpec::new(&file[..]), "x") {
                prop_assert!(u64::from(state.entry) < ram.end());
            }
            let _ = crate::check_program(&file, 16);
        }

        #[test]
        fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let spec = GuestSpec { modules: vec![Module { elf: bytes.clone().into(), cmdline: None }], ..GuestSpec::new(&bytes[..]) };
            prop_assert!(load_into(2, &spec, "").is_err());
            prop_assert!(crate::check_program(&bytes, 16).is_err());
            let mut with_magic = b"\x7fELF\x02\x01\x01".to_vec();
            with_magic.extend_from_slice(&bytes);
            prop_assert!(load_into(2, &GuestSpec::new(&with_magic[..]), "").is_err());
        }
    }
}
