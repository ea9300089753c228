//! Dynamic binary translation: hot guest code becomes host code.
//!
//! Guest and host are the same architecture, so most instructions are translated to themselves, with other registers.
//! What is between them is the software MMU: an access looks into a table in line and leaves the code if that does not
//! know the page. The rules:
//! - At every boundary between guest instructions the guest's registers are in known places, and so are its flags or a
//!   recipe for them. Code can be left at any of them, and exceptions are precise: whatever may fault is left to the
//!   interpreter, which does that instruction again.
//! - Only host addresses out of the table are accessed, and those are pages of guest RAM.
//! - Code that is entered holds for the current translations of its addresses, the current privilege level and the bytes
//!   that are in memory: a change of any begins another generation of code, and before a region is entered in that, its
//!   blocks are compared with the block cache.
//! - Floating point runs under the guest's own rounding only if that is the default; else nothing is translated.

mod access;
mod asm;
mod control;
mod facts;
mod forms;
mod frame;
mod high_byte;
mod inline_tlb;
mod instruction;
mod jump_table;
mod lowering;
mod recipe;
mod region;
mod registers;
mod run;
mod snippets;
mod string;
mod trampoline;
mod translator;
mod windows;

pub(crate) use translator::Translator;
