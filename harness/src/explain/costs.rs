//! The file of costs: what they were measured on, what they were fitted to, and what they are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::data::Data;
use super::fit::Model;
use crate::host::{HostInfo, KvmBackend};
use crate::model::EngineId;
use crate::results::{Tool, WriteError, write_meta};

/// Name of the file.
pub const COSTS_JSON: &str = "costs.json";
/// Version of its layout.
const FORMAT: u32 = 1;

/// What costs are costs of: a host and its KVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKey {
    /// Its name on the network.
    pub hostname: Option<String>,
    /// The processor's model.
    pub cpu: String,
    /// The kernel and its release.
    pub kernel: String,
    /// What runs guests on /dev/kvm.
    pub kvm: KvmBackend,
}

impl HostKey {
    /// That of a host.
    #[must_use]
    pub fn of(host: &HostInfo) -> Self {
        Self {
            hostname: host.hostname.clone(),
            cpu: host.cpu.model.clone(),
            kernel: host.kernel.clone(),
            kvm: host.kvm.backend,
        }
    }

    /// What differs from another, in words.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let name = |key: &Self| key.hostname.clone().unwrap_or_else(|| "a host without a name".to_owned());
        if self.kvm != other.kvm {
            Some(format!("KVM's backend was {}, and is {} here", self.kvm, other.kvm))
        } else if self.cpu != other.cpu {
            Some(format!("the processor was {}, and is {} here", self.cpu, other.cpu))
        } else if self.kernel != other.kernel {
            Some(format!("the kernel was {}, and is {} here", self.kernel, other.kernel))
        } else if self.hostname != other.hostname {
            Some(format!("the host was {}, and is {} here", name(self), name(other)))
        } else {
            None
        }
    }
}

/// The cost of one event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventCost {
    /// The event, by its short name.
    pub event: String,
    /// Its cost, nanoseconds.
    pub ns: f64,
}

/// The costs on one engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineCosts {
    /// The engine.
    pub engine: EngineId,
    /// How many times they were fitted to.
    pub rows: usize,
    /// The costs.
    pub costs: Vec<EventCost>,
}

/// Costs and all that they rest on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Version of the layout.
    pub format: u32,
    /// The program that measured them.
    pub tool: Tool,
    /// When, RFC 3339, UTC.
    pub measured: String,
    /// Where.
    pub host: HostKey,
    /// SHA-256 of the guest kernel, whose work is in every profile.
    pub kernel_sha256: String,
    /// The costs, for whoever reads the file; they follow from the data.
    pub engines: Vec<EngineCosts>,
    /// The times and profiles.
    pub data: Data,
}

/// Why costs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CostsError {
    /// There is no such file.
    #[error("{} holds no {COSTS_JSON}: name a folder that evlab predict or evlab explain wrote", dir.display())]
    NoCosts {
        /// The folder.
        dir: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no such file.
    #[error("{}: {source}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A newer evlab wrote it.
    #[error("{} has format {found}, this evlab reads {FORMAT}: use the evlab that wrote it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// They were measured elsewhere.
    #[error("the costs in {} are not of this host: {difference}; measure them here (leave --costs out)", path.display())]
    Elsewhere {
        /// The file.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
    /// They were measured with another guest kernel.
    #[error("the costs in {} were measured with another guest kernel; measure them again (leave --costs out)", path.display())]
    OtherKernel {
        /// The file.
        path: PathBuf,
    },
}

impl Costs {
    /// The costs that fit the data.
    #[must_use]
    pub fn of(data: Data, tool: Tool, host: HostKey, kernel_sha256: String, measured: String) -> Self {
        let fitted = |engine: EngineId| {
            let model = Model::fit(engine, &data, None)?;
            let costs = model.costs.iter().map(|(event, ns)| EventCost { event: event.name.to_owned(), ns: *ns });
            Some(EngineCosts { engine, rows: model.rows, costs: costs.collect() })
        };
        let engines = data.engines().into_iter().filter_map(fitted).collect();
        Self { format: FORMAT, tool, measured, host, kernel_sha256, engines, data }
    }

    /// Writes the file into a folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, WriteError> {
        let path = dir.join(COSTS_JSON);
        write_meta(&path, self)?;
        Ok(path)
    }

    /// Reads the file in a folder, and checks that it is of this host and of this guest kernel.
    ///
    /// # Errors
    /// [`CostsError`].
    pub fn read(dir: &Path, host: &HostKey, kernel_sha256: &str) -> Result<Self, CostsError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let path = dir.join(COSTS_JSON);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(CostsError::NoCosts { dir: dir.to_owned() });
            }
            Err(source) => return Err(CostsError::Io { path, source }),
        };
        let corrupt = |source| CostsError::Corrupt { path: path.clone(), source };
        let Version { format } = serde_json::from_slice(&text).map_err(corrupt)?;
        if format > FORMAT {
            return Err(CostsError::Newer { path, found: format });
        }
        let costs: Self = serde_json::from_slice(&text).map_err(corrupt)?;
        if let Some(difference) = costs.host.difference(host) {
            return Err(CostsError::Elsewhere { path, difference });
        }
        if costs.kernel_sha256 != kernel_sha256 {
            return Err(CostsError::OtherKernel { path });
        }
        Ok(costs)
    }

    /// The newest costs of this host and guest kernel among the folders below `results`, with their folder; folders are named after the
    /// time, so the newest is the last.
    #[must_use]
    pub fn newest(results: &Path, host: &HostKey, kernel_sha256: &str) -> Option<(PathBuf, Self)> {
        let entries = fs::read_dir(results).ok()?.flatten().map(|entry| entry.path());
        let mut folders: Vec<PathBuf> = entries.filter(|dir| dir.join(COSTS_JSON).is_file()).collect();
        folders.sort();
        folders.into_iter().rev().find_map(|dir| Some((dir.clone(), Self::read(&dir, host, kernel_sha256).ok()?)))
    }
}
