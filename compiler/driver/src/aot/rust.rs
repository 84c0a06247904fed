//! The typed launcher: Rust source for one spec over `einloom-runtime`, from the manifests of its specialisations.
//!
//! It is a module of the spec's name with the bundle, a struct `Args` with a field for each tensor and scalar, and a struct
//! `Kernels` of five short functions. What the types can check is in the types: element types, numbers of dimensions,
//! and that tensors of one choice (`const T = bf16 | f16`) agree. The launch check does the rest.

use einloom_artifact::{DType, Manifest, Role, ScalarType, TensorParam};
use std::fmt::Write;

/// Why a spec has no typed launcher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LauncherError {
    #[error("the type of `{0}` changes with several choices")]
    Type(String),
}

/// The module's name: the stem with `_` for `-`; `None` if that is no name in Rust.
pub fn module_name(stem: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let starts = stem.starts_with(|c: char| c.is_ascii_alphabetic());
    (starts && stem.chars().all(fits)).then(|| identifier(&stem.replace('-', "_")))
}

/// The source. `manifests` are the entries of the bundle with this hash; there is one at least.
///
/// # Errors
/// See [`LauncherError`].
pub fn launcher(stem: &str, manifests: &[&Manifest], hash: &str) -> Result<String, LauncherError> {
    let Some(first) = manifests.first() else {
        return Ok(String::new());
    };
    let own: Vec<usize> = (0..first.tensors.len())
        .filter(|i| first.tensors[*i].role != Role::Workspace)
        .collect();
    let types = own
        .iter()
        .map(|i| element_type(*i, manifests))
        .collect::<Result<Vec<_>, _>>()?;
    let mut choices: Vec<(&str, Vec<DType>)> = Vec::new();
    for (i, element) in own.iter().zip(&types) {
        let Element::Choice(name) = element else { continue };
        let found = manifests.iter().map(|m| m.tensors[*i].dtype);
        let at = choices.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            choices.push((name, Vec::new()));
            choices.len() - 1
        });
        for dtype in found {
            if !choices[at].1.contains(&dtype) {
                choices[at].1.push(dtype);
            }
        }
    }
    let mut text = String::new();
    let source = Source {
        stem,
        manifests,
        first,
        tensors: own.iter().map(|i| &first.tensors[*i]).zip(&types).collect(),
        choices,
    };
    source
        .write(&mut text, hash)
        .expect("writing to a string does not fail");
    Ok(text)
}

/// The element type of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    Fixed(DType),
    /// That of a choice with this name.
    Choice(String),
}

fn element_type(tensor: usize, manifests: &[&Manifest]) -> Result<Element, LauncherError> {
    let dtype = |m: &&Manifest| m.tensors[tensor].dtype;
    let Some(first) = manifests.first() else {
        return Ok(Element::Fixed(DType::F32));
    };
    if manifests.iter().all(|m| dtype(m) == dtype(first)) {
        return Ok(Element::Fixed(dtype(first)));
    }
    let is_type = |name: &&String| {
        manifests.iter().all(|m| {
            m.specialisation
                .get(*name)
                .is_some_and(|value| value == dtype(m).name())
        })
    };
    let choice = first.specialisation.keys().find(is_type);
    choice
        .map(|name| Element::Choice(name.clone()))
        .ok_or_else(|| LauncherError::Type(first.tensors[tensor].name.clone()))
}

struct Source<'m> {
    stem: &'m str,
    manifests: &'m [&'m Manifest],
    first: &'m Manifest,
    tensors: Vec<(&'m TensorParam, &'m Element)>,
    /// Choices of a type, and what they may be.
    choices: Vec<(&'m str, Vec<DType>)>,
}

