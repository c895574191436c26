// SPDX-License-Identifier: Apache-2.0
//! `husk image ls`.

use std::path::Path;

use proto::cri::image_service_client::ImageServiceClient;
use proto::cri::{Image, ListImagesRequest};

use super::{connect, said};
use crate::{cli, limits};

/// Prints a line for each name, and one for each image without any.
pub(super) async fn run(socket: &Path) -> anyhow::Result<()> {
    let client = ImageServiceClient::new(connect(socket).await?);
    let mut client = client.max_decoding_message_size(limits::MESSAGE_BYTES);
    let response = client.list_images(ListImagesRequest { filter: None }).await.map_err(|status| said(&status))?;
    cli::print(&table(&response.into_inner().images))
}

fn table(images: &[Image]) -> String {
    let mut rows = vec![["IMAGE".to_owned(), "ID".to_owned(), "SIZE".to_owned()]];
    for image in images {
        let names = if image.repo_tags.is_empty() { &image.repo_digests } else { &image.repo_tags };
        let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        let short: String = id.chars().take(12).collect();
        let size = indicatif::DecimalBytes(image.size).to_string();
        let unnamed = ["(no name)".to_owned()];
        let names = if names.is_empty() { unnamed.as_slice() } else { names };
        rows.extend(names.iter().map(|name| [name.clone(), short.clone(), size.clone()]));
    }
    rows[1..].sort();
    let width = rows.iter().map(|[name, ..]| name.chars().count()).max().unwrap_or_default();
    rows.iter().map(|[name, id, size]| format!("{name:<width$}  {id:<12}  {size}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_name() {
        let image = |id: &str, tags: &[&str], digests: &[&str]| Image {
            id: format!("sha256:{id}"),
            repo_tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            repo_digests: digests.iter().map(|&digest| digest.to_owned()).collect(),
            size: 1_500_000,
            ..Image::default()
        };
        let printed = table(&[
            image("0123456789abcdef", &["r.io/b:1", "r.io/a:1"], &["r.io/a@sha256:x"]),
            image("fe", &[], &["r.io/c@sha256:y"]),
            image("dd", &[], &[]),
        ]);
        let expected = "IMAGE            ID            SIZE\n\
                        (no name)        dd            1.50 MB\n\
                        r.io/a:1         0123456789ab  1.50 MB\n\
                        r.io/b:1         0123456789ab  1.50 MB\n\
                        r.io/c@sha256:y  fe            1.50 MB\n";
        assert_eq!(printed, expected);
    }
}
