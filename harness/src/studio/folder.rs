//! The results folder: its name, and whether it can take the results, asked before anything is measured.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::results::{COUNTERS_CSV, EXPERIMENT_JSON, HISTOGRAMS_CSV, RUNS_CSV};
use crate::{isolation, micro};

/// Space that must be free before an experiment starts, MiB. A full experiment writes about 2 MiB.
const NEED_MIB: u64 = 32;

/// Why a folder cannot take the results.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be created.
    #[error("cannot create the results folder {}: {source}; choose another with --out", path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing can be written into it.
    #[error("cannot write into the results folder {}: {source}; choose another with --out", path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds results already.
    #[error("{} already holds the results of an experiment; choose another folder with --out", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// The disk is nearly full.
    #[error("only {free_mib} MiB are free for the results in {}, {NEED_MIB} are needed; free some or choose another folder with --out", path.display())]
    Full {
        /// The folder.
        path: PathBuf,
        /// Free space, MiB.
        free_mib: u64,
    },
}

/// A folder that can take results.
#[derive(Debug)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    created: bool,
}

impl Folder {
    /// Removes the folder again if it was created for results that never came.
    pub fn discard(self) {
        if self.created {
            // It fails if something is in it, which is then worth keeping.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Creates the folder `out`, or `results/<UTC time>-<host>` below the current one, and checks that it can be written.
///
/// # Errors
/// [`FolderError`], which says what to do.
pub fn prepare(out: Option<&Path>, host: &str, now: jiff::Timestamp) -> Result<Folder, FolderError> {
    let path = out.map_or_else(|| Path::new("results").join(name(host, now)), Path::to_owned);
    let files = [EXPERIMENT_JSON, RUNS_CSV, COUNTERS_CSV, HISTOGRAMS_CSV, micro::RUNS_CSV, isolation::ISOLATION_CSV];
    if files.iter().any(|file| path.join(file).exists()) {
        return Err(FolderError::Occupied { path });
    }
    let created = !path.exists();
    if let Err(source) = fs::create_dir_all(&path) {
        return Err(FolderError::Create { path, source });
    }
    let folder = Folder { path, created };
    match check(&folder.path) {
        Ok(()) => Ok(folder),
        Err(error) => {
            folder.discard();
            Err(error)
        }
    }
}

fn check(path: &Path) -> Result<(), FolderError> {
    let probe = path.join(".evlab-probe");
    let written = fs::File::create(&probe).and_then(|mut file| {
        file.write_all(&[0; 64 * 1024])?;
        file.sync_data()
    });
    // A probe that was never created needs no removal.
    let _ = fs::remove_file(&probe);
    written.map_err(|source| FolderError::Unwritable { path: path.to_owned(), source })?;
    match free_mib(path) {
        Some(free_mib) if free_mib < NEED_MIB => Err(FolderError::Full { path: path.to_owned(), free_mib }),
        _ => Ok(()),
    }
}

/// Space free for this user, MiB, where the file system says.
fn free_mib(path: &Path) -> Option<u64> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is a C string and `stat` is memory for one `statvfs`, both alive during the call.
    let result = unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so it filled in the whole structure.
    let stat = unsafe { stat.assume_init() };
    Some(stat.f_bavail.saturating_mul(stat.f_frsize) >> 20)
}

/// `<UTC time>-<host>`; only harmless characters of the host's name are kept.
fn name(host: &str, now: jiff::Timestamp) -> String {
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').take(40).collect();
    let host = if host.is_empty() { "host" } else { &host };
    format!("{}-{host}", now.strftime("%Y%m%dT%H%M%SZ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_time_and_host() {
        let now: jiff::Timestamp = "2026-03-04T05:06:07Z".parse().expect("a time");
        assert_eq!(name("lab-1", now), "20260304T050607Z-lab-1");
        assert_eq!(name("../x y", now), "20260304T050607Z-xy");
        assert_eq!(name("/", now), "20260304T050607Z-host");
    }

    #[test]
    fn a_folder_with_results_is_not_reused() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let now = jiff::Timestamp::now();
        let folder = prepare(Some(dir.path()), "h", now).expect("an empty folder is fine");
        assert_eq!(folder.path, dir.path());
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 0, "no probe is left");
        fs::write(dir.path().join(RUNS_CSV), "").expect("write");
        let error = prepare(Some(dir.path()), "h", now).expect_err("it is occupied");
        assert!(matches!(error, FolderError::Occupied { .. }), "{error}");
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("file");
        fs::write(&file, "").expect("write");
        let below = file.join("out");
        let error = prepare(Some(&below), "h", jiff::Timestamp::now()).expect_err("a file is in the way");
        assert!(matches!(error, FolderError::Create { .. }), "{error}");
        assert!(error.to_string().contains("--out"), "{error}");
    }
}