impl Source<'_> {
    fn write(&self, out: &mut String, hash: &str) -> std::fmt::Result {
        let (stem, cascade, version) = (self.stem, &self.first.cascade, &self.first.einloom_version);
        let module = module_name(stem).unwrap_or_default();
        writeln!(out, "// Written by einloom {version} for {stem}.ein. Do not edit.\n")?;
        writeln!(out, "/// Kernels of cascade `{cascade}` for {}.", self.targets())?;
        writeln!(out, "#[allow(dead_code, non_snake_case, unreachable_pub, clippy::all)]")?;
        writeln!(out, "pub mod {module} {{")?;
        writeln!(
            out,
            "    use ::einloom_runtime::{{Call, Device, LaunchError, Launcher, PreparedCall, Stream, Workspace}};\n"
        )?;
        writeln!(out, "    /// All specialisations, for all targets.")?;
        writeln!(
            out,
            "    pub static BUNDLE: &[u8] = include_bytes!(\"{stem}.einpack\");"
        )?;
        writeln!(out, "    const HASH: &str = \"{hash}\";\n")?;
        for (name, types) in &self.choices {
            writeln!(out, "    /// What `{name}` may be.")?;
            writeln!(out, "    pub trait {}: ::einloom_runtime::Element {{}}", bound(name))?;
            for dtype in types {
                writeln!(out, "    impl {} for {} {{}}", bound(name), rust_type(*dtype))?;
            }
            writeln!(out)?;
        }
        self.args(out)?;
        self.kernels(out)?;
        writeln!(out, "}}")
    }

    fn args(&self, out: &mut String) -> std::fmt::Result {
        let declared = self.generics(true);
        writeln!(
            out,
            "    /// The tensors and scalars of a call, by their names in the spec."
        )?;
        writeln!(out, "    #[derive(Clone, Copy)]")?;
        writeln!(out, "    pub struct Args<'a{declared}> {{")?;
        for (tensor, element) in &self.tensors {
            let ranks: Vec<&str> = tensor.dims.iter().map(|d| d.rank.as_str()).collect();
            let (role, dims) = (tensor.role, tensor.dims.len());
            let element = match element {
                Element::Fixed(dtype) => rust_type(*dtype).to_owned(),
                Element::Choice(name) => parameter(name),
            };
            writeln!(out, "        /// `{}[{}]`, {role}.", tensor.name, ranks.join(","))?;
            let field = identifier(&tensor.name);
            writeln!(
                out,
                "        pub {field}: ::einloom_runtime::Tensor<'a, {element}, {dims}>,"
            )?;
        }
        for scalar in &self.first.scalars {
            writeln!(out, "        /// Scalar `{}`.", scalar.name)?;
            let (field, kind) = (identifier(&scalar.name), scalar_type(scalar.dtype).0);
            writeln!(out, "        pub {field}: {kind},")?;
        }
        writeln!(out, "    }}\n")?;
        let (tensors, scalars) = (self.tensors.len(), self.first.scalars.len());
        let used = self.generics(false);
        let plain = declared.trim_start_matches(", ");
        let header = if plain.is_empty() {
            "impl".to_owned()
        } else {
            format!("impl<{plain}>")
        };
        writeln!(out, "    {header} Args<'_{used}> {{")?;
        writeln!(out, "        fn call(&self) -> Call<'_, {tensors}, {scalars}> {{")?;
        writeln!(out, "            Call::new(\n                [")?;
        for (tensor, _) in &self.tensors {
            let name = &tensor.name;
            writeln!(out, "                    self.{}.named(\"{name}\"),", identifier(name))?;
        }
        writeln!(out, "                ],\n                [")?;
        for scalar in &self.first.scalars {
            let (name, variant) = (&scalar.name, scalar_type(scalar.dtype).1);
            let value = format!(
                "::einloom_runtime::artifact::ScalarValue::{variant}(self.{})",
                identifier(name)
            );
            writeln!(
                out,
                "                    ::einloom_runtime::artifact::ScalarArg {{ name: \"{name}\", value: {value} }},"
            )?;
        }
        writeln!(out, "                ],\n            )\n        }}\n    }}\n")
    }

    fn kernels(&self, out: &mut String) -> std::fmt::Result {
        let (declared, used) = (self.generics(true), self.generics(false));
        let plain = declared.trim_start_matches(", ");
        let own = if plain.is_empty() {
            String::new()
        } else {
            format!("<{plain}>")
        };
        write!(
            out,
            r#"    /// The kernels on one device.
    #[derive(Debug)]
    pub struct Kernels {{
        launcher: Launcher,
    }}

    impl Kernels {{
        /// Takes the best target that the device runs. Code is loaded at the first call of a specialisation, or by
        /// `launcher().load_all()`.
        pub fn load(device: &Device) -> Result<Kernels, LaunchError> {{
            Kernels::load_with(device, &[])
        }}

        /// As `load`, with compile-time choices that no tensor shows: `[("c", "64")]`.
        pub fn load_with(device: &Device, choices: &[(&str, &str)]) -> Result<Kernels, LaunchError> {{
            let launcher = Launcher::embedded(device, BUNDLE, HASH, choices)?;
            Ok(Kernels {{ launcher }})
        }}

        /// Bytes of workspace that a call needs; tensors may have no memory yet.
        pub fn workspace_bytes{own}(&self, args: &Args<'_{used}>) -> Result<u64, LaunchError> {{
            self.launcher.workspace_bytes(&args.call())
        }}

        /// Checks the call and queues its kernels on the stream; allocates nothing.
        pub fn launch{own}(
            &self,
            stream: &Stream,
            args: &Args<'_{used}>,
            workspace: Workspace<'_>,
        ) -> Result<(), LaunchError> {{
            self.launcher.launch(stream, &args.call(), workspace)
        }}

        /// Checks the call once, for many launches.
        pub fn prepare<'a{declared}>(
            &self,
            args: &'a Args<'_{used}>,
            workspace: Workspace<'a>,
        ) -> Result<PreparedCall<'a>, LaunchError> {{
            self.launcher.prepare(&args.call(), workspace)
        }}

        /// What was chosen for this device.
        pub fn launcher(&self) -> &Launcher {{
            &self.launcher
        }}
    }}
