//! The soft TLB and the page walker against a walk written from the manual: random changes of page tables and control
//! registers, INVLPG, and accesses of every kind. The machine and the model are those of the fuzz target `page_walk`.

#[path = "../../fuzz/src/page_walk/mod.rs"]
#[expect(unreachable_pub, reason = "public in the library of the fuzz targets")]
mod page_walk;

use page_walk::check;
use page_walk::ops::{Kind, Op, Table};
use proptest::prelude::*;

/// Flags of an entry: those of an ordinary user page, with one or two bits flipped now and then.
fn flags() -> impl Strategy<Value = u16> {
    let bit = prop_oneof![5 => Just(0_u16), 2 => (0..12_u16).prop_map(|n| 1 << n), 1 => Just(0xc00), 1 => Just(0x8000)];
    (bit.clone(), bit, prop_oneof![3 => Just(6_u16), 1 => Just(0x86), 1 => Just(0x106)]).prop_map(|(a, b, c)| a ^ b ^ c)
}

/// Mostly the four pages that share a page directory.
fn page() -> impl Strategy<Value = u8> {
    prop_oneof![3 => 0..4_u8, 1 => 0..16_u8]
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![Just(Kind::Read), Just(Kind::Write), Just(Kind::Fetch)];
    let access = (kind, any::<bool>(), any::<bool>(), page(), (0..0x1e0_u16).prop_map(|n| n * 8))
        .prop_map(|(kind, user, ac, page, offset)| Op::Access { kind, user, ac, page, offset });
    let table = prop_oneof![
        1 => (0..2_u8).prop_map(Table::Top),
        1 => (0..2_u8).prop_map(Table::Pointers),
        3 => (0..2_u8).prop_map(Table::Directory),
        3 => (0..2_u8).prop_map(Table::Pages),
    ];
    let poke = (table, 0..2_u8, flags(), 0..16_u8).prop_map(|(table, index, flags, target)| Op::Poke {
        table,
        index,
        flags,
        target,
    });
    prop_oneof![
        10 => access,
        4 => poke,
        3 => page().prop_map(|page| Op::Invalidate { page }),
        1 => (0..2_u8).prop_map(Op::Space),
        1 => any::<bool>().prop_map(Op::WriteProtect),
        1 => any::<[bool; 3]>().prop_map(|[smep, smap, pge]| Op::Control { smep, smap, pge }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_hits_is_what_a_walk_says_or_what_was_not_invalidated(
        no_execute in any::<bool>(),
        steps in prop::collection::vec(op(), 1..60),
    ) {
        check(no_execute, &steps);
    }

    #[test]
    fn any_bytes_are_steps_that_hold(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        page_walk::page_walk(&bytes);
    }
}
