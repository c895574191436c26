// SPDX-License-Identifier: Apache-2.0
//! `ImageFsInfo`: what images take, from the store's own books. Containers' writable layers lie on the same file
//! system, which an empty `container_filesystems` says.

use proto::cri::{FilesystemIdentifier, FilesystemUsage, ImageFsInfoRequest, ImageFsInfoResponse, UInt64Value};
use tonic::Status;

use crate::cri::{Node, render};

pub(super) async fn answer(node: &Node, _: ImageFsInfoRequest) -> Result<ImageFsInfoResponse, Status> {
    let usage = node.images.usage();
    let images = FilesystemUsage {
        timestamp: render::now(),
        fs_id: Some(FilesystemIdentifier { mountpoint: usage.mountpoint.to_string_lossy().into_owned() }),
        used_bytes: Some(UInt64Value { value: usage.bytes }),
        inodes_used: Some(UInt64Value { value: usage.inodes }),
    };
    Ok(ImageFsInfoResponse { image_filesystems: vec![images], container_filesystems: Vec::new() })
}