"#
        )
    }

    /// The type parameters after `'a`, with a comma ahead; with their bounds where they are declared.
    fn generics(&self, declared: bool) -> String {
        let one = |(name, _): &(&str, Vec<DType>)| match declared {
            true => format!(", {}: {}", parameter(name), bound(name)),
            false => format!(", {}", parameter(name)),
        };
        self.choices.iter().map(one).collect()
    }

    fn targets(&self) -> String {
        let mut targets: Vec<String> = Vec::new();
        for target in self.manifests.iter().map(|m| m.target.to_string()) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets.join(", ")
    }
}

/// The type parameter of a choice.
fn parameter(choice: &str) -> String {
    format!("Type{}", identifier(choice))
}

/// The trait that bounds it.
fn bound(choice: &str) -> String {
    format!("ChoiceOf{}", identifier(choice))
}

fn rust_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "::einloom_runtime::half::f16",
        DType::BF16 => "::einloom_runtime::half::bf16",
        other => other.name(),
    }
}

/// The Rust type of a scalar, and the variant of its value.
fn scalar_type(dtype: ScalarType) -> (&'static str, &'static str) {
    match dtype {
        ScalarType::I32 => ("i32", "I32"),
        ScalarType::I64 => ("i64", "I64"),
        ScalarType::F32 => ("f32", "F32"),
        ScalarType::Bool => ("bool", "Bool"),
    }
}

/// The words of Rust that may not be names, of edition 2024.
const KEYWORDS: [&str; 52] = [
    "Self", "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super",
    "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// A name of the language as a name in Rust: a prime becomes `_prime`, a keyword gets a `_`.
fn identifier(name: &str) -> String {
    let name = name.replace('\'', "_prime");
    if KEYWORDS.contains(&name.as_str()) {
        format!("{name}_")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::{identifier, module_name};

    #[test]
    fn names_are_names_in_rust() {
        assert_eq!(identifier("Q"), "Q");
        assert_eq!(identifier("type"), "type_");
        assert_eq!(identifier("x'"), "x_prime");
        assert_eq!(module_name("paged-decode").as_deref(), Some("paged_decode"));
        assert_eq!(module_name("mod").as_deref(), Some("mod_"));
        for stem in ["", "1d", "a b", "ä", "_"] {
            assert_eq!(module_name(stem), None, "{stem}");
        }
    }
}
