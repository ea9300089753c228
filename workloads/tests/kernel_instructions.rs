//! The kernel uses no instruction that a KVM backend may fail to emulate in ring 0, and the check would notice if it did.

use iced_x86::Mnemonic;
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol};
use workloads::kernel;

#[path = "../build/instructions.rs"]
mod instructions;

use instructions::{CheckError, check};

/// Where a symbol of the kernel lies in memory, and in the file.
fn find(symbol: &str) -> (u64, usize) {
    let file = ElfFile64::<Endianness>::parse(kernel()).expect("the kernel is an ELF");
    let address = file.symbols().find(|s| s.name() == Ok(symbol)).expect("a symbol of the kernel").address();
    let section = file
        .sections()
        .find(|s| s.file_range().is_some() && (s.address()..s.address() + s.size()).contains(&address))
        .expect("the section of the symbol");
    let (start, _) = section.file_range().expect("bytes in the file");
    (address, (start + address - section.address()) as usize)
}

/// The kernel with other bytes at a symbol, and the address of these.
fn planted(symbol: &str, bytes: &[u8]) -> (Vec<u8>, u64) {
    let (address, offset) = find(symbol);
    let mut image = kernel().to_vec();
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
    (image, address)
}

/// What the check says about the instruction at an address.
fn verdict(image: &[u8], address: u64) -> Option<Mnemonic> {
    match check(image) {
        Ok(_) => None,
        Err(CheckError::Forbidden(violations)) => {
            violations.iter().find(|violation| violation.address == address).map(|violation| violation.mnemonic)
        }
        Err(why) => panic!("{why}"),
    }
}

#[test]
fn the_kernel_is_clean() {
    let checked = check(kernel()).unwrap_or_else(|why| panic!("{why}"));
    assert!(checked > 1000, "only {checked} instructions were checked");
}

#[test]
fn planted_instructions_are_found() {
    use Mnemonic::{
        Adcx, Addsd, Adox, Andn, Clac, Cmpxchg16b, Crc32, Cvtsi2sd, Fld1, Fnstcw, INVALID, Int, Int3, Invpcid, Lar,
        Ldmxcsr, Lsl, Lzcnt, Movaps, Movbe, Movd, Movq, Movsd, Movss, Movups, Paddd, Popcnt, Pxor, Rdpid, Rdtscp, Stac,
        Sysenter, Tzcnt, Vaddps, Vmcall, Vmmcall, Xgetbv, Xorps, Xrstor, Xsave,
    };
    let cases: &[(&[u8], Mnemonic)] = &[
        // Vector registers, in every way.
        (&[0x0f, 0x10, 0x07], Movups),
        (&[0x0f, 0x28, 0xc1], Movaps),
        (&[0xf3, 0x0f, 0x10, 0x07], Movss),
        (&[0xf2, 0x0f, 0x10, 0x07], Movsd),
        (&[0x66, 0x0f, 0x6e, 0xc0], Movd),
        (&[0x66, 0x48, 0x0f, 0x6e, 0xc0], Movq),
        (&[0x0f, 0x57, 0xc0], Xorps),
        (&[0x66, 0x0f, 0xef, 0xc0], Pxor),
        (&[0xf2, 0x0f, 0x58, 0xc1], Addsd),
        (&[0xf2, 0x48, 0x0f, 0x2a, 0xc0], Cvtsi2sd),
        // MMX, x87 and their control registers.
        (&[0x0f, 0xfe, 0xc1], Paddd),
        (&[0xd9, 0xe8], Fld1),
        (&[0xd9, 0x3f], Fnstcw),
        (&[0x0f, 0xae, 0x17], Ldmxcsr),
        // VEX.
        (&[0xc5, 0xf0, 0x58, 0xc2], Vaddps),
        (&[0xc4, 0xe2, 0x78, 0xf2, 0xc1], Andn),
        // The others.
        (&[0xf3, 0x0f, 0xb8, 0xc1], Popcnt),
        (&[0x48, 0x0f, 0xc7, 0x0f], Cmpxchg16b),
        (&[0xf2, 0x0f, 0x38, 0xf1, 0xc1], Crc32),
        (&[0x66, 0x0f, 0x38, 0xf6, 0xc1], Adcx),
        (&[0xf3, 0x0f, 0x38, 0xf6, 0xc1], Adox),
        (&[0x0f, 0x01, 0xf9], Rdtscp),
        (&[0x0f, 0x01, 0xd0], Xgetbv),
        (&[0x0f, 0xae, 0x27], Xsave),
        (&[0x0f, 0xae, 0x2f], Xrstor),
        (&[0x0f, 0x01, 0xca], Clac),
        (&[0x0f, 0x01, 0xcb], Stac),
        (&[0x66, 0x0f, 0x38, 0x82, 0x07], Invpcid),
        (&[0xcc], Int3),
        (&[0xcd, 0x80], Int),
        (&[0x0f, 0x34], Sysenter),
        (&[0x0f, 0x02, 0xc1], Lar),
        (&[0x0f, 0x03, 0xc1], Lsl),
        (&[0xf3, 0x0f, 0xbd, 0xc1], Lzcnt),
        (&[0xf3, 0x0f, 0xbc, 0xc1], Tzcnt),
        (&[0x0f, 0x38, 0xf0, 0x07], Movbe),
        (&[0xf3, 0x0f, 0xc7, 0xf8], Rdpid),
        (&[0x0f, 0x01, 0xc1], Vmcall),
        (&[0x0f, 0x01, 0xd9], Vmmcall),
        (&[0x06], INVALID),
    ];
    for (bytes, mnemonic) in cases {
        let (image, address) = planted("kernel_main", bytes);
        assert_eq!(verdict(&image, address), Some(*mnemonic), "{bytes:02x?}");
    }
}

