//! What the processor delivered last, for who steps it.

/// Where an event comes from; it decides about privilege checks and error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventSource {
    /// A fault of an instruction.
    Fault,
    /// A debug trap or instruction breakpoint: between instructions, with RF as it is, whatever the gate's DPL.
    Trap,
    /// `int n`, `int3`, `into`: the gate's DPL counts.
    Software,
    /// An interrupt from outside, or an NMI.
    External,
}

/// An event that was to be delivered: its vector, and its error code if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Event {
    /// The vector.
    pub vector: u8,
    /// The error code.
    pub error: Option<u32>,
}

/// Most events of one delivery that are kept: the first, the fault of its delivery, the double fault, and one to spare.
const EVENTS: usize = 4;

/// The delivery of an event to its handler, or what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Where the first event came from.
    pub source: EventSource,
    /// RIP that the handler finds on its stack, if the first event reached it.
    pub rip: u64,
    events: [Event; EVENTS],
    count: usize,
}

impl Delivery {
    pub(crate) const fn new(source: EventSource, rip: u64) -> Self {
        Self { source, rip, events: [Event { vector: 0, error: None }; EVENTS], count: 0 }
    }

    /// The next event: the first, or what delivering the one before it raised.
    pub(crate) fn note(&mut self, vector: u8, error: Option<u32>) {
        self.count = (self.count + 1).min(EVENTS);
        if let Some(slot) = self.events.get_mut(self.count - 1) {
            *slot = Event { vector, error };
        }
    }

    /// The event, then what its delivery raised, then a double fault: the last of them reached its handler, or else the
    /// processor shut down.
    pub fn events(&self) -> &[Event] {
        self.events.get(..self.count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_delivery_raises_is_kept_in_order() {
        let mut delivery = Delivery::new(EventSource::Fault, 7);
        assert_eq!(delivery.events(), []);
        delivery.note(14, Some(2));
        delivery.note(8, Some(0));
        assert_eq!(delivery.events(), [Event { vector: 14, error: Some(2) }, Event { vector: 8, error: Some(0) }]);
        for vector in 20..30 {
            delivery.note(vector, None);
        }
        assert_eq!((delivery.events().len(), delivery.events()[3].vector), (EVENTS, 29));
    }
}
