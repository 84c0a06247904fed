//! Loading of specs: files, imports, the prelude, all specialisations, all diagnostics. The only place that reads spec files.

use einloom_cascade::ir::Cascade;
use einloom_cascade::lower::{Choices, lower, specialisations};
use einloom_syntax::ast::{File, StmtKind};
use einloom_syntax::{Diagnostic, SourceId, SourceMap, parse};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Source files seen so far.
#[derive(Default)]
pub struct Session {
    sources: SourceMap,
    prelude: Option<File>,
}

/// A spec that was read: one cascade for each specialisation (empty if there are errors), and all messages.
pub struct Loaded {
    pub source: SourceId,
    pub file: File,
    pub cascades: Vec<Cascade>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Imports may nest this deep.
const MAX_IMPORTS: usize = 64;

impl Session {
    /// A session without files.
    pub fn new() -> Session {
        Session::default()
    }

    /// All sources, for rendering.
    pub fn sources(&self) -> &SourceMap {
        &self.sources
    }

    /// Reads, parses, checks and lowers a spec file with everything that it imports.
    ///
    /// # Errors
    /// The file itself cannot be read; everything else is a diagnostic.
    pub fn load(&mut self, path: &Path) -> std::io::Result<Loaded> {
        let bytes = read(path)?;
        Ok(self.load_bytes(&path.display().to_string(), &bytes, path.parent()))
    }

    /// As [`Session::load`] for bytes in memory; imports are looked up in `folder`.
    pub fn load_bytes(&mut self, name: &str, bytes: &[u8], folder: Option<&Path>) -> Loaded {
        let (source, file, mut diagnostics) = self.parse(name, bytes);
        let mut files = vec![self.prelude()];
        let mut seen = Vec::new();
        self.imports(&file, folder, &mut files, &mut seen, &mut diagnostics);
        files.push(file.clone());
        let mut cascades = Vec::new();
        let (choices, found) = specialisations(&file);
        diagnostics.extend(found);
        for choice in &choices {
            let (cascade, found) = lower(&files.iter().collect::<Vec<_>>(), choice);
            for diagnostic in found {
                // Specialisations repeat each other's messages.
                if !diagnostics.contains(&diagnostic) {
                    diagnostics.push(diagnostic);
                }
            }
            cascades.extend(cascade);
        }
        Loaded {
            source,
            file,
            cascades,
            diagnostics,
        }
    }

    fn parse(&mut self, name: &str, bytes: &[u8]) -> (SourceId, File, Vec<Diagnostic>) {
        match einloom_syntax::decode(bytes) {
            Ok(text) => {
                let source = self.sources.add(name, text.clone());
                let (file, diagnostics) = parse(source, &text);
                (source, file, diagnostics)
            }
            Err(mut diagnostic) => {
                // Bytes that are no text have no place to point at.
                diagnostic.message = format!("{name}: {}", diagnostic.message);
                let source = self
                    .sources
                    .add(name, String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]));
                (source, File::default(), vec![diagnostic])
            }
        }
    }

    fn prelude(&mut self) -> File {
        if self.prelude.is_none() {
            let source = self.sources.add("prelude.ein", einloom_syntax::PRELUDE);
            self.prelude = Some(parse(source, einloom_syntax::PRELUDE).0);
        }
        self.prelude.clone().unwrap_or_default()
    }

    fn imports(
        &mut self,
        file: &File,
        folder: Option<&Path>,
        files: &mut Vec<File>,
        seen: &mut Vec<PathBuf>,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        for stmt in &file.stmts {
            let StmtKind::Import(name) = &stmt.kind else { continue };
            let path = folder.unwrap_or(Path::new(".")).join(&name.text);
            if seen.contains(&path) || seen.len() >= MAX_IMPORTS {
                continue;
            }
            seen.push(path.clone());
            match read(&path) {
                Ok(bytes) => {
                    let (_, imported, found) = self.parse(&path.display().to_string(), &bytes);
                    diagnostics.extend(found);
                    self.imports(&imported, path.parent(), files, seen, diagnostics);
                    files.push(imported);
                }
                Err(error) => diagnostics.push(
                    Diagnostic::new(
                        einloom_syntax::Code::E0201,
                        format!("cannot read `{}`: {error}", name.text),
                    )
                    .primary(stmt.span, "imported here"),
                ),
            }
        }
    }

    /// The canonical text of a file; `None` with messages if it cannot be read.
    pub fn format(&mut self, name: &str, bytes: &[u8]) -> (Option<String>, Vec<Diagnostic>) {
        let (source, file, diagnostics) = self.parse(name, bytes);
        if einloom_syntax::has_errors(&diagnostics) {
            return (None, diagnostics);
        }
        let text = self.sources.get(source).map_or("", |s| s.text.as_str());
        (Some(einloom_syntax::format(&file, text)), diagnostics)
    }

    /// A diagnostic as one line of JSON.
    pub fn json(&self, diagnostic: &Diagnostic) -> String {
        serde_json::to_string(&einloom_syntax::PlainDiagnostic::new(diagnostic, &self.sources))
            .expect("plain diagnostics have string keys and serialise")
    }
}

/// The bytes of a source file, but no more than are needed to refuse one that is too large: a path may name a device.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(2 << 20).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a specialisation's choices, e.g. `e=128, T=bf16`; empty without choices.
pub fn choice_text(cascade: &Cascade) -> String {
    cascade
        .choices
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// File stem of a specialisation: the name alone where there is only one.
pub fn choice_stem(cascade: &Cascade, specialisations: usize) -> String {
    let mut stem = cascade.name.clone();
    if specialisations > 1 {
        for (name, value) in &cascade.choices {
            stem.push_str(&format!("-{name}{value}"));
        }
    }
    stem
}

/// Type of a specialisation key, re-exported for callers that lower one specialisation.
pub type Choice = Choices;
