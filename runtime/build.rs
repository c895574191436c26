// SPDX-License-Identifier: Apache-2.0
//! Builds husk-monitor and husk-pause with a cargo of its own, so that husk is one file.
//!
//! They are other programs than the daemon: static, small, not relocatable, abort on panic. A nested cargo with a
//! target directory of its own gives them their own profile and target, and cannot wait for the outer cargo's lock.
//! `HUSK_EMBED_DIR` names a directory with both programs for those who build them by other means, and a file `build-id`
//! with the text that they had in `HUSK_BUILD_ID` when they built the monitor.
//!
//! That id is how a daemon tells its own monitor program from every other: a digest of the sources, since a program
//! cannot hold a digest of itself.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

/// The programs, by the name that cargo gives their file.
const PROGRAMS: [&str; 2] = ["husk-monitor", "husk-pause"];

/// What they are made from, below the workspace.
const SOURCES: [&str; 8] = ["monitor", "pause", "launch", "cgroups", "wire", "sys", "Cargo.toml", "Cargo.lock"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HUSK_EMBED_DIR");
    let (dir, id) = match env::var_os("HUSK_EMBED_DIR") {
        Some(dir) => {
            let dir = PathBuf::from(dir);
            let id = fs::read_to_string(dir.join("build-id"))?;
            (dir, id.trim().to_owned())
        }
        None => build()?,
    };
    for program in PROGRAMS {
        let path = fs::canonicalize(dir.join(program))
            .map_err(|error| format!("the program to embed, {}: {error}", dir.join(program).display()))?;
        println!("cargo::rerun-if-changed={}", path.display());
        let variable = program.to_uppercase().replace('-', "_");
        println!("cargo::rustc-env={variable}={}", path.display());
    }
    println!("cargo::rustc-env=HUSK_BUILD={id}");
    Ok(())
}

/// Builds the programs and returns the directory that holds them, and the id of this build of them.
fn build() -> Result<(PathBuf, String), Box<dyn Error>> {
    let workspace = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    // <target>/<profile>/build/husk-<hash>/out: beside `build`, one for all hashes, so that little is built twice.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let target_dir = out.ancestors().nth(3).ok_or("OUT_DIR is not below a target directory")?.join("embedded");
    let target = Target::choose()?;

    let mut cargo = Command::new(env::var_os("CARGO").ok_or("cargo sets CARGO")?);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_the_outer_build) {
            cargo.env_remove(name);
        }
    }
    cargo.current_dir(&workspace).args(["build", "--quiet", "--locked", "--profile", "release-small"]);
    cargo.args(PROGRAMS.iter().flat_map(|program| ["--package", program]));
    cargo.args(["--target", &target.triple]).arg("--target-dir").arg(&target_dir);
    cargo.env("RUSTFLAGS", target.flags);
    let id = source_id(&workspace, &target)?;
    cargo.env("HUSK_BUILD_ID", &id);
    if env::var("PROFILE")? == "debug" {
        // Whole-program optimisation takes longer than all the rest, and no test needs it.
        cargo.env("CARGO_PROFILE_RELEASE_SMALL_LTO", "off");
    }
    let output = cargo.output().map_err(|error| format!("start {cargo:?}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("build the programs to embed with {cargo:?}: {}\n{errors}", output.status).into());
    }
    Ok((target_dir.join(target.triple).join("release-small"), id))
}

/// A digest of everything that the programs are made from.
fn source_id(workspace: &Path, target: &Target) -> Result<String, Box<dyn Error>> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&workspace.join(source), &mut files)?;
    }
    files.sort();
    let mut digest = Sha256::new();
    digest.update(&target.triple);
    digest.update(target.flags);
    digest.update(env::var("PROFILE")?);
    for file in files {
        digest.update(file.strip_prefix(workspace)?.to_string_lossy().as_bytes());
        digest.update(fs::read(file)?);
    }
    Ok(hex(&digest.finalize())[..32].to_owned())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}

/// What the programs are built for.
struct Target {
    triple: String,
    flags: &'static str,
}

impl Target {
    /// musl where its standard library is installed: such programs start in a third of the time and have fewer dirty
    /// pages. glibc otherwise, linked statically too. Either way without relocations, which would dirty pages at every
    /// start.
    fn choose() -> Result<Self, Box<dyn Error>> {
        let host = env::var("TARGET")?;
        let arch = host.split('-').next().unwrap_or(&host);
        let musl = format!("{arch}-unknown-linux-musl");
        let rustc = env::var_os("RUSTC").ok_or("cargo sets RUSTC")?;
        let output = Command::new(rustc).args(["--print", "target-libdir", "--target", &musl]).output()?;
        if output.status.success() && Path::new(String::from_utf8(output.stdout)?.trim()).is_dir() {
            return Ok(Self { triple: musl, flags: "-C relocation-model=static" });
        }
        // With --target, even for the same machine, the flags spare build scripts and macros.
        Ok(Self { triple: host, flags: "-C relocation-model=static -C target-feature=+crt-static" })
    }
}

/// Variables by which an outer cargo, clippy or rustdoc would reach into the nested build.
fn is_of_the_outer_build(name: &str) -> bool {
    // Where crates come from is the same for both.
    const KEPT: [&str; 5] = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_"];
    const OURS: [&str; 9] =
        ["RUSTFLAGS", "RUSTDOC", "RUSTDOCFLAGS", "CLIPPY_ARGS", "OUT_DIR", "TARGET", "HOST", "PROFILE", "NUM_JOBS"];
    let kept = KEPT.iter().any(|prefix| name.starts_with(prefix));
    let cargo = name == "CARGO" || name.starts_with("CARGO_") && !kept;
    cargo || name.starts_with("RUSTC") || OURS.contains(&name)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
