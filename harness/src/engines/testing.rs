//! Programs assembled by hand, and jobs to run them, for the tests of the engines.

use crate::engines::{Job, Program};
use crate::model::{EngineId, RunRequest};

/// A static executable whose one segment, at 0x400000, holds `code`; it starts at the code's first byte.
pub(super) fn executable(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    for half in [2u16, 62] {
        elf.extend(half.to_le_bytes()); // an executable, for x86-64
    }
    elf.extend(1u32.to_le_bytes());
    for field in [BASE + HEADERS, 64, 0] {
        elf.extend(field.to_le_bytes()); // entry, program headers, no section headers
    }
    elf.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    for word in [1u32, 7] {
        elf.extend(word.to_le_bytes()); // PT_LOAD, readable, writable and executable
    }
    for field in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend(field.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// A kernel with a PVH note whose one segment, at 1 MiB, holds `code`; it starts at the code's first byte.
pub(super) fn kernel(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x10_0000;
    const HEADERS: u64 = 64 + 2 * 56;
    // namesz, descsz, type (XEN_ELFNOTE_PHYS32_ENTRY), the name, and the entry (Xen `public/elfnote.h`).
    let entry = u32::try_from(BASE + HEADERS + 20).expect("it is just above 1 MiB");
    let words = [4u32, 4, 18, u32::from_le_bytes(*b"Xen\0"), entry];
    let note = words.map(u32::to_le_bytes).concat();
    let mut elf = executable(&[note.as_slice(), code].concat());
    // Make room for the second program header, and move everything to the kernel's address.
    elf.splice(64 + 56..64 + 56, [0; 56]);
    let size = elf.len() as u64;
    let word = |elf: &mut Vec<u8>, at: usize, value: u64| elf[at..at + 8].copy_from_slice(&value.to_le_bytes());
    word(&mut elf, 24, entry.into());
    elf[56] = 2;
    for (at, value) in [(64 + 16, BASE), (64 + 24, BASE), (64 + 32, size), (64 + 40, size)] {
        word(&mut elf, at, value);
    }
    elf[120] = 4; // PT_NOTE
    for (at, value) in [(8, HEADERS), (16, BASE + HEADERS), (24, BASE + HEADERS), (32, 20), (40, 20), (48, 4)] {
        word(&mut elf, 120 + at, value);
    }
    elf
}

/// Machine code that is being put together.
#[derive(Debug, Clone, Default)]
pub(super) struct Code(Vec<u8>);

impl Code {
    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// `out port, byte`, in a kernel.
    pub(super) fn out(self, port: u8, byte: u8) -> Self {
        self.raw(&[0xb0, byte, 0xe6, port])
    }

    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Any bytes.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// `write(fd, text)`; the text lies between a call and its return address.
    pub(super) fn write(self, fd: u8, text: &str) -> Self {
        let length = u32::try_from(text.len()).expect("tests write short texts").to_le_bytes();
        self.raw(&[0xe8])
            .raw(&length)
            .raw(text.as_bytes())
            .raw(&[0x5e]) // call over it; pop rsi
            .raw(&[0xb8, 1, 0, 0, 0, 0xbf, fd, 0, 0, 0, 0xba])
            .raw(&length) // mov eax, 1; mov edi, fd; mov edx, length
            .raw(&[0x0f, 0x05]) // syscall
    }

    /// `exit(code)`.
    pub(super) fn exit(self, code: u8) -> Self {
        self.raw(&[0xb8, 60, 0, 0, 0, 0xbf, code, 0, 0, 0, 0x0f, 0x05])
    }

    /// A jump to itself.
    pub(super) fn spin(self) -> Self {
        self.raw(&[0xeb, 0xfe])
    }

    /// A jump to the first byte.
    pub(super) fn again(self) -> Self {
        let back = -i32::try_from(self.0.len() + 5).expect("tests are short");
        self.raw(&[0xe9]).raw(&back.to_le_bytes())
    }
}

/// A run of `code` with two arguments and 20 seconds of time.
pub(super) fn job(engine: EngineId, code: &Code) -> Job<'static> {
    Job {
        request: RunRequest {
            workload: "program".to_owned(),
            args: vec!["1".to_owned(), "two words".to_owned()],
            engine: engine.into(),
            ram_mib: 64,
            timeout_s: 20,
            prefault: false,
            cpu: emu_min::Model::highest(),
            hz: 0,
            deterministic: false,
            profile: None,
            placement: None,
            confine: crate::model::Confine::default(),
        },
        program: Program { name: "program".to_owned(), elf: executable(&code.0).into(), processes: 1, native: true },
        kernel: workloads::kernel(),
    }
}
