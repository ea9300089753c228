//! The guest's ELF files where gdb finds their symbols: programs of the catalogue and the kernel are in evlab itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use sha2::{Digest, Sha256};

use super::DebugError;

/// Where the images of a guest are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// The program's ELF.
    pub program: PathBuf,
    /// The kernel's.
    pub kernel: PathBuf,
}

impl Images {
    /// Writes what is not there yet. `file` is the program's own file, if it has one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(
        folder: Option<&Path>,
        file: Option<&Path>,
        name: &str,
        program: &[u8],
        kernel: &[u8],
    ) -> Result<Self, DebugError> {
        let folder = folder.map_or_else(usual_folder, Path::to_path_buf);
        let put = |name: &str, bytes: &[u8]| {
            put(&folder, name, bytes).map_err(|source| DebugError::Images { path: folder.clone(), source })
        };
        let program = match file {
            Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
            None => put(name, program)?,
        };
        Ok(Self { program, kernel: put("kernel", kernel)? })
    }

    /// The command that starts gdb with the symbols of both, and connects.
    #[must_use]
    pub fn gdb_command(&self, target: &str) -> String {
        let file = |path: &Path| path.display().to_string().replace('\'', r"'\''");
        format!(
            "gdb -q -ex 'file {}' -ex 'add-symbol-file {}' -ex 'target remote {target}'",
            file(&self.program),
            file(&self.kernel)
        )
    }
}

/// `~/.cache/evlab/images`, as the XDG base directory specification has it; else a folder for temporary files.
fn usual_folder() -> PathBuf {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(env::temp_dir).join("evlab/images")
}

/// Writes a file named by what is in it, unless it is there.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let folder = std::path::absolute(folder)?;
    let digest: String = Sha256::digest(bytes).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(format!("{name}-{digest}.elf"));
    if fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(path);
    }
    // Whole or not at all: another session may do the same.
    let mut file = tempfile::NamedTempFile::new_in(&folder)?;
    file.write_all(bytes)?;
    file.persist(&path).map_err(|e| e.error)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_written_once_and_named_by_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let write = |program: &[u8]| Images::write(Some(dir.path()), None, "sieve", program, b"kernel").unwrap();
        let first = write(b"one");
        assert_eq!(write(b"one"), first);
        let second = write(b"two");
        assert_eq!(second.kernel, first.kernel);
        assert_ne!(second.program, first.program);
        assert_eq!(fs::read(&first.program).unwrap(), b"one");
        fs::write(&first.program, b"damaged").unwrap();
        assert_eq!(fs::read(write(b"one").program).unwrap(), b"one");
        let own = Images::write(Some(dir.path()), Some(Path::new("/x/it's.elf")), "it's.elf", b"", b"kernel").unwrap();
        assert_eq!(own.program, Path::new("/x/it's.elf"));
        let command = own.gdb_command("127.0.0.1:5");
        assert!(
            command.contains(r"file /x/it'\''s.elf") && command.ends_with("'target remote 127.0.0.1:5'"),
            "{command}"
        );
        let nowhere = Images::write(Some(Path::new("/proc/evlab")), None, "x", b"", b"").unwrap_err().to_string();
        assert!(nowhere.contains("--images"), "{nowhere}");
    }
}
