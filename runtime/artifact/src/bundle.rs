//! The bundle `<name>.einpack`: the artifacts of one cascade, for all its specialisations, alignments and targets, in one file.
//!
//! ```text
//! einloom-bundle 1 <bytes of index> <blake3 of the index>\n
//! <index, JSON>\n
//! <kernel file><kernel file>...<machine code>...
//! ```
//!
//! The index says of each entry what it was compiled for and where its kernel file (see [`crate::file`]) stands, with the hash
//! of each part. So a reader touches the entries that it needs and no others, and the hash in the first line identifies
//! the whole file. Machine code (a cubin) is optional: it spares the driver its assembler, and is never the only form.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::ArtifactError;
use crate::file::{KernelArtifact, MAX_MANIFEST_BYTES, parse_header};
use crate::nearest::MadeFor;
use crate::target::Target;

const MAGIC: &str = "einloom-bundle";
/// The version of the bundle that this crate writes and reads.
pub const BUNDLE_VERSION: u32 = 1;
/// The first line is read within this many bytes.
const MAX_HEADER_BYTES: usize = 160;
/// Most entries of a bundle.
const MAX_ENTRIES: usize = 4096;

/// One compiled specialisation on its way into a bundle.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The manifest and its PTX.
    pub artifact: KernelArtifact,
    /// Alignment in bytes that it was compiled for: of base addresses, and of strides outside the innermost dimension.
    pub align: u32,
    /// Extents by name that its schedules were chosen for; none: any.
    pub made_for: BTreeMap<String, u64>,
    /// Machine code for the artifact's target, if it was asked for.
    pub cubin: Option<Vec<u8>>,
}

/// A bundle whose index was read. Entries are read when they are asked for.
#[derive(Clone, Debug)]
pub struct Bundle {
    bytes: Cow<'static, [u8]>,
    index: Index,
    hash: String,
    /// Where the parts start.
    body: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    cascade: String,
    entries: Vec<BundleEntry>,
}

/// What the index says of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleEntry {
    /// Its compile-time choices by name, as text.
    pub specialisation: BTreeMap<String, String>,
    /// What it was compiled for.
    pub target: Target,
    /// Alignment in bytes that it counts on.
    pub align: u32,
    /// Extents by name that its schedules were chosen for; none: any. A launcher takes the nearest of entries that are alike otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub made_for: BTreeMap<String, u64>,
    /// Its kernel file.
    kernel: Part,
    /// Its machine code.
    cubin: Option<Part>,
}

/// A range of the bytes after the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    offset: u64,
    bytes: u64,
    blake3: String,
}

impl BundleEntry {
    /// Whether the entry brings machine code.
    pub fn has_cubin(&self) -> bool {
        self.cubin.is_some()
    }
}

/// Writes a bundle. The same artifacts in the same order give the same bytes. The order is the order of preference among
/// entries that fit one call: put the larger alignment first.
pub fn pack(cascade: &str, entries: &[Packed]) -> Result<Vec<u8>, ArtifactError> {
    if entries.is_empty() || entries.len() > MAX_ENTRIES {
        let reason = format!("a bundle has 1 to {MAX_ENTRIES} entries, not {}", entries.len());
        return Err(ArtifactError::Container(reason));
    }
    let mut body = Vec::new();
    let mut index = Index {
        cascade: cascade.to_owned(),
        entries: Vec::with_capacity(entries.len()),
    };
    for packed in entries {
        let manifest = packed.artifact.manifest();
        if manifest.cascade != cascade {
            let reason = format!(
                "an artifact of cascade `{}` in the bundle of `{cascade}`",
                manifest.cascade
            );
            return Err(ArtifactError::Container(reason));
        }
        MadeFor::new(manifest, &packed.made_for)?;
        index.entries.push(BundleEntry {
            specialisation: manifest.specialisation.clone(),
            target: manifest.target,
            align: packed.align,
            made_for: packed.made_for.clone(),
            kernel: append(&mut body, &packed.artifact.to_bytes()),
            cubin: packed.cubin.as_deref().map(|cubin| append(&mut body, cubin)),
        });
    }
    let index = serde_json::to_string_pretty(&index).expect("an index has string keys and no failing serializer");
    let hash = blake3::hash(index.as_bytes()).to_hex();
    let mut bytes = format!("{MAGIC} {BUNDLE_VERSION} {} {hash}\n{index}\n", index.len()).into_bytes();
    bytes.append(&mut body);
    Ok(bytes)
}

fn append(body: &mut Vec<u8>, part: &[u8]) -> Part {
    let offset = body.len() as u64;
    body.extend_from_slice(part);
    Part {
        offset,
        bytes: part.len() as u64,
        blake3: blake3::hash(part).to_hex().to_string(),
    }
}

