//! Code that is the same at every access, made once: encoding it anew would be half the cost of translating an access.

use iced_x86::{Code, Instruction, Register};

use super::asm::{Asm, NotEncodable};
use super::frame;
use super::inline_tlb::{INDEX_MASK, InlineTlb, SHIFT, TABLES};
use super::lowering::table;
use super::registers::{ADDRESS, RAX};

/// See the module.
#[derive(Default)]
pub(super) struct Snippets {
    read: [Lookup; TABLES],
    write: [Lookup; TABLES],
}

/// A look into a table of the TLB for the linear address in ADDRESS.
#[derive(Default)]
pub(super) struct Lookup {
    /// Makes ADDRESS the offset in the page, if the entry is right, and RAX the entry's place.
    pub(super) offset: Vec<u8>,
    /// Adds the page's host address.
    pub(super) host: Vec<u8>,
}

impl Snippets {
    pub(super) fn new() -> Result<Self, NotEncodable> {
        let mut snippets = Self::default();
        for table in 0..TABLES {
            let offset = table * size_of::<InlineTlb>();
            snippets.read[table] = Lookup::new(frame::READS + offset)?;
            snippets.write[table] = Lookup::new(frame::WRITES + offset)?;
        }
        Ok(snippets)
    }

    /// For code with the rights of this table.
    pub(super) fn lookup(&self, write: bool, table: usize) -> &Lookup {
        let lookups = if write { &self.write } else { &self.read };
        &lookups[table % TABLES]
    }
}

impl Lookup {
    fn new(entries: usize) -> Result<Self, NotEncodable> {
        let mut asm = Asm::new();
        asm.begin(0);
        if is_x86_feature_detected!("bmi2") {
            let rotate = Instruction::with3(Code::VEX_Rorx_r32_rm32_imm8, Register::EAX, Register::R11D, SHIFT)?;
            asm.instruction(&rotate)?;
        } else {
            asm.rr(Code::Mov_r32_rm32, Register::EAX, Register::R11D)?;
            asm.ri(Code::Shr_rm32_imm8, Register::EAX, SHIFT)?;
        }
        asm.ri(Code::And_rm32_imm32, Register::EAX, INDEX_MASK)?;
        asm.rm(Code::Sub_r64_rm64, ADDRESS, table(RAX, entries))?;
        let offset = asm.finish().ok_or(NotEncodable)?.to_vec();
        asm.begin(0);
        asm.rm(Code::Add_r64_rm64, ADDRESS, table(RAX, entries + 8))?;
        let host = asm.finish().ok_or(NotEncodable)?.to_vec();
        Ok(Self { offset, host })
    }
}
