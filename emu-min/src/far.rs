//! Far branches and IRET: transfers that load CS (Intel SDM volume 2, JMP, CALL, RET and IRET).

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::core::{Core, Mode, RSP, SS};
use crate::exception::{GP, NP, SS as STACK_FAULT};
use crate::int::{Int, by_size};
use crate::op::{Op, R, Selected, end};
use crate::paging::canonical;
use crate::state::Segment;

impl Core {
    /// The code segment of a far JMP or CALL, checked; call gates and task switches are not modelled (#GP).
    fn far_code_segment(&mut self, selector: u16) -> R<Segment> {
        if selector & !3 == 0 {
            return Err(self.gp());
        }
        let code = u32::from(selector & !3);
        let segment = self.descriptor(selector, code)?;
        let conforming = segment.kind() & 4 != 0;
        let allowed = if conforming {
            segment.dpl() <= self.cpl()
        } else {
            segment.dpl() == self.cpl() && (selector & 3) as u8 <= self.cpl()
        };
        let both_sizes = self.long_mode() && segment.long() && segment.big();
        if !segment.is_code_or_data() || segment.kind() & 8 == 0 || !allowed || both_sizes {
            return Err(self.fault_code(GP, code));
        }
        if !segment.present() {
            return Err(self.fault_code(NP, code));
        }
        Ok(segment)
    }

    /// Whether `rip` may be executed in `segment`.
    fn check_target(&mut self, segment: &Segment, rip: u64) -> R {
        let fits = if self.long_mode() && segment.long() { canonical(rip) } else { rip <= u64::from(segment.limit) };
        if fits { Ok(()) } else { Err(self.gp()) }
    }

    fn far_jump(&mut self, selector: u16, rip: u64) -> R {
        let mut segment = self.far_code_segment(selector)?;
        self.check_target(&segment, rip)?;
        self.mark_accessed(&mut segment)?;
        let cpl = self.cpl();
        self.set_cs(segment, cpl);
        self.rip = rip;
        Ok(())
    }

    fn far_call<T: Int>(&mut self, selector: u16, rip: u64, next: u64) -> R {
        let mut segment = self.far_code_segment(selector)?;
        self.check_target(&segment, rip)?;
        self.mark_accessed(&mut segment)?;
        let old_sp = self.r[RSP];
        let pushed = self.push::<T>(u64::from(self.seg[crate::core::CS].selector)).and_then(|()| self.push::<T>(next));
        if pushed.is_err() {
            self.r[RSP] = old_sp;
            return pushed;
        }
        let cpl = self.cpl();
        self.set_cs(segment, cpl);
        self.rip = rip;
        Ok(())
    }

    /// The code segment that a RET or IRET returns to.
    fn return_code_segment(&mut self, selector: u16) -> R<Segment> {
        if selector & !3 == 0 {
            return Err(self.gp());
        }
        let code = u32::from(selector & !3);
        let rpl = (selector & 3) as u8;
        let segment = self.descriptor(selector, code)?;
        let conforming = segment.kind() & 4 != 0;
        let dpl_fits = if conforming { segment.dpl() <= rpl } else { segment.dpl() == rpl };
        let both_sizes = self.long_mode() && segment.long() && segment.big();
        if !segment.is_code_or_data() || segment.kind() & 8 == 0 || rpl < self.cpl() || !dpl_fits || both_sizes {
            return Err(self.fault_code(GP, code));
        }
        if !segment.present() {
            return Err(self.fault_code(NP, code));
        }
        Ok(segment)
    }

    /// The stack segment that a return to level `cpl` loads; in 64-bit mode it may be null below level 3.
    fn return_stack_segment(&mut self, selector: u16, cpl: u8, to_long: bool) -> R<Segment> {
        if selector & !3 == 0 {
            if !to_long || cpl == 3 {
                return Err(self.gp());
            }
            let attributes = 0xc013 | u16::from(cpl) << 5;
            return Ok(Segment { selector, base: 0, limit: 0, attributes });
        }
        let code = u32::from(selector & !3);
        let segment = self.descriptor(selector, code)?;
        let rpl = (selector & 3) as u8;
        if rpl != cpl || !segment.is_code_or_data() || segment.kind() & 10 != 2 || segment.dpl() != cpl {
            return Err(self.fault_code(GP, code));
        }
        if !segment.present() {
            return Err(self.fault_code(STACK_FAULT, code));
        }
        Ok(segment)
    }

    /// RETF: `release` bytes of parameters follow the return address.
    fn far_return<T: Int>(&mut self, release: u64) -> R {
        let rip = self.peek_stack::<T>(0)?;
        let selector = self.peek_stack::<T>(T::SIZE)? as u16;
        let mut segment = self.return_code_segment(selector)?;
        self.check_target(&segment, rip)?;
        let cpl = (selector & 3) as u8;
        if cpl == self.cpl() {
            self.mark_accessed(&mut segment)?;
            self.add_sp((2 * T::SIZE).wrapping_add(release));
            self.set_cs(segment, cpl);
        } else {
            let rsp = self.peek_stack::<T>((2 * T::SIZE).wrapping_add(release))?;
            let ss = self.peek_stack::<T>((3 * T::SIZE).wrapping_add(release))? as u16;
            let stack = self.return_stack_segment(ss, cpl, segment.long())?;
            self.mark_accessed(&mut segment)?;
            self.set_cs(segment, cpl);
            self.seg[SS] = stack;
            self.update_mode();
            self.set_sp(rsp.wrapping_add(release));
            self.drop_inner_segments();
        }
        self.rip = rip;
        Ok(())
    }