impl Bundle {
    /// Reads the index. Takes what `include_bytes!` gives without a copy.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Bundle, ArtifactError> {
        let bytes = bytes.into();
        let bad = |reason: &str| ArtifactError::Container(reason.to_owned());
        if !bytes.starts_with(MAGIC.as_bytes()) {
            return Err(bad("it does not start with `einloom-bundle`"));
        }
        let end = bytes.iter().take(MAX_HEADER_BYTES).position(|b| *b == b'\n');
        let end = end.ok_or_else(|| bad("its first line does not end"))?;
        let header = std::str::from_utf8(&bytes[..end]).map_err(|_| bad("its first line is not UTF-8"))?;
        let ([length], hash) = parse_header(header, MAGIC, BUNDLE_VERSION)?;
        let hash = hash.to_owned();
        if length > MAX_MANIFEST_BYTES as u64 {
            return Err(ArtifactError::TooLong {
                part: "index",
                bytes: length,
                limit: MAX_MANIFEST_BYTES as u64,
            });
        }
        let (start, length) = (end + 1, length as usize);
        let json = bytes.get(start..start + length);
        let json = json.ok_or_else(|| bad("it ends within its index"))?;
        if bytes.get(start + length) != Some(&b'\n') {
            return Err(bad("no line end after the index"));
        }
        if blake3::hash(json).to_hex().as_str() != hash {
            return Err(bad("its index does not match its hash"));
        }
        let index: Index = serde_json::from_slice(json).map_err(|e| ArtifactError::Json(e.to_string()))?;
        let body = start + length + 1;
        check_parts(&index, (bytes.len() - body) as u64)?;
        Ok(Bundle {
            bytes,
            index,
            hash,
            body,
        })
    }

    /// Name of the cascade.
    pub fn cascade(&self) -> &str {
        &self.index.cascade
    }

    /// blake3 of the index in hexadecimal. The index has the hashes of all parts, so this one identifies the bundle.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What the bundle has, in the order of preference.
    pub fn entries(&self) -> &[BundleEntry] {
        &self.index.entries
    }

    /// Reads the artifact of an entry of this bundle, and checks that it is what the index says.
    pub fn artifact(&self, entry: &BundleEntry) -> Result<KernelArtifact, ArtifactError> {
        let artifact = KernelArtifact::from_bytes(self.part("kernel file", &entry.kernel)?)?;
        let manifest = artifact.manifest();
        let same = manifest.cascade == self.index.cascade
            && manifest.target == entry.target
            && manifest.specialisation == entry.specialisation;
        if same {
            Ok(artifact)
        } else {
            Err(ArtifactError::Container(
                "a kernel file is not what the index says".to_owned(),
            ))
        }
    }

    /// Machine code of an entry of this bundle, where it has some.
    pub fn cubin(&self, entry: &BundleEntry) -> Result<Option<&[u8]>, ArtifactError> {
        entry
            .cubin
            .as_ref()
            .map(|part| self.part("machine code", part))
            .transpose()
    }

    fn part(&self, what: &str, part: &Part) -> Result<&[u8], ArtifactError> {
        let start = self.body.saturating_add(part.offset as usize);
        let bytes = self.bytes.get(start..start.saturating_add(part.bytes as usize));
        let bytes = bytes.ok_or_else(|| ArtifactError::Container(format!("its {what} lies outside of it")))?;
        if blake3::hash(bytes).to_hex().as_str() == part.blake3 {
            Ok(bytes)
        } else {
            Err(ArtifactError::Container(format!("its {what} does not match its hash")))
        }
    }
}

/// The parts follow each other without a gap and end with the file, so nothing can hide between them.
fn check_parts(index: &Index, bytes: u64) -> Result<(), ArtifactError> {
    if index.entries.is_empty() || index.entries.len() > MAX_ENTRIES {
        let reason = format!("a bundle has 1 to {MAX_ENTRIES} entries, not {}", index.entries.len());
        return Err(ArtifactError::Container(reason));
    }
    let mut end = 0u64;
    let parts = index
        .entries
        .iter()
        .flat_map(|e| std::iter::once(&e.kernel).chain(&e.cubin));
    for part in parts {
        let next = end.checked_add(part.bytes).filter(|next| *next <= bytes);
        end = next.filter(|_| part.offset == end).ok_or_else(|| {
            let reason = format!(
                "{} bytes at {} are no part of the {bytes} after the index",
                part.bytes, part.offset
            );
            ArtifactError::Container(reason)
        })?;
    }
    if end == bytes {
        Ok(())
    } else {
        Err(ArtifactError::Container(format!(
            "{} bytes follow the last part",
            bytes - end
        )))
    }
}
