//! The 8254 as its data sheet has it. Times are in nanoseconds; `at(n)` is just after tick `n` of its clock.

use super::*;

/// A moment after tick `n` and before the next.
fn at(n: u64) -> u64 {
    ns(n) + 1
}

/// A timer whose first counter is programmed at tick 0: low and high byte of `count`.
fn programmed(mode: u8, count: u16) -> Pit {
    let mut pit = Pit::new();
    pit.write(0x43, 0x30 | mode << 1, at(0));
    for byte in count.to_le_bytes() {
        pit.write(0x40, byte, at(0));
    }
    pit
}

/// The ticks up to `last` at which the output rises, as seen by who looks after every tick.
fn rises(pit: &mut Pit, last: u64) -> Vec<u64> {
    (0..=last).filter(|&n| pit.take_rise(at(n))).collect()
}

/// The output after each of the first ticks.
fn wave(pit: &Pit, last: u64) -> String {
    (0..=last).map(|n| if pit.output(at(n)) { '-' } else { '_' }).collect()
}

fn word(pit: &mut Pit, port: u16, now: u64) -> u16 {
    let low = pit.read(port, now);
    u16::from_le_bytes([low, pit.read(port, now)])
}

#[test]
fn time_and_ticks_agree() {
    assert_eq!(ticks(1_000_000_000), 1_193_182);
    for n in [0, 1, 2, 1193, 65_536, 1_193_182, 1 << 40] {
        assert_eq!(ticks(ns(n)), n);
        assert!(n == 0 || ticks(ns(n) - 1) == n - 1);
    }
}

#[test]
fn nothing_happens_unprogrammed() {
    let mut pit = Pit::new();
    assert!(rises(&mut pit, 100).is_empty());
    assert_eq!((pit.next_rise(5), pit.output(5)), (None, true));
}

#[test]
fn mode_0_rises_once() {
    let mut pit = programmed(0, 4);
    // The next tick loads the count, and N + 1 ticks after the write the output rises.
    assert_eq!(wave(&pit, 7), "_____---");
    assert_eq!(pit.next_rise(at(0)), Some((5, None)));
    assert_eq!(rises(&mut pit, 200_000), [5]);
    assert_eq!(pit.next_rise(at(200_000)), None);
}

#[test]
fn mode_0_is_stopped_by_the_first_byte_and_started_by_the_second() {
    let mut pit = programmed(0, 4);
    pit.write(0x40, 2, at(3));
    assert!(rises(&mut pit, 50).is_empty());
    pit.write(0x40, 0, at(50));
    assert_eq!(rises(&mut pit, 60), [53]);
}

#[test]
fn mode_0_goes_low_again_with_a_new_count() {
    let mut pit = programmed(0, 1);
    assert_eq!(rises(&mut pit, 10), [2]);
    for byte in [3, 0] {
        pit.write(0x40, byte, at(10));
    }
    assert!(!pit.output(at(10)));
    assert_eq!(rises(&mut pit, 20), [14]);
}

#[test]
fn mode_2_is_low_for_one_tick_of_each_period() {
    let mut pit = programmed(2, 4);
    assert_eq!(wave(&pit, 12), "----_---_---_");
    assert_eq!(rises(&mut pit, 13), [5, 9, 13]);
    assert_eq!(pit.next_rise(at(13)), Some((17, Some(4))));
}

#[test]
fn mode_3_is_a_square_wave() {
    assert_eq!(wave(&programmed(3, 4), 12), "---__--__--__");
    // Odd counts are high for the longer half.
    assert_eq!(wave(&programmed(3, 5), 15), "----__---__---__");
    assert_eq!(rises(&mut programmed(3, 5), 15), [6, 11]);
    assert_eq!(rises(&mut programmed(7, 4), 13), [5, 9, 13], "mode 7 is mode 3");
}

#[test]
fn a_periodic_count_takes_effect_at_the_end_of_the_period() {
    for mode in [2, 3] {
        let mut pit = programmed(mode, 10);
        assert_eq!(rises(&mut pit, 12), [11]);
        for byte in [4, 0] {
            pit.write(0x40, byte, at(13));
        }
        assert_eq!(pit.next_rise(at(13)), Some((21, Some(4))));
        assert_eq!(rises(&mut pit, 30), [21, 25, 29], "mode {mode}");
    }
}

#[test]
fn edges_between_two_looks_are_one() {
    let mut pit = programmed(2, 4);
    assert!(pit.take_rise(at(1000)));
    assert!(!pit.take_rise(at(1000)));
    assert!(!pit.take_rise(at(0)), "time does not run backwards");
    assert!(pit.take_rise(at(1001)));
}

