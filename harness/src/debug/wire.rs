//! The connection to gdb: one, on a TCP port of this host or a Unix socket.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;

use gdbstub::conn::Connection;
use vmm_min::StopHandle;

use super::DebugError;
use crate::engines::StopFlag;

/// How often a wait looks whether evlab is to end.
const LOOK: Duration = Duration::from_millis(20);
/// How long a client may leave what is sent to it unread: then it counts as gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At a TCP port.
    Tcp(SocketAddr),
    /// At a path.
    Unix(PathBuf),
}

impl Place {
    /// A TCP port, as users write it: `127.0.0.1:1234`, `localhost:1234`, `:1234`, `1234`.
    ///
    /// # Errors
    /// It is none, or other hosts reach it and that is not allowed.
    pub fn tcp(text: &str, allow_remote: bool) -> Result<Self, DebugError> {
        let full = match text.rsplit_once(':') {
            None => format!("127.0.0.1:{text}"),
            Some(("" | "localhost", port)) => format!("127.0.0.1:{port}"),
            Some(_) => text.to_owned(),
        };
        let address: SocketAddr = full.parse().map_err(|_| DebugError::Address(text.to_owned()))?;
        if address.ip().is_loopback() || allow_remote {
            Ok(Self::Tcp(address))
        } else {
            Err(DebugError::Remote(address))
        }
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A place where one client may connect.
#[derive(Debug)]
pub struct Listening(Socket);

impl Listening {
    /// Begins to listen.
    ///
    /// # Errors
    /// The place is taken, or the host refuses.
    pub fn at(place: &Place) -> Result<Self, DebugError> {
        Ok(Self(match place {
            Place::Tcp(address) => Socket::Tcp(TcpListener::bind(address).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => DebugError::InUse(*address),
                _ => DebugError::Listen { place: address.to_string(), source },
            })?),
            Place::Unix(path) => {
                let listener = UnixListener::bind(path).map_err(|source| match source.kind() {
                    io::ErrorKind::AddrInUse => DebugError::Exists(path.clone()),
                    _ => DebugError::Listen { place: path.display().to_string(), source },
                })?;
                Socket::Unix(listener, path.clone())
            }
        }))
    }

    /// What to give to gdb's `target remote`.
    ///
    /// # Errors
    /// The host does not tell the port.
    pub fn target(&self) -> Result<String, DebugError> {
        match &self.0 {
            Socket::Tcp(listener) => Ok(listener.local_addr().map_err(DebugError::Accept)?.to_string()),
            Socket::Unix(_, path) => Ok(absolute(path).display().to_string()),
        }
    }

