//! XCHG, XADD and the compare-and-exchange family. With one CPU, LOCK adds nothing to their meaning.

use iced_x86::Mnemonic;

use crate::alu::{Add, Binary, Cmp};
use crate::core::{Core, RAX, RBX, RCX, RDX};
use crate::int::{Int, by_size};
use crate::op::{Form, Op, R, Selected, seq, store};

fn xchg_r<T: Int>(core: &mut Core, op: &Op) -> R {
    let (a, b) = (T::get(core, op.dst), T::get(core, op.src));
    T::set(core, op.dst, b);
    T::set(core, op.src, a);
    Ok(())
}

fn xchg_m<T: Int>(core: &mut Core, op: &Op) -> R {
    let register = if op.form == Form::MR { op.src } else { op.dst };
    let address = core.linear(op, T::SIZE, true)?;
    core.check_write(address, T::SIZE)?;
    let old = core.load::<T>(address)?;
    let new = T::get(core, register);
    core.store::<T>(address, new)?;
    T::set(core, register, old);
    Ok(())
}

fn xadd_r<T: Int>(core: &mut Core, op: &Op) -> R {
    let (a, b) = (T::get(core, op.dst), T::get(core, op.src));
    let sum = Add::apply::<T>(&mut core.flags, a, b);
    T::set(core, op.src, a);
    T::set(core, op.dst, sum);
    Ok(())
}

fn xadd_m<T: Int>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, T::SIZE, true)?;
    core.check_write(address, T::SIZE)?;
    let old = core.load::<T>(address)?;
    let b = T::get(core, op.src);
    let mut flags = core.flags;
    let sum = Add::apply::<T>(&mut flags, old, b);
    core.store::<T>(address, sum)?;
    core.flags = flags;
    T::set(core, op.src, old);
    Ok(())
}

fn cmpxchg_r<T: Int>(core: &mut Core, op: &Op) -> R {
    let (old, expected) = (T::get(core, op.dst), T::get(core, RAX as u8));
    Cmp::apply::<T>(&mut core.flags, expected, old);
    if old == expected {
        let new = T::get(core, op.src);
        T::set(core, op.dst, new);
    } else {
        T::set(core, RAX as u8, old);
    }
    Ok(())
}

fn cmpxchg_m<T: Int>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, T::SIZE, true)?;
    core.check_write(address, T::SIZE)?;
    let (old, expected) = (core.load::<T>(address)?, T::get(core, RAX as u8));
    // Memory is written in either case: with its old value if the comparison fails.
    let new = if old == expected { T::get(core, op.src) } else { old };
    core.store::<T>(address, new)?;
    Cmp::apply::<T>(&mut core.flags, expected, old);
    if old != expected {
        T::set(core, RAX as u8, old);
    }
    Ok(())
}

/// CMPXCHG8B (`T` = u32) and CMPXCHG16B (`T` = u64).
fn cmpxchg_pair<T: Int>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, 2 * T::SIZE, true)?;
    if T::BITS == 64 && address & 15 != 0 {
        return Err(core.gp());
    }
    core.check_write(address, 2 * T::SIZE)?;
    let low = core.load::<T>(address)?;
    let high = core.load::<T>(address.wrapping_add(T::SIZE))?;
    let equal = low == T::get(core, RAX as u8) && high == T::get(core, RDX as u8);
    let (new_low, new_high) = if equal { (T::get(core, RBX as u8), T::get(core, RCX as u8)) } else { (low, high) };
    core.store::<T>(address, new_low)?;
    core.store::<T>(address.wrapping_add(T::SIZE), new_high)?;
    core.flags.set_zf(equal);
    if !equal {
        T::set(core, RAX as u8, low);
        T::set(core, RDX as u8, high);
    }
    Ok(())
}

pub(crate) fn select(op: &Op) -> Selected {
    macro_rules! two {
        ($register:ident, $memory:ident) => {
            by_size!(op.size, T => match op.form {
                Form::RR => seq!($register::<T>),
                _ => store!($memory::<T>),
            })
        };
    }
    match op.mnemonic {
        Mnemonic::Xchg => two!(xchg_r, xchg_m),
        Mnemonic::Xadd => two!(xadd_r, xadd_m),
        Mnemonic::Cmpxchg => two!(cmpxchg_r, cmpxchg_m),
        Mnemonic::Cmpxchg8b => store!(cmpxchg_pair::<u32>),
        Mnemonic::Cmpxchg16b => store!(cmpxchg_pair::<u64>),
        _ => None,
    }
}
