//! What other commands measured on the host of an experiment: its report shows that too.
//!
//! Nothing of another host or of another KVM backend is taken unasked, and what is asked for says so.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::host;
use crate::isolation::{self, Tested};
use crate::micro::{self, Measured};
use crate::results::ReadError;

/// What is shown beside an experiment.
#[derive(Debug, Default)]
pub(crate) struct Companions {
    /// Micro-benchmarks.
    pub(crate) micro: Option<Found<Measured>>,
    /// The isolation suite.
    pub(crate) isolation: Option<Found<Tested>>,
    /// What a reader must know of them, one sentence each.
    pub(crate) warnings: Vec<String>,
}

/// A measurement and its folder.
#[derive(Debug)]
pub(crate) struct Found<T> {
    /// The folder.
    pub(crate) dir: PathBuf,
    /// What is in it.
    pub(crate) content: T,
}

/// Why a folder cannot be shown beside an experiment.
#[derive(Debug, thiserror::Error)]
pub enum CompanionError {
    /// It is of another kind.
    #[error(
        "{} holds neither micro.json nor isolation.json; name with --with a folder that evlab micro or evlab isolation wrote",
        dir.display()
    )]
    OtherKind {
        /// The folder.
        dir: PathBuf,
    },
    /// Two of a kind.
    #[error("{} and {} are both folders of evlab {command}, and a report shows one; leave one out", first.display(), second.display())]
    Twice {
        /// The folder named first.
        first: PathBuf,
        /// The folder named second.
        second: PathBuf,
        /// The command that wrote both.
        command: &'static str,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Companions {
    /// The folders that were asked for, and of each other kind the newest of the same host beside `dir`.
    ///
    /// # Errors
    /// A folder that was asked for cannot be shown. What is only found is left out, with a warning.
    pub(crate) fn of(dir: &Path, host: &Value, asked: &[PathBuf]) -> Result<Self, CompanionError> {
        let mut companions = Self::default();
        for dir in asked {
            companions.take(dir, host)?;
        }
        let beside = beside(dir);
        if companions.micro.is_none() {
            let found = newest(&beside, host, micro::is_micro, micro::read, |m| (&m.meta.host, &m.meta.started));
            companions.micro = companions.kept(found);
        }
        if companions.isolation.is_none() {
            let found =
                newest(&beside, host, isolation::is_isolation, isolation::read, |t| (&t.meta.host, &t.meta.started));
            companions.isolation = companions.kept(found);
        }
        Ok(companions)
    }

    fn take(&mut self, dir: &Path, host: &Value) -> Result<(), CompanionError> {
        let of = if micro::is_micro(dir) {
            let content = micro::read(dir)?;
            let of = content.meta.host.clone();
            put(&mut self.micro, dir, content, "micro")?;
            of
        } else if isolation::is_isolation(dir) {
            let content = isolation::read(dir)?;
            let of = content.meta.host.clone();
            put(&mut self.isolation, dir, content, "isolation")?;
            of
        } else {
            return Err(CompanionError::OtherKind { dir: dir.to_owned() });
        };
        if !host::is_same(&of, host) {
            self.warnings.push(format!(
                "{} is of another host or another KVM backend ({}) than the rest of this page ({}): do not compare them",
                dir.display(),
                backend(&of),
                backend(host)
            ));
        }
        Ok(())
    }

    /// What was found; what could not be read becomes a warning.
    fn kept<T>(&mut self, found: Result<Option<Found<T>>, ReadError>) -> Option<Found<T>> {
        found.unwrap_or_else(|error| {
            self.warnings.push(error.to_string());
            None
        })
    }
}

fn put<T>(place: &mut Option<Found<T>>, dir: &Path, content: T, command: &'static str) -> Result<(), CompanionError> {
    if let Some(first) = place {
        return Err(CompanionError::Twice { first: first.dir.clone(), second: dir.to_owned(), command });
    }
    *place = Some(Found { dir: dir.to_owned(), content });
    Ok(())
}

fn backend(host: &Value) -> &str {
    host.pointer("/kvm/backend").and_then(Value::as_str).unwrap_or("unknown")
}

/// The folders beside `dir`, by name; none where they cannot be listed.
fn beside(dir: &Path) -> Vec<PathBuf> {
    let Ok(dir) = std::path::absolute(dir) else { return Vec::new() };
    let entries = dir.parent().and_then(|parent| std::fs::read_dir(parent).ok());
    let mut folders: Vec<PathBuf> = entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.retain(|folder| *folder != dir && folder.is_dir());
    folders.sort_unstable();
    folders
}