#[test]
fn a_count_of_zero_is_the_largest() {
    assert_eq!(rises(&mut programmed(2, 0), 140_000), [65_537, 131_073]);
    let mut pit = Pit::new();
    pit.write(0x43, 0x35, 0);
    pit.write(0x40, 0, at(0));
    pit.write(0x40, 0, at(0));
    assert_eq!(pit.next_rise(at(0)), Some((10_001, Some(10_000))), "BCD");
}

#[test]
fn every_count_and_mode_keeps_going() {
    for mode in 0..8 {
        for count in 0..=9 {
            let mut pit = programmed(mode, count);
            for n in 0..40 {
                pit.take_rise(at(n));
                pit.output(at(n));
                word(&mut pit, 0x40, at(n));
            }
            let periodic = mode % 4 >= 2;
            assert_eq!(pit.next_rise(at(100_000)).is_some(), periodic, "mode {mode}, count {count}");
        }
    }
    assert_eq!(rises(&mut programmed(4, 4), 20), [6], "the strobe ends one tick after the count");
}

#[test]
fn counts_are_written_and_read_by_bytes() {
    let mut pit = Pit::new();
    pit.write(0x43, 0x14, 0); // low byte, mode 2
    pit.write(0x40, 200, at(0));
    assert_eq!(pit.read(0x40, at(1)), 200);
    assert_eq!(pit.read(0x40, at(51)), 150);
    pit.write(0x43, 0x24, at(51)); // high byte
    pit.write(0x40, 2, at(51));
    assert_eq!(pit.read(0x40, at(52)), 2);
    assert_eq!(pit.read(0x40, at(53)), 1);
    let mut pit = programmed(2, 0x1234);
    assert_eq!(word(&mut pit, 0x40, at(1)), 0x1234);
    assert_eq!(word(&mut pit, 0x40, at(5)), 0x1230);
    assert_eq!(pit.read(0x43, at(5)), 0xff, "the control word cannot be read");
}

#[test]
fn a_latched_count_stands_until_it_is_read() {
    let mut pit = programmed(2, 1000);
    pit.write(0x43, 0, at(101));
    pit.write(0x43, 0, at(201));
    assert_eq!(word(&mut pit, 0x40, at(301)), 900);
    assert_eq!(word(&mut pit, 0x40, at(301)), 700);
}

#[test]
fn mode_3_counts_by_twos_and_mode_0_below_zero() {
    let mut pit = programmed(3, 100);
    assert_eq!(word(&mut pit, 0x40, at(1)), 100);
    assert_eq!(word(&mut pit, 0x40, at(11)), 80);
    assert_eq!(word(&mut pit, 0x40, at(61)), 80);
    let mut pit = programmed(0, 3);
    assert_eq!(word(&mut pit, 0x40, at(4)), 0);
    assert_eq!(word(&mut pit, 0x40, at(5)), 0xffff);
}

#[test]
fn bcd_counts_in_tens() {
    let mut pit = Pit::new();
    pit.write(0x43, 0x35, 0);
    for byte in [0x00, 0x10] {
        pit.write(0x40, byte, at(0));
    }
    assert_eq!(word(&mut pit, 0x40, at(2)), 0x0999);
    assert_eq!(pit.next_rise(at(0)), Some((1001, Some(1000))));
}

#[test]
fn read_back_latches_status_and_counts() {
    let mut pit = programmed(3, 100);
    pit.write(0x43, 0x76, at(0)); // the second counter, mode 3, without a count
    pit.write(0x43, 0xc6, at(11)); // status and count of the first two
    assert_eq!(pit.read(0x40, at(500)), 0xb6, "high, loaded, two bytes, mode 3");
    assert_eq!(word(&mut pit, 0x40, at(500)), 80);
    assert_eq!(pit.read(0x41, at(500)), 0xf6, "high, no count yet");
    pit.write(0x43, 0xe2, at(60)); // status alone
    assert_eq!(pit.read(0x40, at(60)), 0x36, "low in the second half");
    for byte in [50, 0] {
        pit.write(0x40, byte, at(60));
    }
    pit.write(0x43, 0xe2, at(61));
    assert_eq!(pit.read(0x40, at(61)), 0x76, "the new count waits");
}

#[test]
fn only_the_first_counter_is_heard() {
    let mut pit = Pit::new();
    for (control, port) in [(0x74, 0x41), (0xb4, 0x42)] {
        pit.write(0x43, control, 0);
        pit.write(port, 4, 0);
        pit.write(port, 0, 0);
    }
    assert!(rises(&mut pit, 50).is_empty());
    assert_eq!(word(&mut pit, 0x42, at(2)), 3);
}

#[test]
fn a_control_word_can_raise_the_output() {
    let mut pit = programmed(0, 100);
    assert!(!pit.take_rise(at(10)));
    pit.write(0x43, 0x34, at(20));
    assert!(pit.take_rise(at(20)), "from low, waiting, to high");
    assert!(!pit.take_rise(at(30)));
}
