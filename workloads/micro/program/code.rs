//! Code that is made when it is needed: chains of blocks, near and far, hot and cold.

use rt::PAGE_BYTES;

use crate::calls;

/// Blocks of a chain that is run again and again.
pub(crate) const CHAIN: usize = 64;

/// How one block goes on to the next.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Branch {
    /// `jmp rel32`
    Direct,
    /// `jmp [rdx + disp32]`, by a table
    Indirect,
}

/// Generated code, and the table of its indirect branches.
pub(crate) struct Code {
    pub(crate) entry: usize,
    pub(crate) table: usize,
}

/// A chain of blocks, each of so many additions, so many bytes apart; behind the last the chain begins anew until R8 is
/// zero, and returns.
pub(crate) fn chain(blocks: usize, additions: usize, stride: usize, branch: Branch) -> Code {
    let area = blocks * stride + PAGE_BYTES;
    let base = match calls::map_code(area) {
        Ok(at) => at,
        Err(errno) => rt::fail(rt::EXIT_USAGE, format_args!("micro: no memory for code (error {})", errno.0)),
    };
    let table = rt::map::<u64>(blocks);
    // Far apart, the blocks must not all use one set of the caches.
    let place = |block: usize| base + block * stride + if stride >= PAGE_BYTES { block % 32 * 64 } else { 0 };
    for block in 0..blocks {
        let mut at = Emitter(place(block) as *mut u8);
        for _ in 0..additions {
            at.bytes(&[0x83, 0xc0, 0x01]); // add eax, 1
        }
        if block + 1 == blocks {
            at.bytes(&[0x49, 0xff, 0xc8]); // dec r8
            at.bytes(&[0x0f, 0x85]); // jnz
            at.distance(place(0));
            at.bytes(&[0xc3]); // ret
            continue;
        }
        table[block] = place(block + 1) as u64;
        match branch {
            Branch::Direct => {
                at.bytes(&[0xe9]);
                at.distance(place(block + 1));
            }
            Branch::Indirect => {
                at.bytes(&[0xff, 0xa2]);
                at.bytes(&(block as u32 * 8).to_le_bytes());
            }
        }
    }
    Code { entry: place(0), table: table.as_ptr() as usize }
}

/// The function `mov eax, imm32; ret`.
pub(crate) fn constant() -> usize {
    match calls::map_code(PAGE_BYTES) {
        Ok(at) => {
            Emitter(at as *mut u8).bytes(&[0xb8, 0, 0, 0, 0, 0xc3]);
            at
        }
        Err(errno) => rt::fail(rt::EXIT_USAGE, format_args!("micro: no memory for code (error {})", errno.0)),
    }
}

struct Emitter(*mut u8);

impl Emitter {
    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            // SAFETY: the area has room for all blocks and a page more, and holds nothing else.
            unsafe {
                self.0.write_volatile(byte);
                self.0 = self.0.add(1);
            }
        }
    }

    /// The distance from behind this word.
    fn distance(&mut self, target: usize) {
        let from = self.0 as usize + 4;
        self.bytes(&(target.wrapping_sub(from) as u32).to_le_bytes());
    }
}
