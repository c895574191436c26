// SPDX-License-Identifier: Apache-2.0
//! Every bound of the crate, with its reason.

use std::time::Duration;

/// Manifests and indexes. Real ones are a few KiB; the distribution spec asks registries to accept 4 MiB.
pub const MANIFEST_BYTES: u64 = 4 << 20;
/// Image configurations. Long histories reach some 100 KiB.
pub const CONFIG_BYTES: u64 = 8 << 20;
/// How much of an error answer is read, as containerd reads.
pub const ERROR_BODY_BYTES: usize = 64 << 10;
/// How much of a registry's own words reaches an error of ours: gRPC status messages travel in headers.
pub const ERROR_TEXT_BYTES: usize = 512;
/// Token answers. Real ones are 2 to 4 KiB.
pub const TOKEN_BYTES: usize = 256 << 10;
/// A `WWW-Authenticate` header that is longer is not read.
pub const CHALLENGE_BYTES: usize = 16 << 10;
/// `hosts.toml` files are written by hand.
pub const HOSTS_FILE_BYTES: u64 = 1 << 20;
/// A record holds names; the kubelet shows five of them per image.
pub const RECORD_BYTES: u64 = 4 << 20;
/// Descriptors of one index or manifest. A buildx index has two per platform.
pub const DESCRIPTORS: usize = 1024;
/// Layers of one image: overlayfs stacks at most 500 lower directories (OVL_MAX_STACK), and a few are ours.
pub const LAYERS: usize = 480;
/// An index inside an index inside an index: buildx archives need two levels.
pub const INDEX_DEPTH: usize = 3;

/// Redirects that are followed for one request (issue of threats.md 1F).
pub const REDIRECTS: usize = 10;
/// Tokens that are remembered. A node talks to a handful of registries with a handful of secrets.
pub const TOKENS: usize = 256;
/// HTTP clients that are kept, one for each set of TLS settings.
pub const CLIENTS: usize = 32;
/// Tries of one request that bring no new byte.
pub const ATTEMPTS: u32 = 4;
/// First pause between two tries; it doubles.
pub const BACKOFF_BASE: Duration = Duration::from_millis(250);
/// Longest pause that a registry can impose by `Retry-After`.
pub const BACKOFF_CAP: Duration = Duration::from_secs(60);
/// A connection attempt, where `dial_timeout` says nothing else; as containerd.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// No new bytes for so long cancels a request; as containerd's `image_pull_progress_timeout`.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(300);
/// The question whether a tag still means the same; without an answer the manifest is fetched.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Fewer bytes than this in a whole progress timeout count as none: a server that drips one byte a second must not hold a pull for ever.
pub const PROGRESS_BYTES: u64 = 4 << 10;
/// Token life time when the server names none (distribution token spec: 60 s).
pub const TOKEN_LIFE: Duration = Duration::from_secs(60);

/// How long it is remembered that a registry wants a password with each request.
pub const BASIC_LIFE: Duration = Duration::from_secs(300);

/// Layers that are fetched and unpacked at a time in the whole store: the work is bound by inflate, one core each.
pub const PARALLEL_LAYERS: usize = 4;
/// Chunks between network and unpacking thread, each at most 64 KiB or so.
pub const CHANNEL_CHUNKS: usize = 16;
/// Blobs below this are not kept for a resume: fetching them again costs less than the file.
pub const PARTIAL_MIN_BYTES: u64 = 256 << 10;
/// A partial download that nobody continued for so long is garbage. The kubelet's back-off ends at 5 minutes.
pub const PARTIAL_LIFE: Duration = Duration::from_secs(3600);

/// Entries of one layer. The largest images known (language package trees) have a few 100,000.
pub const ENTRIES: u64 = 4_000_000;
/// Uncompressed bytes of one layer. Model images have layers of 100 GB.
pub const LAYER_BYTES: u64 = 1 << 40;
/// A compressed layer may unpack to this much in any case …
pub const INFLATE_FREE_BYTES: u64 = 1 << 30;
/// … and to this multiple of its size beyond. File trees reach 10, gzip's limit is 1032.
pub const INFLATE_RATIO: u64 = 100;
/// PATH_MAX of Linux with the final NUL.
pub const PATH_BYTES: usize = 4095;
/// NAME_MAX of Linux.
pub const NAME_BYTES: usize = 255;
/// Directory depth of an entry. Real trees stay below 50; deeper ones hurt every tool that walks them.
pub const PATH_DEPTH: usize = 256;
/// PAX records and GNU long names of one entry, in sum.
pub const METADATA_BYTES: u32 = 1 << 20;
/// PAX and GNU headers before one entry.
pub const PENDING_HEADERS: usize = 8;
/// Regions of a sparse file.
pub const SPARSE_REGIONS: usize = 4096;
/// Extended attributes of one entry.
pub const XATTRS: usize = 64;
/// XATTR_SIZE_MAX of Linux.
pub const XATTR_BYTES: usize = 64 << 10;
/// Names of directories whose times are set at the end of a layer, in sum.
pub const DIRECTORY_NAMES_BYTES: usize = 48 << 20;
/// Directories of a layer that the archive doesn't list itself and that take their owner from the layer below.
pub const IMPLICIT_DIRECTORIES: usize = 10_000;
/// zstd window, as the zstd tool's own limit: 128 MiB.
pub const ZSTD_WINDOW_LOG: u32 = 27;
/// Read size of files and of the tar parser.
pub const READ_BYTES: usize = 128 << 10;
/// The file system's free space is looked at each time so many bytes were written.
pub const SPACE_CHECK_BYTES: u64 = 64 << 20;
/// Free space that an unpack leaves alone, so that Stop and Remove have room, at most; on small file systems it is a hundredth.
pub const SPACE_RESERVE_BYTES: u64 = 256 << 20;

/// Entries of an archive that `load` takes: two or three files per layer.
pub const ARCHIVE_ENTRIES: usize = 20_000;
/// `index.json` and `manifest.json` of an archive.
pub const ARCHIVE_INDEX_BYTES: u64 = 8 << 20;
