//! The targets that are emitted: a closed list, because LLVM ends its process on pairs that it does not know.

use crate::error::EmitError;

/// A processor and a PTX version that LLVM 22 is known to accept together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    sm: &'static str,
    ptx: u32,
}

/// Processor, PTX version by default, all PTX versions.
const TARGETS: &[(&str, u32, &[u32])] = &[("sm_80", 80, &[80, 83, 86, 87]), ("sm_90a", 86, &[80, 83, 86, 87])];

impl Target {
    /// The target of a processor name (`sm_80`, `sm_90a`) with its default PTX version.
    pub fn new(sm: &str) -> Result<Target, EmitError> {
        let (sm, ptx, _) = Self::find(sm)?;
        Ok(Target { sm, ptx: *ptx })
    }

    /// A processor with a PTX version as ten times major plus minor (86 for PTX 8.6).
    pub fn with_ptx(sm: &str, ptx: u32) -> Result<Target, EmitError> {
        let (sm, _, versions) = Self::find(sm)?;
        if !versions.contains(&ptx) {
            return Err(EmitError::UnknownTarget {
                name: format!("{sm} with PTX {}.{}", ptx / 10, ptx % 10),
            });
        }
        Ok(Target { sm, ptx })
    }

    /// Processor name.
    pub fn sm(&self) -> &'static str {
        self.sm
    }

    /// PTX version, ten times major plus minor.
    pub fn ptx(&self) -> u32 {
        self.ptx
    }

    /// Shared memory that one block can have, bytes (CUDA C++ Programming Guide, technical specifications per compute capability).
    pub fn shared_limit(&self) -> u32 {
        match self.sm {
            "sm_80" => 163 * 1024,
            _ => 227 * 1024,
        }
    }

    fn find(sm: &str) -> Result<&'static (&'static str, u32, &'static [u32]), EmitError> {
        TARGETS
            .iter()
            .find(|(name, _, _)| *name == sm)
            .ok_or_else(|| EmitError::UnknownTarget { name: sm.to_owned() })
    }
}
