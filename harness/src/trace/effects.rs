//! Which registers an instruction changed.

use emu_min::State;

use super::Change;

const GPRS: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// RFLAGS.RF, which every instruction clears.
const RF: u64 = 1 << 16;

/// The registers that differ, but for RIP and the flag RF.
pub(super) fn changes(old: &State, new: &State) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut compare = |name: &dyn std::fmt::Display, from: u128, to: u128| {
        if from != to {
            changes.push(Change { name: name.to_string(), from: format!("{from:#x}"), to: format!("{to:#x}") });
        }
    };
    for ((name, &from), &to) in GPRS.iter().zip(&old.gprs).zip(&new.gprs) {
        compare(name, from.into(), to.into());
    }
    let plain = |state: &State| {
        [
            ("rflags", state.rflags & !RF),
            ("es", state.es.selector.into()),
            ("cs", state.cs.selector.into()),
            ("ss", state.ss.selector.into()),
            ("ds", state.ds.selector.into()),
            ("fs", state.fs.selector.into()),
            ("gs", state.gs.selector.into()),
            ("fs.base", state.fs.base),
            ("gs.base", state.gs.base),
            ("ldtr", state.ldtr.selector.into()),
            ("tr", state.tr.selector.into()),
            ("gdtr.base", state.gdtr.base),
            ("idtr.base", state.idtr.base),
            ("cr0", state.cr0),
            ("cr2", state.cr2),
            ("cr3", state.cr3),
            ("cr4", state.cr4),
            ("cr8", state.cr8),
            ("efer", state.efer),
            ("kernel_gs_base", state.msrs.kernel_gs_base),
            ("star", state.msrs.star),
            ("lstar", state.msrs.lstar),
            ("fmask", state.msrs.fmask),
            ("xcr0", state.xcr0),
            ("mxcsr", state.mxcsr.into()),
            ("fcw", state.fpu.fcw.into()),
            ("fsw", state.fpu.fsw.into()),
        ]
    };
    for ((name, from), (_, to)) in plain(old).into_iter().zip(plain(new)) {
        compare(&name, from.into(), to.into());
    }
    let numbered = [
        ("dr", old.dr.map(u128::from).to_vec(), new.dr.map(u128::from).to_vec()),
        ("st", old.fpu.st.to_vec(), new.fpu.st.to_vec()),
        ("xmm", old.xmm.to_vec(), new.xmm.to_vec()),
        ("ymm_high", old.ymm_high.to_vec(), new.ymm_high.to_vec()),
    ];
    for (name, old, new) in numbered {
        for (number, (from, to)) in old.into_iter().zip(new).enumerate() {
            // The last two of the debug registers are DR6 and DR7.
            let number = if name == "dr" && number > 3 { number + 2 } else { number };
            compare(&format_args!("{name}{number}"), from, to);
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let old = State::reset();
        let mut new = old.clone();
        assert_eq!(changes(&old, &new), []);
        new.rip = 7;
        new.rflags |= RF;
        new.gprs[4] = 0x10;
        new.xmm[3] = 1 << 100;
        new.dr[5] ^= 1;
        new.cs.selector = 0x33;
        let seen: Vec<_> = changes(&old, &new).into_iter().map(|c| format!("{}={}", c.name, c.to)).collect();
        let dr7 = format!("dr7={:#x}", new.dr[5]);
        assert_eq!(seen, ["rsp=0x10", "cs=0x33", &dr7, "xmm3=0x10000000000000000000000000"]);
    }
}