/// The newest of a kind that is of this host. An unreadable one is an error only where no other is found.
fn newest<T>(
    folders: &[PathBuf],
    host: &Value,
    is: fn(&Path) -> bool,
    read: fn(&Path) -> Result<T, ReadError>,
    of: fn(&T) -> (&Value, &String),
) -> Result<Option<Found<T>>, ReadError> {
    let mut newest: Option<Found<T>> = None;
    let mut failed = None;
    for dir in folders.iter().filter(|dir| is(dir)) {
        match read(dir) {
            Ok(content) => {
                let (its_host, started) = of(&content);
                // RFC 3339 in UTC sorts as text.
                let is_newer = newest.as_ref().is_none_or(|n| started > of(&n.content).1);
                if host::is_same(its_host, host) && is_newer {
                    newest = Some(Found { dir: dir.clone(), content });
                }
            }
            // A measurement that still runs, or was stopped.
            Err(ReadError::Unfinished { .. }) => {}
            Err(error) => failed = Some(error),
        }
    }
    match (newest, failed) {
        (None, Some(error)) => Err(error),
        (newest, _) => Ok(newest),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn host(name: &str) -> Value {
        json!({ "hostname": name, "cpu": { "model": "x" }, "kvm": { "backend": "PVM" } })
    }

    /// Writes a folder of micro-benchmarks.
    fn micro_folder(parent: &Path, name: &str, host: Value, started: &str) -> PathBuf {
        let dir = parent.join(name);
        std::fs::create_dir(&dir).expect("create");
        let mut measured = micro::made(host);
        measured.meta.started = started.to_owned();
        let files = micro::Files::create(&dir).expect("files");
        files.write_meta(&measured.meta).expect("write");
        files.write_cells(&measured.cells).expect("write");
        dir
    }

    fn isolation_folder(parent: &Path, name: &str, host: Value) -> PathBuf {
        let dir = parent.join(name);
        std::fs::create_dir(&dir).expect("create");
        let tested = isolation::made(host);
        let mut files = isolation::Files::create(&dir, &tested.meta).expect("files");
        tested.findings.iter().try_for_each(|finding| files.append(finding)).expect("append");
        dir
    }

    #[test]
    fn the_newest_of_the_same_host_is_found() {
        let parent = tempfile::tempdir().expect("temporary folder");
        let results = parent.path().join("studio");
        micro_folder(parent.path(), "b-old", host("lab"), "2026-01-01T00:00:00Z");
        let new = micro_folder(parent.path(), "a-new", host("lab"), "2026-02-01T00:00:00Z");
        micro_folder(parent.path(), "c-other", host("other"), "2026-03-01T00:00:00Z");
        let tested = isolation_folder(parent.path(), "d", host("lab"));
        // One that still runs.
        std::fs::create_dir(parent.path().join("e")).expect("create");
        std::fs::copy(new.join("micro.json"), parent.path().join("e/micro.json")).expect("copy");
        let found = Companions::of(&results, &host("lab"), &[]).expect("found");
        assert_eq!(found.micro.map(|f| f.dir), Some(new));
        assert_eq!(found.isolation.map(|f| f.dir), Some(tested));
        assert_eq!(found.warnings, Vec::<String>::new());
        let none = Companions::of(&results, &host("third"), &[]).expect("found");
        assert!(none.micro.is_none() && none.isolation.is_none());
    }

    #[test]
    fn what_is_asked_for_comes_first_and_says_that_it_is_of_another_host() {
        let parent = tempfile::tempdir().expect("temporary folder");
        let results = parent.path().join("studio");
        micro_folder(parent.path(), "here", host("lab"), "2026-02-01T00:00:00Z");
        let asked = micro_folder(parent.path(), "asked", host("other"), "2026-01-01T00:00:00Z");
        let found = Companions::of(&results, &host("lab"), std::slice::from_ref(&asked)).expect("found");
        assert_eq!(found.micro.map(|f| f.dir), Some(asked.clone()));
        assert!(found.warnings[0].contains("another host"), "{:?}", found.warnings);
        let error = |dirs: &[PathBuf]| Companions::of(&results, &host("lab"), dirs).expect_err("refused").to_string();
        assert!(error(&[asked.clone(), asked.clone()]).contains("both folders of evlab micro"));
        assert!(error(&[parent.path().to_owned()]).contains("holds neither micro.json nor isolation.json"));
    }

    #[test]
    fn what_is_damaged_is_a_warning_unless_it_was_asked_for() {
        let parent = tempfile::tempdir().expect("temporary folder");
        let dir = micro_folder(parent.path(), "bad", host("lab"), "2026-02-01T00:00:00Z");
        std::fs::write(dir.join("micro.csv"), "event\nsyscall\n").expect("write");
        let found = Companions::of(&parent.path().join("studio"), &host("lab"), &[]).expect("found");
        assert!(found.micro.is_none() && found.warnings[0].contains("micro.csv, line 1"), "{:?}", found.warnings);
        assert!(Companions::of(&parent.path().join("studio"), &host("lab"), &[dir]).is_err());
    }
}
