//! Two 8259A interrupt controllers, cascaded as in every PC: the slave's output is line 2 of the master.
//!
//! Source: Intel 8259A data sheet (order number 231468-003). Left out, as PC software does not use them: the special
//! mask mode, the special fully nested mode, rotation of priorities, and the modes of processors before the 8086.

/// First port of the master: command, then data.
pub(crate) const MASTER: u16 = 0x20;
/// First port of the slave.
pub(crate) const SLAVE: u16 = 0xa0;
/// The master's line that the slave drives.
const CASCADE: u8 = 2;
/// The line whose vector a controller gives when the request is gone before it is acknowledged.
const SPURIOUS: u8 = 7;

/// What an initialisation still expects at the data port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    Icw2,
    Icw3,
    Icw4,
    /// Nothing: writes are the mask.
    Mask,
}

/// One controller.
#[derive(Debug, Clone)]
struct Chip {
    /// Requests: edges that were latched, or, if level-triggered, the lines.
    irr: u8,
    /// Lines in service.
    isr: u8,
    mask: u8,
    /// The lines now.
    lines: u8,
    /// The vector of line 0, once ICW2 has said it.
    base: Option<u8>,
    level_triggered: bool,
    auto_eoi: bool,
    /// ICW1 announced an ICW4.
    icw4: bool,
    /// ICW1 said that there is no second controller.
    single: bool,
    expects: Expects,
    /// OCW3: the command port reads as ISR, not IRR.
    read_isr: bool,
    /// OCW3: the next read acknowledges.
    poll: bool,
}

/// What an acknowledgement found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Line(u8),
    Nothing,
}

impl Chip {
    const fn new() -> Self {
        Self {
            irr: 0,
            isr: 0,
            mask: 0,
            lines: 0,
            base: None,
            level_triggered: false,
            auto_eoi: false,
            icw4: false,
            single: false,
            expects: Expects::Mask,
            read_isr: false,
            poll: false,
        }
    }

    fn set_line(&mut self, line: u8, high: bool) {
        let bit = 1 << line;
        let rises = high && self.lines & bit == 0;
        self.lines = self.lines & !bit | if high { bit } else { 0 };
        if self.level_triggered {
            self.irr = self.lines;
        } else if rises {
            self.irr |= bit;
        }
    }

    /// The line that asks for the processor: the highest request that is not masked, if nothing as high is in service.
    fn asks(&self) -> Option<u8> {
        let line = (self.irr & !self.mask).trailing_zeros() as u8;
        (self.expects == Expects::Mask && self.base.is_some() && line < self.isr.trailing_zeros() as u8).then_some(line)
    }

    /// Neither the mask nor what is in service keeps the line back.
    const fn is_open(&self, line: u8) -> bool {
        self.base.is_some() && self.mask & 1 << line == 0 && (line as u32) < self.isr.trailing_zeros()
    }

    fn acknowledge(&mut self) -> Taken {
        let Some(line) = self.asks() else { return Taken::Nothing };
        let bit = 1 << line;
        if !self.level_triggered {
            self.irr &= !bit;
        }
        if !self.auto_eoi {
            self.isr |= bit;
        }
        Taken::Line(line)
    }

    fn vector(&self, taken: Taken) -> u8 {
        let line = match taken {
            Taken::Line(line) => line,
            Taken::Nothing => SPURIOUS,
        };
        self.base.unwrap_or_default() | line
    }

