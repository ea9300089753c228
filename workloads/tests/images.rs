//! The embedded images are what the guest contract promises: static, non-PIE ELF64 for x86-64, in whole pages.

use std::collections::BTreeSet;

use object::Endianness;
use object::elf::{
    self, EM_X86_64, ET_EXEC, FileHeader64, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_NOTE, ProgramHeader64,
};
use object::read::elf::{FileHeader, ProgramHeader};
use workloads::{Group, catalogue, find, kernel};

const PAGE: u64 = 4096;
const LITTLE: Endianness = Endianness::Little;

type Header = FileHeader64<Endianness>;

fn header<'a>(name: &str, image: &'a [u8]) -> (&'a Header, &'a [ProgramHeader64<Endianness>]) {
    let header = Header::parse(image).unwrap_or_else(|why| panic!("{name}: {why}"));
    assert_eq!(header.endian().expect("a byte order"), LITTLE, "{name}");
    assert_eq!(header.e_type(LITTLE), ET_EXEC, "{name} must not be relocatable");
    assert_eq!(header.e_machine(LITTLE), EM_X86_64, "{name}");
    (header, header.program_headers(LITTLE, image).expect("program headers"))
}

#[test]
fn programs_are_static_executables_in_whole_pages() {
    for workload in catalogue() {
        let name = workload.name;
        let (header, segments) = header(name, workload.elf);
        let mut end_of_last = 0x1000;
        let mut entry_is_code = false;
        for segment in segments {
            let kind = segment.p_type(LITTLE);
            assert!(kind != PT_INTERP && kind != PT_DYNAMIC, "{name} needs a dynamic linker");
            if kind != PT_LOAD {
                continue;
            }
            let (start, size) = (segment.p_vaddr(LITTLE), segment.p_memsz(LITTLE));
            assert!(start % PAGE == 0 && segment.p_offset(LITTLE) % PAGE == 0, "{name}: segment at {start:#x}");
            assert!(start >= end_of_last, "{name}: segments out of order, or below the lowest address");
            end_of_last = start + size;
            let flags = segment.p_flags(LITTLE);
            assert!(flags & (PF_W | PF_X) != (PF_W | PF_X), "{name}: code that can be written");
            entry_is_code |= (start..end_of_last).contains(&header.e_entry(LITTLE)) && flags & PF_X == PF_X;
        }
        assert!(end_of_last > 0x1000 && end_of_last <= 0x7fff_0000_0000, "{name} ends at {end_of_last:#x}");
        assert!(entry_is_code, "{name}: the entry is not in an executable segment");
    }
}

#[test]
fn kernel_has_the_pvh_note_and_leaves_its_code_read_only() {
    let (_, segments) = header("kernel", kernel());
    let mut entries = Vec::new();
    for segment in segments {
        if segment.p_type(LITTLE) == PT_NOTE {
            let notes = segment.notes(LITTLE, kernel()).expect("readable notes").expect("notes");
            for note in notes {
                let note = note.expect("a note");
                if note.name() == b"Xen" && note.n_type(LITTLE) == elf::NoteType(18) {
                    entries.push(u32::from_le_bytes(note.desc().try_into().expect("a 32-bit entry")));
                }
            }
        }
        if segment.p_type(LITTLE) == PT_LOAD {
            let flags = segment.p_flags(LITTLE);
            assert!(flags & (PF_W | PF_X) != (PF_W | PF_X), "kernel code that can be written");
        }
    }
    let [entry] = entries[..] else { panic!("the kernel has {} PVH notes", entries.len()) };
    let in_code = segments.iter().any(|segment| {
        let start = segment.p_paddr(LITTLE);
        segment.p_flags(LITTLE) & PF_X == PF_X && (start..start + segment.p_filesz(LITTLE)).contains(&u64::from(entry))
    });
    assert!(in_code, "the PVH entry {entry:#x} is not in the kernel's code");
}

#[test]
fn images_do_not_tell_where_they_were_built() {
    let checkout = env!("CARGO_MANIFEST_DIR").as_bytes();
    let images = catalogue().iter().map(|workload| (workload.name, workload.elf)).chain([("kernel", kernel())]);
    for (name, image) in images {
        assert!(
            !image.windows(checkout.len()).any(|window| window == checkout),
            "{name} holds the path of the checkout"
        );
    }
}

#[test]
fn catalogue_is_consistent() {
    let names: BTreeSet<&str> = catalogue().iter().map(|workload| workload.name).collect();
    assert_eq!(names.len(), catalogue().len(), "two programs of one name");
    assert!(catalogue().is_sorted_by_key(|workload| workload.group), "groups must stay together");
    for workload in catalogue() {
        assert_eq!(find(workload.name).map(|found| found.elf), Some(workload.elf));
        assert!(!workload.summary.is_empty() && workload.summary.len() < 110, "{}", workload.name);
        for param in workload.params {
            let bounds = param.min..=param.max;
            assert!(
                bounds.contains(&param.default) && bounds.contains(&param.quick),
                "{} {}",
                workload.name,
                param.name
            );
            assert!(param.quick <= param.default, "{} {}", workload.name, param.name);
        }
    }
    assert!(find("no such program").is_none());
    assert_eq!(format!("{:>8}", Group::Memory), "  memory");
}