#[test]
fn harmless_instructions_pass() {
    let cases: &[&[u8]] = &[
        &[0x90],
        &[0x48, 0x0f, 0xae, 0x07],       // fxsave64 [rdi]
        &[0xdb, 0xe3],                   // fninit
        &[0x0f, 0xae, 0xe8],             // lfence
        &[0xf0, 0x48, 0x0f, 0xb1, 0x0f], // lock cmpxchg [rdi], rcx
        &[0x0f, 0xbc, 0xc1],             // bsf
    ];
    for bytes in cases {
        let (image, address) = planted("kernel_main", bytes);
        assert_eq!(verdict(&image, address), None, "{bytes:02x?}");
    }
}

#[test]
fn the_copy_of_boot_may_move_vectors_and_no_more() {
    let moved = planted("boot_copy", &[0x0f, 0x10, 0x07]);
    assert_eq!(verdict(&moved.0, moved.1), None, "movups xmm0, [rdi]");
    for (bytes, mnemonic) in [(&[0x0f, 0x28, 0xc1], Mnemonic::Movaps), (&[0x0f, 0x57, 0xc0], Mnemonic::Xorps)] {
        let (image, address) = planted("boot_copy", bytes);
        assert_eq!(verdict(&image, address), Some(mnemonic), "registers alone");
    }
}

#[test]
fn an_image_that_cannot_be_checked_is_refused() {
    assert!(matches!(check(b"no ELF"), Err(CheckError::NotElf(_))));
    // Without section headers there is nothing to disassemble: that must not pass for clean.
    let mut image = kernel().to_vec();
    for field in [0x28..0x30, 0x3c..0x40] {
        image[field].fill(0);
    }
    assert!(matches!(check(&image), Err(CheckError::NoCode)));
}

#[test]
fn a_refusal_names_the_place() {
    let (image, address) = planted("kernel_main", &[0x0f, 0x57, 0xc0]);
    let message = check(&image).expect_err("a planted instruction").to_string();
    assert!(message.contains(&format!("{address:#x} in kernel_main: xorps")), "{message}");
}
