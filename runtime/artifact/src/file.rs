//! The kernel file `<name>.einmod`: text that can be read, searched and compared.
//!
//! ```text
//! einloom-kernel 2 <bytes of manifest> <bytes of PTX> <blake3 of all that follows>\n
//! <manifest, JSON>\n
//! <PTX>
//! ```
//!
//! The lengths delimit the parts, so nothing in them needs escaping; the file ends with the last byte of the PTX. Reading
//! checks the version before all else, then lengths, hash, JSON, the manifest's own consistency, and the PTX against the
//! manifest. The pair of files has no hash over its manifest, so that it can be edited by hand.

use crate::error::ArtifactError;
use crate::manifest::{FORMAT_VERSION, Manifest};

const MAGIC: &str = "einloom-kernel";
/// Longest manifest that a reader accepts, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// Longest PTX that a reader accepts, in bytes.
pub const MAX_PTX_BYTES: usize = 64 << 20;
/// The header is read within this many bytes.
const MAX_HEADER_BYTES: usize = 160;

/// A manifest and its PTX; whoever holds one knows that the two are valid and belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelArtifact {
    manifest: Manifest,
    ptx: String,
}

impl KernelArtifact {
    /// Joins the two: sets the format version and the hash in the manifest, then validates it.
    pub fn new(mut manifest: Manifest, ptx: String) -> Result<KernelArtifact, ArtifactError> {
        manifest.format_version = FORMAT_VERSION;
        manifest.ptx_blake3 = blake3::hash(ptx.as_bytes()).to_hex().to_string();
        KernelArtifact::checked(manifest, ptx)
    }

    /// Reads the two files `manifest.json` and `kernel.ptx`.
    pub fn from_parts(manifest_json: &[u8], ptx: &[u8]) -> Result<KernelArtifact, ArtifactError> {
        limit("manifest", manifest_json.len() as u64, MAX_MANIFEST_BYTES)?;
        limit("PTX", ptx.len() as u64, MAX_PTX_BYTES)?;
        let manifest = parse_manifest(manifest_json)?;
        let ptx =
            std::str::from_utf8(ptx).map_err(|e| ArtifactError::Container(format!("the PTX is not UTF-8: {e}")))?;
        KernelArtifact::checked(manifest, ptx.to_owned())
    }

    /// Reads a kernel file.
    pub fn from_bytes(bytes: &[u8]) -> Result<KernelArtifact, ArtifactError> {
        let (header, body) = split_header(bytes)?;
        let ([manifest_len, ptx_len], hash) = parse_header(header, MAGIC, FORMAT_VERSION)?;
        limit("manifest", manifest_len, MAX_MANIFEST_BYTES)?;
        limit("PTX", ptx_len, MAX_PTX_BYTES)?;
        let expected = manifest_len + 1 + ptx_len;
        if body.len() as u64 != expected {
            let reason = format!("{} bytes follow the header, it promises {expected}", body.len());
            return Err(ArtifactError::Container(reason));
        }
        if blake3::hash(body).to_hex().as_str() != hash {
            return Err(ArtifactError::Container("its content does not match its hash".into()));
        }
        let (manifest, rest) = body.split_at(manifest_len as usize);
        match rest.split_first() {
            Some((b'\n', ptx)) => KernelArtifact::from_parts(manifest, ptx),
            _ => Err(ArtifactError::Container("no line end after the manifest".into())),
        }
    }

    /// The kernel file. The same artifact gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let manifest = self.manifest_json();
        let manifest = manifest.trim_end();
        let body = format!("{manifest}\n{}", self.ptx);
        let hash = blake3::hash(body.as_bytes()).to_hex();
        format!(
            "{MAGIC} {FORMAT_VERSION} {} {} {hash}\n{body}",
            manifest.len(),
            self.ptx.len()
        )
        .into_bytes()
    }

    /// The manifest as indented JSON with a final line end: the file `manifest.json`.
    pub fn manifest_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(&self.manifest).expect("a manifest has string keys and no failing serializer");
        text.push('\n');
        text
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The PTX text: the file `kernel.ptx`.
    pub fn ptx(&self) -> &str {
        &self.ptx
    }

    fn checked(manifest: Manifest, ptx: String) -> Result<KernelArtifact, ArtifactError> {
        limit("PTX", ptx.len() as u64, MAX_PTX_BYTES)?;
        manifest.validate()?;
        let found = blake3::hash(ptx.as_bytes()).to_hex().to_string();
        if found != manifest.ptx_blake3 {
            return Err(ArtifactError::Hash {
                found,
                expected: manifest.ptx_blake3,
            });
        }
        manifest.validate_ptx(&ptx)?;
        Ok(KernelArtifact { manifest, ptx })
    }
}

fn limit(part: &'static str, bytes: u64, limit: usize) -> Result<(), ArtifactError> {
    let limit = limit as u64;
    if bytes <= limit {
        Ok(())
    } else {
        Err(ArtifactError::TooLong { part, bytes, limit })
    }
}

fn split_header(bytes: &[u8]) -> Result<(&str, &[u8]), ArtifactError> {
    let bad = |reason: &str| ArtifactError::Container(reason.into());
    if !bytes.starts_with(MAGIC.as_bytes()) {
        return Err(bad("it does not start with `einloom-kernel`"));
    }
    let end = bytes.iter().take(MAX_HEADER_BYTES).position(|b| *b == b'\n');
    let (header, rest) = bytes.split_at(end.ok_or_else(|| bad("its first line does not end"))?);
    let header = std::str::from_utf8(header).map_err(|_| bad("its first line is not UTF-8"))?;
    Ok((header, rest.get(1..).unwrap_or_default()))
}

/// A number of a header: digits alone.
fn plain_number(word: &str) -> Option<u64> {
    word.parse().ok().filter(|_| word.bytes().all(|b| b.is_ascii_digit()))
}

/// The `N` lengths and the hash of a header `magic version length .. hash`.
///
/// # Errors
/// Another version, or a line of another form.
pub(crate) fn parse_header<'h, const N: usize>(
    header: &'h str,
    magic: &str,
    supported: u32,
) -> Result<([u64; N], &'h str), ArtifactError> {
    let bad = || ArtifactError::Container(format!("its first line reads `{header}`"));
    let mut words = header.split(' ');
    if words.next() != Some(magic) {
        return Err(bad());
    }
    let version = words.next().and_then(plain_number).ok_or_else(bad)?;
    if version != u64::from(supported) {
        return Err(ArtifactError::FormatVersion {
            found: version,
            supported,
        });
    }
    let mut lengths = [0; N];
    for length in &mut lengths {
        *length = words.next().and_then(plain_number).ok_or_else(bad)?;
    }
    match (words.next(), words.next()) {
        (Some(hash), None) => Ok((lengths, hash)),
        _ => Err(bad()),
    }
}

/// Looks at the version first: a manifest of another version may have any other form.
fn parse_manifest(json: &[u8]) -> Result<Manifest, ArtifactError> {
    #[derive(serde::Deserialize)]
    struct Version {
        format_version: u64,
    }
    let bad = |e: serde_json::Error| ArtifactError::Json(e.to_string());
    let version: Version = serde_json::from_slice(json).map_err(bad)?;
    if version.format_version != u64::from(FORMAT_VERSION) {
        return Err(ArtifactError::FormatVersion {
            found: version.format_version,
            supported: FORMAT_VERSION,
        });
    }
    serde_json::from_slice(json).map_err(bad)
}
