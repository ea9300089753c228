//! The last words of a process that made a forbidden system call.

use std::io;

use syscalls::Sysno;

/// `si_code` of a SIGSYS that seccomp sent (<asm-generic/siginfo.h>).
const SYS_SECCOMP: libc::c_int = 1;

/// Lets a forbidden call end this process with a sentence on standard error.
pub(super) fn install() -> io::Result<()> {
    // SAFETY: an all-zero sigaction is valid. The handler is async-signal-safe: it formats on its stack and makes system
    // calls.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = forbidden as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What the kernel says about a SIGSYS: the beginning of `siginfo_t`, which libc leaves opaque.
#[repr(C)]
struct Info {
    signal: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    _pad: libc::c_int,
    address: usize,
    number: libc::c_int,
    arch: libc::c_uint,
}

extern "C" fn forbidden(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a siginfo_t, and for SIGSYS it has this layout.
    let info = unsafe { &*info.cast::<Info>() };
    let mut line = Line::default();
    if info.code == SYS_SECCOMP {
        line.push(b"evlab: the sandbox ended this process: it made the system call ");
        line.push(Sysno::new(info.number as usize).map_or("with number", |call| call.name()).as_bytes());
        line.push(b" (");
        line.number(info.number.unsigned_abs());
        line.push(b"), which a process that runs a guest may not\n");
    } else {
        line.push(b"evlab: somebody sent SIGSYS to this process\n");
    }
    // SAFETY: the bytes are on this stack. The second call is forbidden too, and SIGSYS is blocked while its handler runs:
    // so the kernel ends the process. `_exit` is for a process that got here outside the sandbox.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.len);
        libc::syscall(libc::SYS_uselib, 0);
        libc::_exit(128 + libc::SIGSYS);
    }
}

/// A line that is put together without an allocation; what does not fit is dropped.
struct Line {
    bytes: [u8; 160],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; 160], len: 0 }
    }
}

impl Line {
    fn push(&mut self, text: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(text) {
            *to = *from;
            self.len += 1;
        }
    }

    fn number(&mut self, number: u32) {
        if number >= 10 {
            self.number(number / 10);
        }
        self.push(&[b'0' + (number % 10) as u8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together() {
        let mut line = Line::default();
        line.push(b"call ");
        line.number(0);
        line.number(1203);
        assert_eq!(&line.bytes[..line.len], b"call 01203");
        line.push(&[b'x'; 300]);
        assert_eq!(line.len, 160);
    }
}
