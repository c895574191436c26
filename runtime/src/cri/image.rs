// SPDX-License-Identifier: Apache-2.0
//! `ImageService`: which call is answered by what.

mod image_fs_info;
mod image_status;
mod list_images;
mod pull_image;
mod remove_image;
mod service;
