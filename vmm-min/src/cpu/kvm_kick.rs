//! Getting a thread out of KVM_RUN: the `immediate_exit` flag for a CPU about to enter, a signal for one inside.
//! Source: Linux `Documentation/virt/kvm/api.rst`, section 5, `immediate_exit`.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use kvm_bindings::kvm_run;

use super::Kick;

/// Kicks one vCPU for as long as it exists.
#[derive(Debug, Default)]
pub(crate) struct KvmKick(Mutex<Option<Target>>);

#[derive(Debug)]
struct Target {
    immediate_exit: NonNull<u8>,
    thread: Option<libc::pid_t>,
}

// SAFETY: the pointer is used through an atomic only, under the mutex, and only until `disarm`.
unsafe impl Send for Target {}

impl KvmKick {
    /// Aims at the vCPU whose shared page is `run`.
    ///
    /// # Safety
    /// `run` must stay mapped until [`Self::disarm`] is called.
    pub(crate) unsafe fn arm(&self, run: &mut kvm_run) {
        let target = Target { immediate_exit: NonNull::from(&mut run.immediate_exit), thread: None };
        *self.lock() = Some(target);
    }

    /// Says that the calling thread is the one that runs the vCPU.
    pub(crate) fn bind(&self) {
        install_handler();
        if let Some(target) = &mut *self.lock() {
            // SAFETY: gettid has no preconditions.
            target.thread = Some(unsafe { libc::gettid() });
        }
    }

    /// Forgets the vCPU, which is about to go.
    pub(crate) fn disarm(&self) {
        *self.lock() = None;
    }

    /// Lets the vCPU enter the guest again.
    pub(crate) fn clear(&self) {
        self.set_flag(0);
    }

    fn set_flag(&self, value: u8) {
        if let Some(target) = &*self.lock() {
            // SAFETY: the byte is mapped until `disarm`, which needs the lock that is held; the kernel reads it
            // whenever it likes, so it is written atomically.
            unsafe { AtomicU8::from_ptr(target.immediate_exit.as_ptr()) }.store(value, Ordering::SeqCst);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Target>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kick for KvmKick {
    fn kick(&self) {
        self.set_flag(1);
        if let Some(thread) = self.lock().as_ref().and_then(|target| target.thread) {
            // SAFETY: sends a signal whose handler, installed by `bind`, does nothing. Were the thread gone, its id
            // would name nobody or another thread of this process, for which the signal is equally harmless.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGRTMIN()) };
        }
    }
}

extern "C" fn do_nothing(_: libc::c_int) {}

/// Makes the signal interrupt a system call and nothing else, and lets it through to the calling thread.
fn install_handler() {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        // SAFETY: an all-zero sigaction is valid: no flags (in particular no SA_RESTART), empty mask. The handler is
        // async-signal-safe because it does nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = do_nothing as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(libc::SIGRTMIN(), &raw const action, std::ptr::null_mut());
        }
    });
    // SAFETY: the set is initialised before use, and only this thread's mask changes.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGRTMIN());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
}
