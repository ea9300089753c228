//! A session: gdb's packets and the guest's stops, one after another.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use gdbstub::common::Signal;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, GdbStubError};
use vmm_min::{Debuggee, End, Limits, Machine, Observer, RunError, Start};

use super::DebugError;
use super::console::Console;
use super::target::{Guest, Reason};
use super::wire::{Incoming, Next, Outgoing};
use crate::engines::StopFlag;
use crate::model::SandboxChoice;
use crate::sandbox::{self, Runner};

/// How a guest is to be debugged.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the session begins.
    pub start: Start,
    /// The guest's console goes into gdb.
    pub console_in_gdb: bool,
    /// The end of the session, however it stands then.
    pub limit: Duration,
    /// The sandbox to enter.
    pub sandbox: Option<(Runner, SandboxChoice)>,
    /// Linear address of the kernel's variable `current_pid`.
    pub pid_address: Option<u64>,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The guest ended with this exit code.
    Exited(u8),
    /// The guest ended in another way: a sentence.
    Failed(String),
    /// gdb killed it.
    Killed,
    /// gdb went away without a word, or sent what is none: a sentence.
    Gone(String),
    /// evlab was stopped.
    Stopped,
}

/// Lets gdb debug the guest of a machine.
///
/// # Errors
/// The host cannot run it, or not in the sandbox.
pub fn serve(machine: Machine, connection: OwnedFd, options: &Options, stop: &StopFlag) -> Result<Ending, DebugError> {
    // Open to the end of the process, which may close nothing once it is in the sandbox.
    let connection: &'static File = Box::leak(Box::new(File::from(connection)));
    let mut incoming = Incoming::start(connection, machine.stop_handle()).map_err(DebugError::Accept)?;
    let console = Rc::new(RefCell::new(Console::new(connection, options.console_in_gdb)));
    let mut listener = Listener { console: Rc::clone(&console), sandbox: options.sandbox.clone() };
    let outgoing = Outgoing::new(connection);
    let limits = Limits { wall: options.limit, instructions: None };
    let mut ending = None;
    let session = |debuggee: &mut Debuggee<'_, '_>| {
        let (end, reason) = converse(debuggee, outgoing, &mut incoming, &console, options)?;
        ending = reason;
        Ok(end)
    };
    let handle = machine.stop_handle();
    let outcome = crate::engines::stoppable(handle, stop, || machine.debug(limits, &mut listener, session))?;
    Ok(ending.unwrap_or_else(|| match outcome.end {
        End::Exited(code) => Ending::Exited(code),
        End::Stopped => Ending::Stopped,
        other => Ending::Failed(other.to_string()),
    }))
}

/// Prints the console, and enters the sandbox.
#[derive(Debug)]
struct Listener {
    console: Rc<RefCell<Console>>,
    sandbox: Option<(Runner, SandboxChoice)>,
}

impl Observer for Listener {
    fn ready(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if let Some((runner, choice)) = self.sandbox.take() {
            sandbox::enter(runner, &choice)?;
        }
        Ok(())
    }

    fn console(&mut self, bytes: &[u8]) {
        self.console.borrow_mut().print(bytes);
    }
}

/// What the session decides about the end of the guest, where the guest itself does not.
type Decided = (End, Option<Ending>);

fn converse(
    debuggee: &mut Debuggee<'_, '_>,
    outgoing: Outgoing,
    incoming: &mut Incoming,
    console: &Rc<RefCell<Console>>,
    options: &Options,
) -> Result<Decided, RunError> {
    // What else happens on the way is told when gdb lets the guest run on.
    debuggee.begin(options.start)?;
    let mut guest = Guest::new(debuggee, Rc::clone(console), options.pid_address);
    let gone = |why: String| Ok((End::Stopped, Some(Ending::Gone(why))));
    let ended = match exchange(&mut guest, outgoing, incoming) {
        Err(Failure::Run(error)) => return Err(error),
        Err(Failure::Stub(error)) => Err(error),
        Ok(ended) => Ok(ended),
    };
    match ended {
        Ok(Some(DisconnectReason::Disconnect)) => {
            console.borrow_mut().detach();
            let points = guest.points();
            Ok((guest.debuggee.detach(&points)?, None))
        }
        Ok(Some(DisconnectReason::Kill)) => Ok((End::Stopped, Some(Ending::Killed))),
        Ok(Some(DisconnectReason::TargetExited(_) | DisconnectReason::TargetTerminated(_))) => {
            console.borrow_mut().detach();
            Ok((guest.end.take().unwrap_or(End::Stopped), None))
        }
        Ok(None) if guest.debuggee.is_stopped() => Ok((guest.debuggee.detach(&[])?, None)),
        Ok(None) => gone("gdb went away without a word".to_owned()),
        Err(error) if error.is_connection_error() => gone(format!("the connection to gdb failed: {error}")),
        Err(error) if error.is_target_error() => match error.into_target_error() {
            Some(error) => Err(error),
            None => gone("gdb went away without a word".to_owned()),
        },
        Err(error) => gone(format!("gdb sent what is no packet: {error}")),
    }
}

/// Why a conversation broke off.
enum Failure {
    /// The connection, or what came by it.
    Stub(GdbStubError<RunError, std::io::Error>),
    /// The guest cannot be run.
    Run(RunError),
}

impl From<GdbStubError<RunError, std::io::Error>> for Failure {
    fn from(error: GdbStubError<RunError, std::io::Error>) -> Self {
        Self::Stub(error)
    }
}

/// Answers packets and runs the guest until one side has enough; `None` if the client is gone.
fn exchange(
    guest: &mut Guest<'_, '_, '_>,
    outgoing: Outgoing,
    incoming: &mut Incoming,
) -> Result<Option<DisconnectReason>, Failure> {
    let mut machine = GdbStub::new(outgoing).run_state_machine(guest)?;
    loop {
        machine = match machine {
            GdbStubStateMachine::Idle(gdb) => match incoming.wait() {
                Next::Byte(byte) => gdb.incoming_data(guest, byte)?,
                Next::Nothing if guest.debuggee.is_stopped() => return Ok(None),
                Next::Nothing => gdb.into(),
                Next::Gone => return Ok(None),
            },
            GdbStubStateMachine::Running(gdb) => {
                // In this order nothing is overlooked: who sends a byte calls back after it.
                guest.debuggee.heed();
                match incoming.poll() {
                    Next::Byte(byte) => gdb.incoming_data(guest, byte)?,
                    Next::Gone => return Ok(None),
                    Next::Nothing => match guest.go().map_err(Failure::Run)? {
                        Some(reason) => gdb.report_stop(guest, reason)?,
                        None => gdb.into(),
                    },
                }
            }
            GdbStubStateMachine::CtrlCInterrupt(gdb) => {
                let reason: Option<Reason> = Some(Reason::Signal(Signal::SIGINT));
                gdb.interrupt_handled(guest, reason)?
            }
            GdbStubStateMachine::Disconnected(gdb) => return Ok(Some(gdb.get_reason())),
        };
    }
}
