//! Which crate may know which, read from `cargo metadata`.

use std::collections::BTreeSet;
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand, Package};
use einloom_tests::{Outcome, none_of, repo};
use libtest_mimic::{Failed, Trial};

/// The compiler's crates in the order of the road; each may use those before it.
const COMPILER: [&str; 7] = [
    "einloom-syntax",
    "einloom-cascade",
    "einloom-plan",
    "einloom-tile",
    "einloom-nvptx",
    "einloom",
    "einloom-build",
];

/// The crates of the runtime; `artifact` is all that they share with the compiler.
const RUNTIME: [&str; 3] = ["einloom-artifact", "einloom-runtime", "einloom-tune"];

const TESTS: &str = "einloom-tests";

/// Crates from outside that few crates may use.
const CONFINED: [(&str, &[&str]); 5] = [
    ("inkwell", &["einloom-nvptx"]),
    ("llvm-sys", &["einloom-nvptx"]),
    ("cudarc", &["einloom-runtime"]),
    ("pest", &["einloom-syntax"]),
    ("clap", &["einloom", TESTS]),
];

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("tidy::crate_edges", crate_edges),
        Trial::test("tidy::confined_dependencies", confined_dependencies),
        Trial::test("tidy::runtime_builds_without_llvm", || {
            builds_without_llvm("einloom-runtime")
        }),
        Trial::test("tidy::tile_builds_without_llvm", || builds_without_llvm("einloom-tile")),
        Trial::test("tidy::crates_share_the_lints", crates_share_the_lints),
    ]
}

fn metadata() -> Result<Metadata, Failed> {
    Ok(MetadataCommand::new()
        .manifest_path(repo::root().join("Cargo.toml"))
        .no_deps()
        .exec()?)
}

fn may_use(user: &str, used: &str) -> bool {
    let place = |name: &str| COMPILER.iter().position(|known| *known == name);
    match (place(user), place(used)) {
        (Some(user), Some(used)) => used < user,
        // The command line joins compiler and runtime; what is compiled ahead of time is described by artifacts alone, and takes
        // its schedules from the database of tuned ones.
        (Some(_), None) => {
            user == "einloom" || (user == "einloom-build" && ["einloom-artifact", "einloom-tune"].contains(&used))
        }
        (None, Some(_)) => user == TESTS,
        (None, None) => user == TESTS || (user != "einloom-artifact" && used == "einloom-artifact"),
    }
}

fn crate_edges() -> Outcome {
    let mut wrong = Vec::new();
    for package in metadata()?.packages {
        let user = package.name.as_str();
        if !COMPILER.contains(&user) && !RUNTIME.contains(&user) && user != TESTS {
            wrong.push(format!("{user} has no place in the order of crates"));
        }
        let ours = package.dependencies.iter().filter(|used| used.path.is_some());
        for used in ours.filter(|used| !may_use(user, &used.name)) {
            wrong.push(format!("{user} may not depend on {}", used.name));
        }
    }
    none_of(wrong)
}

fn confined_dependencies() -> Outcome {
    let mut wrong = Vec::new();
    for package in metadata()?.packages {
        let used: BTreeSet<&str> = package.dependencies.iter().map(|used| used.name.as_str()).collect();
        for (name, owners) in CONFINED {
            if used.contains(name) && !owners.contains(&package.name.as_str()) {
                wrong.push(format!(
                    "{} may not depend on {name}, which is {}'s",
                    package.name, owners[0]
                ));
            }
        }
    }
    none_of(wrong)
}

fn builds_without_llvm(package: &str) -> Outcome {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--package",
            package,
        ])
        .current_dir(repo::root())
        .output()?;
    let tree = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !tree.starts_with(package) {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let llvm = tree
        .lines()
        .filter(|line| line.starts_with("llvm-sys") || line.starts_with("inkwell"));
    none_of(llvm.map(|line| format!("{package} reaches {line}")).collect())
}

fn crates_share_the_lints() -> Outcome {
    let lacks =
        |package: &&Package| !repo::read(package.manifest_path.as_std_path()).contains("[lints]\nworkspace = true");
    let packages = metadata()?.packages;
    none_of(
        packages
            .iter()
            .filter(lacks)
            .map(|package| format!("{} lacks `lints.workspace = true`", package.name))
            .collect(),
    )
}