    fn write_command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            // ICW1: the edge detectors and the mask are cleared, IRR is read.
            *self = Self {
                lines: self.lines,
                level_triggered: value & 8 != 0,
                single: value & 2 != 0,
                icw4: value & 1 != 0,
                expects: Expects::Icw2,
                ..Self::new()
            };
            if self.level_triggered {
                self.irr = self.lines;
            }
        } else if value & 8 != 0 {
            // OCW3.
            self.poll = value & 4 != 0;
            if value & 2 != 0 {
                self.read_isr = value & 1 != 0;
            }
        } else {
            // OCW2: bit 5 ends an interrupt, bit 6 says which one.
            match value >> 5 & 3 {
                1 => self.isr &= self.isr.wrapping_sub(1),
                3 => self.isr &= !(1 << (value & 7)),
                _ => {}
            }
        }
    }

    fn write_data(&mut self, value: u8) {
        self.expects = match self.expects {
            Expects::Icw2 => {
                self.base = Some(value & 0xf8);
                match (self.single, self.icw4) {
                    (false, _) => Expects::Icw3,
                    (true, true) => Expects::Icw4,
                    (true, false) => Expects::Mask,
                }
            }
            // Who is cascaded with whom is fixed on a PC.
            Expects::Icw3 if self.icw4 => Expects::Icw4,
            Expects::Icw3 => Expects::Mask,
            Expects::Icw4 => {
                self.auto_eoi = value & 2 != 0;
                Expects::Mask
            }
            Expects::Mask => {
                self.mask = value;
                Expects::Mask
            }
        };
    }

    fn read_command(&mut self) -> u8 {
        if std::mem::take(&mut self.poll) {
            return match self.acknowledge() {
                Taken::Line(line) => 0x80 | line,
                Taken::Nothing => 0,
            };
        }
        if self.read_isr { self.isr } else { self.irr }
    }
}

/// Both controllers.
#[derive(Debug, Clone)]
pub(crate) struct Pics {
    master: Chip,
    slave: Chip,
}

/// What the processor got for its acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// The vector.
    pub(crate) vector: u8,
    /// The line, 0 to 15; none if the request was gone.
    pub(crate) line: Option<u8>,
}

impl Pics {
    /// Both as at power-on: no vector is known, so nothing is requested.
    pub(crate) const fn new() -> Self {
        Self { master: Chip::new(), slave: Chip::new() }
    }

    /// Whether the port is one of theirs.
    pub(crate) const fn has_port(port: u16) -> bool {
        matches!(port & !1, MASTER | SLAVE)
    }

    /// Drives line 0 to 15; line 2 is the slave's and cannot be driven.
    pub(crate) fn set_line(&mut self, line: u8, high: bool) {
        if line >= 8 {
            self.slave.set_line(line & 7, high);
            self.cascade();
        } else if line != CASCADE {
            self.master.set_line(line, high);
        }
    }

    /// Whether the line would interrupt the processor if it were raised now.
    pub(crate) const fn could_interrupt(&self, line: u8) -> bool {
        if line < 8 { self.master.is_open(line) } else { self.slave.is_open(line & 7) && self.master.is_open(CASCADE) }
    }

    /// Whether the processor's interrupt line is raised.
    pub(crate) fn interrupts(&self) -> bool {
        self.master.asks().is_some()
    }

    /// The processor acknowledges.
    pub(crate) fn acknowledge(&mut self) -> Acknowledged {
        let taken = self.master.acknowledge();
        let line = match taken {
            Taken::Line(CASCADE) => {
                let taken = self.slave.acknowledge();
                // If the slave asks for more, its output rises again once the first request is served.
                self.master.set_line(CASCADE, false);
                self.cascade();
                let line = match taken {
                    Taken::Line(line) => Some(8 | line),
                    Taken::Nothing => None,
                };
                return Acknowledged { vector: self.slave.vector(taken), line };
            }
            Taken::Line(line) => Some(line),
            Taken::Nothing => None,
        };
        Acknowledged { vector: self.master.vector(taken), line }
    }

    /// Writes one byte to one of their ports.
    pub(crate) fn write(&mut self, port: u16, value: u8) {
        let chip = if port & !1 == MASTER { &mut self.master } else { &mut self.slave };
        if port & 1 == 0 {
            chip.write_command(value);
        } else {
            chip.write_data(value);
        }
        self.cascade();
    }

    /// Reads one byte from one of their ports.
    pub(crate) fn read(&mut self, port: u16) -> u8 {
        let chip = if port & !1 == MASTER { &mut self.master } else { &mut self.slave };
        let value = if port & 1 == 0 { chip.read_command() } else { chip.mask };
        self.cascade();
        value
    }

    /// Connects the slave's output to the master.
    fn cascade(&mut self) {
        let asks = self.slave.asks().is_some();
        self.master.set_line(CASCADE, asks);
    }
}

#[cfg(test)]
#[path = "pic_tests.rs"]
mod tests;
