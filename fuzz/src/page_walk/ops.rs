//! What is done to page tables and through them.

/// How memory is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Fetch,
}

/// A table that may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// One of two top tables, which CR3 chooses from.
    Top(u8),
    /// One of two page-directory-pointer tables.
    Pointers(u8),
    /// One of two page directories.
    Directory(u8),
    /// One of two page tables.
    Pages(u8),
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// An access of 8 bytes, or a jump.
    Access {
        kind: Kind,
        /// From ring 3.
        user: bool,
        /// RFLAGS.AC, which lifts SMAP.
        ac: bool,
        /// One of 16 pages: bits 3 to 0 are the indices into the four tables, top first.
        page: u8,
        /// Multiple of 8 within the page.
        offset: u16,
    },
    /// Writes an entry; flags as in [`Op::entry`].
    Poke { table: Table, index: u8, flags: u16, target: u8 },
    /// INVLPG.
    Invalidate { page: u8 },
    /// MOV CR3.
    Space(u8),
    /// CR0.WP.
    WriteProtect(bool),
    /// CR4.SMEP, CR4.SMAP, CR4.PGE.
    Control { smep: bool, smap: bool, pge: bool },
}

impl Op {
    /// The step that the next bytes stand for; beyond their end there are zeros.
    pub(crate) fn read(bytes: &mut impl Iterator<Item = u8>) -> Self {
        let mut next = || bytes.next().unwrap_or(0);
        let (what, a, b) = (next(), next(), next());
        let bit = |n: u8| a >> n & 1 != 0;
        match what % 16 {
            0..=7 => Self::Access {
                kind: [Kind::Read, Kind::Write, Kind::Fetch, Kind::Write][usize::from(what & 3)],
                user: bit(0),
                ac: bit(1),
                page: a >> 4,
                offset: u16::from(b) * 8,
            },
            8..=11 => {
                let number = a >> 1 & 1;
                let table =
                    [Table::Top(number), Table::Pointers(number), Table::Directory(number), Table::Pages(number)];
                let flags = u16::from(b) | u16::from(next()) << 8;
                Self::Poke { table: table[usize::from(what & 3)], index: a & 1, flags, target: a >> 4 }
            }
            12 => Self::Invalidate { page: a >> 4 },
            13 => Self::Space(a & 1),
            14 => Self::WriteProtect(bit(0)),
            _ => Self::Control { smep: bit(0), smap: bit(1), pge: bit(2) },
        }
    }
}
