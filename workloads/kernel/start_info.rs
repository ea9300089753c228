//! What the loader tells: `hvm_start_info`, its memory map and its modules (Xen's `arch-x86/hvm/start_info.h`).

use crate::paging::direct;

const MAGIC: u32 = 0x336e_c578;
const RAM: u32 = 1;

#[repr(C)]
struct Raw {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    modlist: u64,
    cmdline: u64,
    rsdp: u64,
    memmap: u64,
    memmap_entries: u32,
    reserved: u32,
}

/// One entry of the memory map.
#[repr(C)]
pub struct MapEntry {
    addr: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

/// One module: a program.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Module {
    /// Physical address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// Physical address of its command line, or 0.
    pub cmdline: u64,
    reserved: u64,
}

/// The start information.
pub struct StartInfo {
    raw: *const Raw,
    phys: u64,
}

/// Bytes in physical memory that nothing else may use.
#[derive(Clone, Copy)]
pub struct Extent {
    /// First physical address.
    pub start: u64,
    /// First physical address behind it.
    pub end: u64,
}

impl StartInfo {
    /// # Safety
    /// `phys` is the physical address that the PVH loader left in EBX.
    pub unsafe fn new(phys: u64) -> Self {
        let raw: *const Raw = direct(phys).cast();
        // SAFETY: the loader put the structure there.
        let (magic, version) = unsafe { ((*raw).magic, (*raw).version) };
        if magic != MAGIC {
            crate::machine::panic("not started by a PVH loader");
        }
        if version < 1 {
            crate::machine::panic("the PVH loader gives no memory map");
        }
        Self { raw, phys }
    }

    /// The command line, NUL-terminated; never null.
    pub fn command_line(&self) -> *const u8 {
        // SAFETY: `new` checked the structure.
        let phys = unsafe { (*self.raw).cmdline };
        if phys == 0 { c"".as_ptr().cast() } else { direct(phys) }
    }

    /// How many modules there are.
    pub fn module_count(&self) -> u32 {
        // SAFETY: `new` checked the structure.
        unsafe { (*self.raw).modules }
    }

    /// Module `index`, below the count. It has no command line of its own if its entry was not filled in: the firmware of
    /// QEMU 11.1 leaves there what was on its stack, also in the word that the interface reserves and wants to be zero.
    pub fn module(&self, index: u32) -> Module {
        // SAFETY: the list has `modules` entries.
        let mut module = unsafe {
            let at = direct((*self.raw).modlist).cast::<Module>().add(index as usize);
            // Volatile, so that no compiler makes an SSE move of neighbouring words.
            Module {
                addr: (&raw const (*at).addr).read_volatile(),
                size: (&raw const (*at).size).read_volatile(),
                cmdline: (&raw const (*at).cmdline).read_volatile(),
                reserved: (&raw const (*at).reserved).read_volatile(),
            }
        };
        if module.reserved != 0 || self.ram_around(module.cmdline).is_none() {
            module.cmdline = 0;
        }
        module
    }

    /// The RAM that holds `phys`, as far as the direct map reaches.
    pub fn ram_around(&self, phys: u64) -> Option<Extent> {
        // SAFETY: the memory map has that many entries.
        unsafe {
            let mut entry: *const MapEntry = direct((*self.raw).memmap).cast();
            let end = entry.add((*self.raw).memmap_entries as usize);
            while entry != end {
                let (start, size) = ((*entry).addr, (*entry).size);
                if (*entry).kind == RAM && start <= phys && phys - start < size {
                    return Some(Extent { start, end: (start + size).min(crate::paging::DIRECT_SIZE) });
                }
                entry = entry.add(1);
            }
        }
        None
    }

    /// Call `f` with everything of the loader's that must stay: modules, lists, command lines.
    pub fn each_extent(&self, mut f: impl FnMut(Extent)) {
        // SAFETY: `new` checked the structure.
        let raw = unsafe { &*self.raw };
        let mut at = |start: u64, size: u64| {
            if start != 0 {
                f(Extent { start, end: start + size });
            }
        };
        at(self.phys, size_of::<Raw>() as u64);
        at(raw.memmap, u64::from(raw.memmap_entries) * size_of::<MapEntry>() as u64);
        at(raw.modlist, u64::from(raw.modules) * size_of::<Module>() as u64);
        at(raw.cmdline, 4096);
        let mut index = 0;
        while index < raw.modules {
            let module = self.module(index);
            at(module.addr, module.size);
            at(module.cmdline, 4096);
            index += 1;
        }
    }
}
