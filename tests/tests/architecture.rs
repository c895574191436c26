// SPDX-License-Identifier: Apache-2.0
//! Keeps the crates' dependencies as `ARCHITECTURE.md` draws them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A row of the table in `ARCHITECTURE.md`.
#[derive(Debug, Default)]
struct Row {
    may_use: BTreeSet<String>,
    sync: bool,
    oci: bool,
}

/// What cargo says of one package of the workspace, its folder's name being its name.
#[derive(Debug, Default)]
struct Package {
    uses: BTreeSet<String>,
    /// Everything that can be reached, by crate name.
    reaches: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn table(page: &str) -> Result<BTreeMap<String, Row>> {
    let lines = page.lines().skip_while(|line| !line.starts_with("| crate |")).skip(2);
    let mut rows = BTreeMap::new();
    for line in lines.take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, may_use, marks, _, _] = cells[..] else { bail!("not a row of five cells: {line}") };
        let may_use = may_use.split(", ").filter(|cell| *cell != "–").map(unquoted).collect();
        let has = |mark| marks.split(", ").any(|cell| cell == mark);
        rows.insert(unquoted(name), Row { may_use, sync: has("sync"), oci: has("oci") });
    }
    ensure!(rows.len() > 10, "the table of crates is not there");
    Ok(rows)
}

fn unquoted(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

fn workspace() -> Result<BTreeMap<String, Package>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .context("run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    packages(&metadata)
}

fn packages(metadata: &Value) -> Result<BTreeMap<String, Package>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let names: BTreeMap<_, _> =
        list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), package.clone())).collect();
    let name_of = |id: &str| names.get(id).map(|package| text(&package["name"])).unwrap_or_default();
    let folder_of = |id: &str| {
        let manifest = PathBuf::from(text(&names[id]["manifest_path"]));
        manifest.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
    };
    // Edges that end up in a program: neither of tests nor of build scripts.
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let normal = list(&node["deps"])
            .into_iter()
            .filter(|dependency| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()));
        edges.insert(text(&node["id"]), normal.map(|dependency| text(&dependency["pkg"])).collect());
    }
    let members: BTreeSet<_> = list(&metadata["workspace_members"]).iter().map(text).collect();
    let mut found = BTreeMap::new();
    for member in &members {
        let mut package = Package::default();
        let mut open: Vec<_> = edges.get(member).context("a member without a node")?.clone();
        package.uses = open.iter().filter(|id| members.contains(*id)).map(|id| folder_of(id)).collect();
        while let Some(id) = open.pop() {
            if package.reaches.insert(name_of(&id)) {
                open.extend(edges.get(&id).cloned().unwrap_or_default());
            }
        }
        found.insert(folder_of(member), package);
    }
    Ok(found)
}

fn faults(rows: &BTreeMap<String, Row>, packages: &BTreeMap<String, Package>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, package) in packages {
        let Some(row) = rows.get(name) else {
            faults.push(format!("{name} has no row"));
            continue;
        };
        faults.extend(package.uses.difference(&row.may_use).map(|used| format!("{name} uses {used}")));
        for (library, allowed) in [("tokio", !row.sync), ("oci-spec", row.oci)] {
            if !allowed && package.reaches.contains(library) {
                faults.push(format!("{name} reaches {library}"));
            }
        }
    }
    faults
        .extend(rows.keys().filter(|name| !packages.contains_key(*name)).map(|name| format!("{name} does not exist")));
    faults
}

#[test]
fn dependencies_are_as_drawn() -> Result<()> {
    let rows = table(&std::fs::read_to_string(root().join("ARCHITECTURE.md"))?)?;
    let faults = faults(&rows, &workspace()?);
    ensure!(faults.is_empty(), "ARCHITECTURE.md and the crates differ: {}", faults.join("; "));
    Ok(())
}

#[test]
fn a_wrong_edge_is_seen() -> Result<()> {
    let mut packages = workspace()?;
    let rows = table(&std::fs::read_to_string(root().join("ARCHITECTURE.md"))?)?;
    let monitor = packages.get_mut("monitor").context("monitor")?;
    monitor.uses.insert("image".into());
    monitor.reaches.extend(["tokio".into(), "oci-spec".into()]);
    packages.insert("newcomer".into(), Package::default());
    let faults = faults(&rows, &packages);
    let expected = ["monitor uses image", "monitor reaches tokio", "monitor reaches oci-spec", "newcomer has no row"];
    for fault in expected {
        ensure!(faults.iter().any(|found| found == fault), "{fault} was not seen among {faults:?}");
    }
    Ok(())
}

/// Every Rust file below a folder of the workspace.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found)?;
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn unsafe_is_in_sys_alone() -> Result<()> {
    let root = root().canonicalize()?;
    for entry in std::fs::read_dir(&root)? {
        let manifest = entry?.path().join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(&manifest) else { continue };
        let is_sys = manifest.parent().is_some_and(|folder| folder.ends_with("sys"));
        ensure!(
            is_sys || text.contains("[lints]\nworkspace = true"),
            "{} does not inherit the workspace's lints, which forbid unsafe code",
            manifest.display()
        );
    }
    ensure!(std::fs::read_to_string(root.join("Cargo.toml"))?.contains("unsafe_code = \"forbid\""));
    let mut files = Vec::new();
    sources(&root, &mut files)?;
    ensure!(files.len() > 100, "only {} source files were found", files.len());
    let opening = ["unsafe", " {"].concat();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let code = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
        let holds = code.into_iter().any(|line| line.contains(&opening));
        ensure!(!holds || file.starts_with(root.join("sys")), "{} holds an unsafe block", file.display());
        ensure!(
            text.starts_with("// SPDX-License-Identifier: Apache-2.0\n"),
            "{} does not begin with its licence",
            file.display()
        );
        ensure!(file.file_name().is_none_or(|name| name != "mod.rs"), "{}: name it after its module", file.display());
    }
    Ok(())
}
