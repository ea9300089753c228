//! `evlab debug` with the gdb of this host, and with clients that are no gdb.

mod gdb;
mod wire;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::common::evlab;

const ENGINES: [&str; 4] = ["emu-interp", "emu-naive", "emu-dbt", "kvm"];

/// A session that waits for a client.
struct Waiting {
    child: Child,
    errors: BufReader<ChildStderr>,
    /// What gdb connects to.
    target: String,
    /// The program's ELF and the kernel's.
    images: [String; 2],
    _folder: TempDir,
}

impl Waiting {
    fn start(args: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut command = evlab();
        command.arg("debug").args(args).arg("--images").arg(folder.path());
        if !args.contains(&"--unix") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        // The program's arguments come last.
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("evlab starts");
        let mut errors = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = || {
            let mut text = String::new();
            errors.read_line(&mut text).expect("text");
            text
        };
        let (first, second) = (line(), line());
        assert!(first.contains("waits for gdb at "), "{first}{second}");
        let between = |before: &str, after: &str| {
            let (_, rest) = second.split_once(before).unwrap_or_else(|| panic!("no {before}: {second}"));
            rest.split_once(after).expect("quoted").0.to_owned()
        };
        let images = [between("-ex 'file ", "'"), between("'add-symbol-file ", "'")];
        Self { target: between("'target remote ", "'"), images, child, errors, _folder: folder }
    }

    /// Lets gdb connect and do this, and waits for both: what gdb printed, and how evlab ended.
    fn gdb(self, commands: &[&str]) -> (String, Output) {
        let [program, kernel] = &self.images;
        let mut gdb = Command::new("gdb");
        gdb.args(["-nx", "-q", "-batch", "-ex", "set confirm off", "-ex", "set height 0"]);
        for command in [
            &format!("file {program}"),
            &format!("add-symbol-file {kernel}"),
            &format!("target remote {}", self.target),
        ] {
            gdb.args(["-ex", command]);
        }
        gdb.args(commands.iter().flat_map(|command| ["-ex", command]));
        // What monitor commands answer comes on standard error: in order only if both are one.
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        gdb.stdin(Stdio::null()).stdout(writer.try_clone().expect("a copy")).stderr(writer);
        let mut child = gdb.spawn().expect("gdb starts");
        drop(gdb);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        child.wait().expect("it is our child");
        println!("{text}");
        (text, self.end())
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.target).expect("evlab listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream
    }

    fn end(mut self) -> Output {
        let mut errors = Vec::new();
        self.errors.read_to_end(&mut errors).expect("pipes can be read");
        let output = self.child.wait_with_output().expect("it is our child");
        println!("{}", String::from_utf8_lossy(&errors));
        Output { stderr: errors, ..output }
    }
}
