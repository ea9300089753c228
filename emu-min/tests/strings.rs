//! String instructions in bulk and translated end as element by element: whatever overlaps, descends, crosses pages or faults.

mod common;

use common::{DATA, TABLES, kernel_machine};
use emu_min::{Counters, Exit, Mechanisms, State};
use rand::RngExt;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// The page after this many bytes of data is not present.
const MAPPED: u64 = 0x4000;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Case {
    code: Vec<u8>,
    registers: [(usize, u64); 4],
    down: bool,
}

fn case(random: &mut ChaCha8Rng) -> Case {
    let prefix: &[u8] = [&[0xf3][..], &[0xf3], &[0xf2], &[]].choose(random).unwrap();
    let size: &[u8] = [&[][..], &[0x48], &[0x66]].choose(random).unwrap();
    let opcode = *[0xa4_u8, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf].choose(random).unwrap();
    // The mandatory order: legacy prefixes, REX, opcode.
    let mut code = Vec::new();
    code.extend(prefix);
    code.extend(size);
    code.extend([opcode, 0xf4]);
    let start = random.random_range(0..MAPPED + 16);
    let distance = *[0, 1, 2, 3, 4, 7, 8, 9, 16, 64, 1000, 0xff8, 0x1000, 0x1001, 0x2003].choose(random).unwrap();
    let other = if random.random() { start.wrapping_add(distance) } else { start.wrapping_sub(distance) };
    let (si, di) = (DATA.wrapping_add(start), DATA.wrapping_add(other));
    let count = *[0, 1, 2, 3, 15, 100, 511, 4095, 5000].choose(random).unwrap();
    let accumulator = *[0, 0x0101_0101_0101_0101, 0x1234, u64::MAX].choose(random).unwrap();
    Case { code, registers: [(0, accumulator), (1, count), (6, si), (7, di)], down: random.random() }
}

/// The state in which a case ends, the memory it leaves, and what was counted.
fn run(mechanisms: Mechanisms, case: &Case, memory: &[u8]) -> (State, Vec<u8>, Counters) {
    let mut cpu = kernel_machine(mechanisms, &case.code, 0);
    let ram = cpu.ram().clone();
    // The data is mapped by 4 KiB pages, of which the second is the same frame as the third.
    const TABLE: u64 = 0x2_8000;
    assert!(ram.write_u64(TABLES + 0x2000 + (DATA >> 21) * 8, TABLE | 7));
    for i in 0..512 {
        let frame = if i == 1 { 2 } else { i };
        let present = u64::from(i < MAPPED >> 12) * 3;
        assert!(ram.write_u64(TABLE + i * 8, (DATA + frame * 4096) | present));
    }
    assert!(ram.write(DATA, memory));
    let mut state = cpu.state();
    case.registers.iter().for_each(|&(register, value)| state.gprs[register] = value);
    state.rflags |= u64::from(case.down) << 10;
    cpu.set_state(&state);
    assert_eq!(cpu.run(), Exit::Halt);
    let mut after = vec![0; memory.len() + 0x1000];
    assert!(ram.read(DATA - 0x800, &mut after));
    (cpu.state(), after, cpu.counters())
}

#[test]
fn bulk_and_translated_are_the_same_as_one_by_one() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let (mut bulk_elements, mut translated) = (0, 0);
    for round in 0..1500 {
        let mut memory = vec![0_u8; MAPPED as usize];
        match round % 3 {
            0 => random.fill(memory.as_mut_slice()),
            // Long runs of the same bytes, for comparisons to go on.
            1 => memory.fill(1),
            _ => memory.iter_mut().for_each(|byte| *byte = u8::from(random.random_ratio(1, 200))),
        }
        let case = case(&mut random);
        let (state, after, _) = run(Mechanisms::naive(), &case, &memory);
        let interp = ["", "bulk=off", "mmu=walk"].map(|set| Mechanisms::interp().with(set).unwrap());
        for mechanisms in interp.into_iter().chain([Mechanisms::dbt()]) {
            let (other, changed, counters) = run(mechanisms, &case, &memory);
            assert_eq!(other, state, "{case:x?} with {mechanisms}");
            assert!(changed == after, "memory differs: {case:x?} with {mechanisms}");
            assert!(mechanisms.bulk || counters.bulk_elements == 0);
            bulk_elements += counters.bulk_elements;
            translated += counters.translation.map_or(0, |translation| translation.instructions);
        }
    }
    assert!(bulk_elements > 500_000, "{bulk_elements}");
    assert!(translated > 300, "{translated}");
}
