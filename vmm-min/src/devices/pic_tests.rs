//! The 8259A as its data sheet has it, as PC software programs it.

use super::*;

const MASTER_DATA: u16 = MASTER + 1;
const SLAVE_DATA: u16 = SLAVE + 1;
const EOI: u8 = 0x20;

fn none(vector: u8) -> Acknowledged {
    Acknowledged { vector, line: None }
}

fn line(vector: u8, line: u8) -> Acknowledged {
    Acknowledged { vector, line: Some(line) }
}

/// Both controllers with vectors 0x20 and 0x28, everything open.
fn initialised(icw4: u8) -> Pics {
    let mut pics = Pics::new();
    for (port, base, icw3) in [(MASTER, 0x20, 4), (SLAVE, 0x28, 2)] {
        pics.write(port, 0x11);
        for icw in [base, icw3, icw4] {
            pics.write(port + 1, icw);
        }
    }
    pics
}

fn pulse(pics: &mut Pics, line: u8) {
    pics.set_line(line, true);
    pics.set_line(line, false);
}

#[test]
fn nothing_interrupts_before_initialisation() {
    let mut pics = Pics::new();
    pulse(&mut pics, 0);
    assert!(!pics.interrupts() && !pics.could_interrupt(0));
    pics.write(MASTER, 0x11);
    pics.write(MASTER_DATA, 0x20);
    pulse(&mut pics, 0);
    assert!(!pics.interrupts(), "ICW3 and ICW4 are due");
    pics.write(MASTER_DATA, 4);
    pics.write(MASTER_DATA, 1);
    assert!(pics.interrupts() && pics.could_interrupt(0));
}

#[test]
fn an_edge_is_one_interrupt() {
    let mut pics = initialised(1);
    pics.set_line(0, true);
    assert!(pics.interrupts());
    assert_eq!(pics.read(MASTER), 1, "IRR");
    assert_eq!(pics.acknowledge(), line(0x20, 0));
    assert_eq!(pics.read(MASTER), 0);
    pics.write(MASTER, 0x0b);
    assert_eq!(pics.read(MASTER), 1, "ISR");
    pics.write(MASTER, EOI);
    assert_eq!(pics.read(MASTER), 0);
    assert!(!pics.interrupts(), "the line is still high, but there was no edge");
    pics.set_line(0, false);
    pics.set_line(0, true);
    assert!(pics.interrupts());
}

#[test]
fn an_edge_is_kept_while_one_is_in_service_and_does_not_add_up() {
    let mut pics = initialised(1);
    pulse(&mut pics, 0);
    pics.acknowledge();
    for _ in 0..3 {
        pulse(&mut pics, 0);
    }
    assert!(!pics.interrupts(), "the same line is in service");
    pics.write(MASTER, EOI);
    assert_eq!(pics.acknowledge(), line(0x20, 0));
    pics.write(MASTER, EOI);
    assert!(!pics.interrupts(), "three edges were one request");
}

#[test]
fn lower_lines_have_the_higher_priority() {
    let mut pics = initialised(1);
    pulse(&mut pics, 5);
    pulse(&mut pics, 1);
    assert_eq!(pics.acknowledge(), line(0x21, 1));
    assert!(!pics.interrupts(), "line 5 waits for line 1");
    pulse(&mut pics, 0);
    assert_eq!(pics.acknowledge(), line(0x20, 0), "line 0 interrupts line 1");
    pics.write(MASTER, EOI);
    pics.write(MASTER, 0x0b);
    assert_eq!(pics.read(MASTER), 2, "the non-specific EOI ended line 0");
    pics.write(MASTER, EOI);
    assert_eq!(pics.acknowledge(), line(0x25, 5));
}

#[test]
fn a_specific_eoi_ends_the_line_it_names() {
    let mut pics = initialised(1);
    pulse(&mut pics, 5);
    pics.acknowledge();
    pulse(&mut pics, 1);
    pics.acknowledge();
    pics.write(MASTER, 0x65);
    pics.write(MASTER, 0x0b);
    assert_eq!(pics.read(MASTER), 2);
    pics.write(MASTER, 0x67);
    assert_eq!(pics.read(MASTER), 2, "line 7 was not in service");
    pics.write(MASTER, 0x61);
    assert_eq!(pics.read(MASTER), 0);
    pics.write(MASTER, EOI);
    assert_eq!(pics.read(MASTER), 0, "an EOI too many does nothing");
}

#[test]
fn a_mask_holds_requests_off_and_keeps_them() {
    let mut pics = initialised(1);
    pics.write(MASTER_DATA, 1);
    assert_eq!(pics.read(MASTER_DATA), 1);
    pulse(&mut pics, 0);
    assert!(!pics.interrupts() && !pics.could_interrupt(0) && pics.could_interrupt(1));
    pics.write(MASTER_DATA, 0xfe);
    assert_eq!(pics.acknowledge(), line(0x20, 0));
}

#[test]
fn initialisation_forgets_requests_masks_and_service() {
    let mut pics = initialised(1);
    pulse(&mut pics, 3);
    pics.acknowledge();
    pulse(&mut pics, 4);
    pics.write(MASTER_DATA, 0xff);
    pics.write(MASTER, 0x0b);
    pics.write(MASTER, 0x11);
    for icw in [0x40, 4, 1] {
        pics.write(MASTER_DATA, icw);
    }
    assert_eq!((pics.read(MASTER_DATA), pics.read(MASTER)), (0, 0));
    assert!(!pics.interrupts());
    pulse(&mut pics, 0);
    assert_eq!(pics.acknowledge().vector, 0x40);
}

