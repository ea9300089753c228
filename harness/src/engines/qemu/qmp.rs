//! A client of the QEMU Machine Protocol: JSON objects, one a line, over a stream socket.
//!
//! QEMU's `docs/interop/qmp-spec`: the server greets, the client leaves negotiation with `qmp_capabilities`, and then
//! every command is answered by an object with `return` or `error`; events may stand between them.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest message that is accepted, bytes. The statistics of a VM take some 10 KiB.
const MAX_MESSAGE: usize = 4 << 20;

/// Why a conversation failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum QmpError {
    /// The socket failed.
    #[error("QMP connection failed: {0}")]
    Io(#[from] io::Error),
    /// QEMU ended.
    #[error("QEMU closed its QMP connection")]
    Closed,
    /// No answer in time.
    #[error("QEMU did not answer on QMP in time")]
    Timeout,
    /// A message longer than any that is expected.
    #[error("QEMU sent a QMP message of more than {MAX_MESSAGE} bytes")]
    TooLong,
    /// Not the protocol.
    #[error("QEMU sent what is not QMP: {0}")]
    Protocol(String),
    /// QEMU refused a command.
    #[error("QEMU refused the QMP command {command}: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words.
        reason: String,
    },
}

/// A connection on which commands can be given.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: UnixStream,
    buffer: Vec<u8>,
    patience: Duration,
    commands: u64,
}

impl Qmp {
    /// Reads the greeting and leaves negotiation. Every command, this one too, gets at most `patience`.
    pub(super) fn connect(stream: UnixStream, patience: Duration) -> Result<Self, QmpError> {
        let mut qmp = Self { stream, buffer: Vec::new(), patience, commands: 0 };
        let greeting = qmp.message(Instant::now() + patience)?;
        if greeting.get("QMP").is_none() {
            return Err(QmpError::Protocol(greeting.to_string()));
        }
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Gives a command and waits for its answer.
    pub(super) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        let deadline = Instant::now() + self.patience;
        self.commands += 1;
        let id = self.commands;
        let mut line = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        line.push('\n');
        self.stream.set_write_timeout(Some(self.patience))?;
        self.stream.write_all(line.as_bytes()).map_err(of_io)?;
        loop {
            let mut answer = self.message(deadline)?;
            // Events carry no id; neither does an error that names no command, which can only be ours.
            let ours = answer.get("id").map_or(answer.get("error").is_some(), |answered| *answered == json!(id));
            if !ours {
                continue;
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            let reason = answer.pointer("/error/desc").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
            return Err(QmpError::Refused { command: command.to_owned(), reason });
        }
    }

    /// Gives a command of the human monitor, which answers in text.
    pub(super) fn human(&mut self, command: &str) -> Result<String, QmpError> {
        match self.execute("human-monitor-command", &json!({ "command-line": command }))? {
            Value::String(text) => Ok(text),
            other => Err(QmpError::Protocol(other.to_string())),
        }
    }

    /// The next message.
    fn message(&mut self, deadline: Instant) -> Result<Value, QmpError> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=searched + end).collect();
                return serde_json::from_slice(&line).map_err(|error| QmpError::Protocol(error.to_string()));
            }
            searched = self.buffer.len();
            if searched > MAX_MESSAGE {
                return Err(QmpError::TooLong);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(QmpError::Timeout);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk).map_err(of_io)? {
                0 => return Err(QmpError::Closed),
                read => self.buffer.extend_from_slice(&chunk[..read]),
            }
        }
    }
}

/// Tells a peer that is late or gone from other failures.
fn of_io(error: io::Error) -> QmpError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => QmpError::Timeout,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => QmpError::Closed,
        _ => QmpError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::thread::{self, JoinHandle};

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": []}}"#;
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A server that sends the greeting and then, to each command it gets, the next of `answers`, where `ID` stands for
    /// the command's id. It returns the names of the commands.
    fn server(greeting: &'static str, answers: Vec<String>) -> (UnixStream, JoinHandle<Vec<String>>) {
        let (client, mut server) = UnixStream::pair().expect("the host has descriptors left");
        let thread = thread::spawn(move || {
            let mut commands = Vec::new();
            let mut lines = BufReader::new(server.try_clone().expect("it can be cloned"));
            writeln!(server, "{greeting}").expect("the client is there");
            for answer in answers {
                let mut line = String::new();
                if lines.read_line(&mut line).unwrap_or(0) == 0 {
                    break;
                }
                let command: Value = serde_json::from_str(&line).expect("the client sends JSON");
                commands.push(command["execute"].as_str().unwrap_or_default().to_owned());
                let answer = answer.replace("ID", &command["id"].to_string());
                if server.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
            commands
        });
        (client, thread)
    }

    fn answers(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| format!("{text}\n")).collect()
    }

    #[test]
    fn commands_are_answered_past_events_and_stale_answers() {
        let (stream, thread) = server(
            GREETING,
            answers(&[
                r#"{"return": {}, "id": ID}"#,
                "{\"event\": \"STOP\"}\n{\"return\": 1, \"id\": 99}\n{\"return\": [2, \"x\"], \"id\": ID}",
                r#"{"return": "text", "id": ID}"#,
            ]),
        );
        let mut qmp = Qmp::connect(stream, PATIENCE).expect("the server greets");
        assert_eq!(qmp.execute("stop", &json!({})).expect("it answers"), json!([2, "x"]));
        assert_eq!(qmp.human("info jit").expect("it answers"), "text");
        assert_eq!(
            thread.join().expect("the server does not panic"),
            ["qmp_capabilities", "stop", "human-monitor-command"]
        );
    }

    #[test]
    fn a_refusal_carries_the_reason() {
        let (stream, _thread) = server(
            GREETING,
            answers(&[
                r#"{"return": {}, "id": ID}"#,
                r#"{"error": {"class": "CommandNotFound", "desc": "The command query-stats has not been found"}, "id": ID}"#,
            ]),
        );
        let mut qmp = Qmp::connect(stream, PATIENCE).expect("the server greets");
        let error = qmp.execute("query-stats", &json!({})).expect_err("it is refused");
        assert_eq!(
            error.to_string(),
            "QEMU refused the QMP command query-stats: The command query-stats has not been found"
        );
    }

    #[test]
    fn a_server_that_is_no_qemu_is_refused() {
        for (greeting, expected) in [("{}", "not QMP"), ("SSH-2.0", "not QMP"), ("[1, 2]", "not QMP")] {
            let (stream, _thread) = server(greeting, Vec::new());
            let error = Qmp::connect(stream, PATIENCE).expect_err("it is no QMP server");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_server_that_is_gone_or_silent_is_noticed() {
        let (stream, thread) = server(GREETING, Vec::new());
        thread.join().expect("the server does not panic");
        assert!(matches!(Qmp::connect(stream, PATIENCE), Err(QmpError::Closed)));
        let (stream, _silent) = UnixStream::pair().expect("the host has descriptors left");
        assert!(matches!(Qmp::connect(stream, Duration::from_millis(20)), Err(QmpError::Timeout)));
    }

    #[test]
    fn a_message_without_end_is_not_gathered() {
        let (stream, _thread) =
            server(GREETING, vec![r#"{"return": {}, "id": ID}"#.to_owned() + "\n", "x".repeat(MAX_MESSAGE + 10_000)]);
        let mut qmp = Qmp::connect(stream, PATIENCE).expect("the server greets");
        assert!(matches!(qmp.execute("stop", &json!({})), Err(QmpError::TooLong)));
    }
}
