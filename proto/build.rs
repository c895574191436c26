// SPDX-License-Identifier: Apache-2.0
//! Compiles both .proto files without protoc: messages, clients and servers, and the descriptors.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use protox::Compiler;
use protox::prost_reflect::{DescriptorPool, FieldDescriptor};

/// The CRI and our own API, as import paths below [`ROOT`].
const FILES: [&str; 2] = ["runtime/v1/api.proto", "husk/v1/husk.proto"];
/// Directory that the import paths start from.
const ROOT: &str = "proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);

    let mut compiler = Compiler::new([ROOT])?;
    compiler.include_imports(true).open_files(FILES)?;
    // Without comments and positions, which only the generator needs.
    let bare = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptors.bin"), bare)?;

    let secrets = messages_with_secrets(&compiler.descriptor_pool());
    let set = compiler.include_source_info(true).file_descriptor_set();
    // One run for each package, so that they are two flat modules (`cri` and `husk`) and the second
    // refers to the first, where a single run would want the nested modules `runtime::v1`, `husk::v1`.
    generator(&secrets).compile_fds(set.clone())?;
    // The second run writes a leftover of `runtime.v1` too, hence a directory of its own.
    let out = out.join("husk");
    fs::create_dir_all(&out)?;
    generator(&secrets).extern_path(".runtime.v1", "crate::cri").out_dir(out).compile_fds(set)?;
    Ok(())
}

/// What both packages have in common.
fn generator(secrets: &[String]) -> tonic_prost_build::Builder {
    tonic_prost_build::configure()
        // Only unix sockets are used, and who connects them is up to the caller.
        .build_transport(false)
        .emit_rerun_if_changed(false)
        // Up to 16 MiB a stream, handed on without a copy.
        .bytes(".runtime.v1.ExecSyncResponse")
        .skip_debug(secrets)
}

/// The messages with a field that is marked `debug_redact`. They get no derived `Debug`, so that the
/// crate does not compile until `src/redacted.rs` has one.
fn messages_with_secrets(pool: &DescriptorPool) -> Vec<String> {
    let secret = |field: FieldDescriptor| field.options().has_field_by_name("debug_redact");
    pool.all_messages()
        .filter(|message| message.fields().any(secret))
        .map(|message| format!(".{}", message.full_name()))
        .collect()
}
