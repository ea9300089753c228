//! Descriptors and segment registers.

use crate::core::{CS, Core, DS, ES, FS, GS, Mode, SS};
use crate::exception::{GP, NP, SS as STACK_FAULT};
use crate::op::R;
use crate::paging::canonical;
use crate::state::Segment;

/// A segment from the 8 bytes of its descriptor.
pub(crate) fn from_descriptor(selector: u16, raw: u64) -> Segment {
    let limit = (raw & 0xffff) | (raw >> 32 & 0xf_0000);
    let granular = raw >> 55 & 1 != 0;
    Segment {
        selector,
        base: (raw >> 16 & 0xff_ffff) | (raw >> 56 << 24),
        limit: if granular { (limit << 12 | 0xfff) as u32 } else { limit as u32 },
        attributes: (raw >> 40 & 0xff) as u16 | (raw >> 40 & 0xf000) as u16,
    }
}

impl Core {
    /// Linear address of a selector's descriptor, if it lies in its table.
    pub(crate) fn descriptor_place(&self, selector: u16) -> Option<u64> {
        let offset = u64::from(selector & !7);
        let (base, limit) = if selector & 4 != 0 {
            (self.ldtr.base, u64::from(self.ldtr.limit))
        } else {
            (self.gdtr.base, u64::from(self.gdtr.limit))
        };
        let no_ldt = selector & 4 != 0 && self.ldtr.selector & !3 == 0;
        (!no_ldt && offset + 7 <= limit).then(|| base.wrapping_add(offset))
    }

    /// Linear address of a selector's descriptor; #GP(`code`) if it lies outside its table.
    fn descriptor_address(&mut self, selector: u16, code: u32) -> R<u64> {
        match self.descriptor_place(selector) {
            Some(address) => Ok(address),
            None => Err(self.fault_code(GP, code)),
        }
    }

    /// Reads a descriptor; #GP(`code`) if it lies outside its table.
    pub(crate) fn descriptor(&mut self, selector: u16, code: u32) -> R<Segment> {
        let address = self.descriptor_address(selector, code)?;
        Ok(from_descriptor(selector, self.load_as(address, 8, self.system_rights())?))
    }

    /// Reads a system descriptor, whose base has 64 bits in long mode: there the type field of its upper half must be
    /// 0 and the base canonical.
    pub(crate) fn system_descriptor(&mut self, selector: u16) -> R<Segment> {
        let code = u32::from(selector & !3);
        if selector & 4 != 0 {
            return Err(self.fault_code(GP, code));
        }
        let mut segment = self.descriptor(selector, code)?;
        if self.long_mode() {
            let address = self.descriptor_address(selector.wrapping_add(8) & !7, code)?;
            let upper = self.load_as(address, 8, self.system_rights())?;
            segment.base |= (upper & 0xffff_ffff) << 32;
            if upper >> 40 & 0x1f != 0 || !canonical(segment.base) {
                return Err(self.fault_code(GP, code));
            }
        }
        Ok(segment)
    }

    /// Marks the TSS of `selector` busy in its descriptor.
    pub(crate) fn set_tss_busy(&mut self, selector: u16) -> R {
        let address = self.descriptor_address(selector, u32::from(selector & !3))?;
        let byte = self.load_as(address.wrapping_add(5), 1, self.system_rights())?;
        self.store_as(address.wrapping_add(5), 1, byte | 2, self.system_rights())
    }

    /// Loads a data or stack segment register as MOV, POP and LSS do.
    pub(crate) fn load_segment(&mut self, index: usize, selector: u16) -> R {
        let rpl = (selector & 3) as u8;
        let code = u32::from(selector & !3);
        let cpl = self.cpl();
        if selector & !3 == 0 {
            let null_stack_allowed = self.mode == Mode::Bits64 && cpl < 3 && rpl == cpl;
            if index == SS && !null_stack_allowed {
                return Err(self.gp());
            }
            let attributes = if index == SS { 0xc013 | u16::from(cpl) << 5 } else { 0 };
            self.seg[index] = Segment { selector, base: 0, limit: 0, attributes };
            self.update_mode();
            return Ok(());
        }
        let mut segment = self.descriptor(selector, code)?;
        let is_code = segment.kind() & 8 != 0;
        let readable = segment.kind() & 2 != 0;
        let allowed = if index == SS {
            !is_code && readable && rpl == cpl && segment.dpl() == cpl
        } else {
            let conforming = is_code && segment.kind() & 4 != 0;
            (!is_code || readable) && (conforming || (rpl <= segment.dpl() && cpl <= segment.dpl()))
        };
        if !segment.is_code_or_data() || !allowed {
            return Err(self.fault_code(GP, code));
        }
        if !segment.present() {
            return Err(self.fault_code(if index == SS { STACK_FAULT } else { NP }, code));
        }
        self.mark_accessed(&mut segment)?;
        self.seg[index] = segment;
        self.update_mode();
        Ok(())
    }

    /// Sets the accessed bit of a code or data descriptor.
    pub(crate) fn mark_accessed(&mut self, segment: &mut Segment) -> R {
        if segment.attributes & 1 == 0 {
            let address = self.descriptor_address(segment.selector, u32::from(segment.selector & !3))?;
            segment.attributes |= 1;
            self.store_as(address.wrapping_add(5), 1, u64::from(segment.attributes & 0xff), self.system_rights())?;
        }
        Ok(())
    }

    /// After a return to an outer level: data segments that it may not use become null.
    pub(crate) fn drop_inner_segments(&mut self) {
        let cpl = self.cpl();
        for index in [ES, DS, FS, GS] {
            let seg = self.seg[index];
            let conforming = seg.kind() & 12 == 12;
            if seg.present() && seg.dpl() < cpl && !conforming {
                self.seg[index] = Segment { selector: 0, attributes: 0, ..seg };
            }
        }
        self.update_mode();
    }

    /// Loads CS with a checked segment and a new privilege level.
    pub(crate) fn set_cs(&mut self, mut segment: Segment, cpl: u8) {
        segment.selector = (segment.selector & !3) | u16::from(cpl);
        if segment.base != self.seg[CS].base {
            self.forget_lookups(); // code is looked up by its offset
        }
        self.seg[CS] = segment;
        self.update_mode();
    }
}