#[test]
fn automatic_eoi_leaves_nothing_in_service() {
    let mut pics = initialised(3);
    for _ in 0..2 {
        pulse(&mut pics, 0);
        assert_eq!(pics.acknowledge(), line(0x20, 0));
        pics.write(MASTER, 0x0b);
        assert_eq!(pics.read(MASTER), 0);
    }
}

#[test]
fn a_request_that_is_gone_is_spurious() {
    let mut pics = initialised(1);
    assert_eq!(pics.acknowledge(), none(0x27));
    pics.write(MASTER, 0x0b);
    assert_eq!(pics.read(MASTER), 0, "a spurious interrupt is not in service");
    // Level-triggered: the request goes with the line.
    pics.write(MASTER, 0x19);
    for icw in [0x20, 4, 1] {
        pics.write(MASTER_DATA, icw);
    }
    pics.set_line(3, true);
    assert!(pics.interrupts());
    pics.set_line(3, false);
    assert!(!pics.interrupts());
    assert_eq!(pics.acknowledge(), none(0x27));
    // The real line 7 is told apart by the ISR.
    pics.set_line(7, true);
    assert_eq!(pics.acknowledge(), line(0x27, 7));
    pics.write(MASTER, 0x0b);
    assert_eq!(pics.read(MASTER), 0x80);
}

#[test]
fn a_level_interrupts_until_it_falls() {
    let mut pics = initialised(1);
    pics.write(MASTER, 0x19);
    for icw in [0x20, 4, 1] {
        pics.write(MASTER_DATA, icw);
    }
    pics.set_line(3, true);
    for _ in 0..2 {
        assert_eq!(pics.acknowledge(), line(0x23, 3));
        assert!(!pics.interrupts());
        pics.write(MASTER, EOI);
    }
    pics.set_line(3, false);
    assert!(!pics.interrupts());
}

#[test]
fn the_slave_speaks_through_line_2() {
    let mut pics = initialised(1);
    pulse(&mut pics, 2);
    assert!(!pics.interrupts(), "nobody else drives line 2");
    pulse(&mut pics, 8);
    pulse(&mut pics, 12);
    pulse(&mut pics, 3);
    assert_eq!(pics.acknowledge(), line(0x28, 8));
    for (port, in_service) in [(MASTER, 4), (SLAVE, 1)] {
        pics.write(port, 0x0b);
        assert_eq!(pics.read(port), in_service);
    }
    assert!(!pics.interrupts());
    pics.write(SLAVE, EOI);
    pics.write(MASTER, EOI);
    assert_eq!(pics.acknowledge(), line(0x2c, 12), "line 12 comes before line 3");
    pics.write(SLAVE, EOI);
    pics.write(MASTER, EOI);
    assert_eq!(pics.acknowledge(), line(0x23, 3));
    pics.write(MASTER, EOI);
    pics.write(MASTER_DATA, 4);
    assert!(!pics.could_interrupt(8) && pics.could_interrupt(3));
    pics.write(MASTER_DATA, 0);
    pics.write(SLAVE_DATA, 1);
    assert!(!pics.could_interrupt(8) && pics.could_interrupt(9));
}

#[test]
fn a_slave_whose_request_is_gone_gives_its_own_line_7() {
    let mut pics = initialised(1);
    pulse(&mut pics, 9);
    assert!(pics.interrupts());
    // Edge-triggered, the master has latched the request that the mask now takes away.
    pics.write(SLAVE_DATA, 0xff);
    assert!(pics.interrupts());
    assert_eq!(pics.acknowledge(), none(0x2f));
    pics.write(MASTER, 0x0b);
    assert_eq!(pics.read(MASTER), 4, "to the master it was an interrupt, which wants its EOI");
}

#[test]
fn a_line_in_service_cannot_interrupt() {
    let mut pics = initialised(1);
    pulse(&mut pics, 1);
    pics.acknowledge();
    assert!(pics.could_interrupt(0) && !pics.could_interrupt(1) && !pics.could_interrupt(9));
    pics.write(MASTER, EOI);
    assert!(pics.could_interrupt(1) && pics.could_interrupt(9));
}

#[test]
fn polling_acknowledges() {
    let mut pics = initialised(1);
    pics.write(MASTER, 0x0c);
    assert_eq!(pics.read(MASTER), 0);
    pulse(&mut pics, 6);
    pics.write(MASTER, 0x0c);
    assert_eq!(pics.read(MASTER), 0x86);
    assert!(!pics.interrupts());
    pics.write(MASTER, 0x0b);
    assert_eq!(pics.read(MASTER), 0x40, "the next read is an ordinary one");
}

#[test]
fn a_single_controller_expects_no_icw3_and_icw4_only_if_announced() {
    for (icw1, rest) in [(0x13, &[0x30, 3][..]), (0x12, &[0x30]), (0x10, &[0x30, 4])] {
        let mut pics = Pics::new();
        pics.write(MASTER, icw1);
        for &icw in rest {
            pics.write(MASTER_DATA, icw);
        }
        pics.write(MASTER_DATA, 0xfe);
        assert_eq!(pics.read(MASTER_DATA), 0xfe, "{icw1:#x}");
        pulse(&mut pics, 0);
        assert_eq!(pics.acknowledge(), line(0x30, 0), "{icw1:#x}");
    }
}

#[test]
fn only_their_ports_are_theirs() {
    let ports: Vec<u16> = (0..=0xffff).filter(|&port| Pics::has_port(port)).collect();
    assert_eq!(ports, [0x20, 0x21, 0xa0, 0xa1]);
}