    fn interrupt_return<T: Int>(&mut self) -> R {
        // NMIs are unblocked even if the instruction then faults (Intel SDM volume 3, 7.7.1).
        if std::mem::take(&mut self.nmi_blocked) {
            self.look_around();
        }
        if self.system_flags & crate::flags::NT != 0 {
            return Err(self.gp()); // a task return, which long mode does not have and this CPU does not model
        }
        let rip = self.peek_stack::<T>(0)?;
        let selector = self.peek_stack::<T>(T::SIZE)? as u16;
        let rflags = self.peek_stack::<T>(2 * T::SIZE)?;
        let mut segment = self.return_code_segment(selector)?;
        self.check_target(&segment, rip)?;
        let cpl = (selector & 3) as u8;
        let outward = cpl > self.cpl();
        // In 64-bit mode SS and RSP are always popped.
        if outward || self.mode == Mode::Bits64 {
            let rsp = self.peek_stack::<T>(3 * T::SIZE)?;
            let ss = self.peek_stack::<T>(4 * T::SIZE)? as u16;
            let stack = self.return_stack_segment(ss, cpl, segment.long())?;
            self.mark_accessed(&mut segment)?;
            self.write_rflags::<T>(rflags, T::BITS > 16);
            self.set_cs(segment, cpl);
            self.seg[SS] = stack;
            self.update_mode();
            self.set_sp(rsp);
            if outward {
                self.drop_inner_segments();
            }
        } else {
            self.mark_accessed(&mut segment)?;
            self.write_rflags::<T>(rflags, T::BITS > 16);
            self.set_cs(segment, cpl);
            self.add_sp(3 * T::SIZE);
        }
        self.rip = rip;
        Ok(())
    }
}

fn jump_immediate(core: &mut Core, op: &Op) -> R {
    core.far_jump(op.disp as u16, op.imm)
}

/// The far pointer in memory: offset of the operand size, then selector.
fn far_pointer<T: Int>(core: &mut Core, op: &Op) -> R<(u16, u64)> {
    let address = core.linear(op, T::SIZE + 2, false)?;
    let rip = core.load::<T>(address)?;
    let selector = core.load::<u16>(address.wrapping_add(T::SIZE))? as u16;
    Ok((selector, rip))
}

fn jump_memory<T: Int>(core: &mut Core, op: &Op) -> R {
    let (selector, rip) = far_pointer::<T>(core, op)?;
    core.far_jump(selector, rip)
}

fn call_immediate<T: Int>(core: &mut Core, op: &Op) -> R {
    core.far_call::<T>(op.disp as u16, op.imm, op.next_rip())
}

fn call_memory<T: Int>(core: &mut Core, op: &Op) -> R {
    let (selector, rip) = far_pointer::<T>(core, op)?;
    core.far_call::<T>(selector, rip, op.next_rip())
}

fn retf<T: Int>(core: &mut Core, op: &Op) -> R {
    core.far_return::<T>(op.imm)
}

fn iret<T: Int>(core: &mut Core, op: &Op) -> R {
    core.interrupt_return::<T>()?;
    core.lapse_resume_flag(op.n);
    Ok(())
}

pub(crate) fn select(ins: &Instruction, op: &mut Op) -> Selected {
    use Mnemonic as M;
    let immediate = matches!(ins.op0_kind(), OpKind::FarBranch16 | OpKind::FarBranch32);
    // The memory operand is a selector longer than the offset.
    let offset_size = |size: u8| if immediate { size } else { size.saturating_sub(2) };
    match op.mnemonic {
        M::Jmp if ins.is_jmp_far() => end!(jump_immediate),
        M::Jmp if ins.is_jmp_far_indirect() => by_size!(offset_size(op.size), T => end!(jump_memory::<T>)),
        M::Call if ins.is_call_far() => {
            op.size = if ins.op0_kind() == OpKind::FarBranch16 { 2 } else { 4 };
            by_size!(op.size, T => end!(call_immediate::<T>))
        }
        M::Call if ins.is_call_far_indirect() => by_size!(offset_size(op.size), T => end!(call_memory::<T>)),
        M::Retf => {
            op.size = far_return_size(ins);
            by_size!(op.size, T => end!(retf::<T>))
        }
        M::Iret => end!(iret::<u16>),
        M::Iretd => end!(iret::<u32>),
        M::Iretq => end!(iret::<u64>),
        _ => None,
    }
}

fn far_return_size(ins: &Instruction) -> u8 {
    use iced_x86::Code as C;
    match ins.code() {
        C::Retfw | C::Retfw_imm16 => 2,
        C::Retfd | C::Retfd_imm16 => 4,
        _ => 8,
    }
}