    /// Waits for a client, takes it, and listens no more: a second is refused. `None` if evlab is to end before.
    ///
    /// # Errors
    /// The host fails.
    pub fn accept(self, stop: &StopFlag) -> Result<Option<OwnedFd>, DebugError> {
        let taken = self.wait(stop).map_err(DebugError::Accept);
        if let Socket::Unix(_, path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
        taken
    }

    fn wait(&self, stop: &StopFlag) -> io::Result<Option<OwnedFd>> {
        match &self.0 {
            Socket::Tcp(listener) => listener.set_nonblocking(true)?,
            Socket::Unix(listener, _) => listener.set_nonblocking(true)?,
        }
        while !stop.is_stopped() {
            let accepted = match &self.0 {
                Socket::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                    stream.set_nonblocking(false)?;
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    Ok(OwnedFd::from(stream))
                }),
                Socket::Unix(listener, _) => listener.accept().and_then(|(stream, _)| {
                    stream.set_nonblocking(false)?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    Ok(OwnedFd::from(stream))
                }),
            };
            match accepted {
                Ok(stream) => return Ok(Some(stream)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => thread::sleep(LOOK),
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// What gdb sends, gathered by a thread that also calls the machine back to the debugger.
#[derive(Debug)]
pub(super) struct Incoming {
    chunks: Receiver<Vec<u8>>,
    bytes: VecDeque<u8>,
    gone: bool,
}

/// What came of waiting for a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A byte.
    Byte(u8),
    /// None yet.
    Nothing,
    /// None any more: the client is gone.
    Gone,
}

impl Incoming {
    /// Begins to read.
    ///
    /// # Errors
    /// The host refuses a thread.
    pub(super) fn start(mut connection: &'static File, machine: StopHandle) -> io::Result<Self> {
        let (sender, chunks) = mpsc::channel();
        let body = move || {
            let mut buffer = vec![0; 4096];
            loop {
                match connection.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(len) => {
                        if sender.send(buffer[..len].to_vec()).is_err() {
                            return;
                        }
                        machine.attend();
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            drop(sender);
            machine.attend();
        };
        thread::Builder::new().name("gdb".to_owned()).spawn(body)?;
        Ok(Self { chunks, bytes: VecDeque::new(), gone: false })
    }

    /// The next byte, if it is there.
    pub(super) fn poll(&mut self) -> Next {
        if self.bytes.is_empty() && !self.gone {
            match self.chunks.try_recv() {
                Ok(chunk) => self.bytes.extend(chunk),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.gone = true,
            }
        }
        self.take()
    }

    /// The next byte, for which it waits a moment.
    pub(super) fn wait(&mut self) -> Next {
        if self.bytes.is_empty() && !self.gone {
            match self.chunks.recv_timeout(LOOK) {
                Ok(chunk) => self.bytes.extend(chunk),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.gone = true,
            }
        }
        self.take()
    }

    fn take(&mut self) -> Next {
        match self.bytes.pop_front() {
            Some(byte) => Next::Byte(byte),
            None if self.gone => Next::Gone,
            None => Next::Nothing,
        }
    }
}

/// What is sent to gdb: whole packets.
#[derive(Debug)]
pub(super) struct Outgoing {
    connection: &'static File,
    buffer: Vec<u8>,
}

impl Outgoing {
    pub(super) const fn new(connection: &'static File) -> Self {
        Self { connection, buffer: Vec::new() }
    }
}

impl Connection for Outgoing {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.buffer.push(byte);
        Ok(())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.write_all(&std::mem::take(&mut self.buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_may_connect_unless_it_is_allowed() {
        let at = |text: &str, remote| Place::tcp(text, remote).map_err(|e| e.to_string());
        let local = |port: u16| Ok(Place::Tcp(SocketAddr::from(([127, 0, 0, 1], port))));
        for text in ["1234", ":1234", "localhost:1234", "127.0.0.1:1234"] {
            assert_eq!(at(text, false), local(1234), "{text}");
        }
        assert!(at("[::1]:5", false).is_ok());
        let refused = at("0.0.0.0:1234", false).unwrap_err();
        assert!(refused.contains("--allow-remote") && refused.contains("reads and writes the guest"), "{refused}");
        assert!(at("0.0.0.0:1234", true).is_ok());
        for text in ["", "many", "127.0.0.1:", "127.0.0.1:70000", "example.org:1"] {
            assert!(at(text, true).unwrap_err().contains("127.0.0.1:PORT"), "{text}");
        }
    }

    #[test]
    fn a_place_is_for_one_listener_and_one_client() {
        let first = Listening::at(&Place::tcp("0", false).unwrap()).unwrap();
        let target = first.target().unwrap();
        let again = Listening::at(&Place::tcp(&target, false).unwrap()).unwrap_err().to_string();
        assert!(again.contains("is in use"), "{again}");
        let client = std::net::TcpStream::connect(&target).unwrap();
        assert!(first.accept(&StopFlag::new()).unwrap().is_some());
        assert_eq!(std::net::TcpStream::connect(&target).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        drop(client);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listening = Listening::at(&Place::Unix(path.clone())).unwrap();
        assert!(matches!(Listening::at(&Place::Unix(path.clone())), Err(DebugError::Exists(_))));
        let stop = StopFlag::new();
        stop.stop();
        assert!(listening.accept(&stop).unwrap().is_none());
        assert!(!path.exists(), "the socket is removed");
    }
}
