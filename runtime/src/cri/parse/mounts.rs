// SPDX-License-Identifier: Apache-2.0
//! Bind mounts and devices, by their syntax only: a host path may be a dead volume, which only the launch touches.

use std::path::PathBuf;

use proto::cri;
use sandbox::config::MountRequest;

use super::{Field, Refusal, strings};

/// Reads `mounts`. What they ask for beyond a private bind is refused by name elsewhere.
pub(super) fn mounts(field: &Field<'_>, asked: &[cri::Mount]) -> Result<Vec<MountRequest>, Refusal> {
    asked.iter().enumerate().map(|(index, mount)| bind(&field.at(index), mount)).collect()
}

fn bind(field: &Field<'_>, mount: &cri::Mount) -> Result<MountRequest, Refusal> {
    let container_path = inside(&field.then("container_path"), &mount.container_path)?;
    let propagation = field.then("propagation");
    let private = match cri::MountPropagation::try_from(mount.propagation) {
        Ok(mode) => mode == cri::MountPropagation::PropagationPrivate,
        Err(_) => return Err(propagation.invalid(format!("{} is not a propagation mode", mount.propagation))),
    };
    let recursive = field.then("recursive_read_only");
    if mount.recursive_read_only && !mount.readonly {
        return Err(recursive.invalid("it needs `readonly`"));
    }
    if mount.recursive_read_only && !private {
        return Err(recursive.invalid("it needs private propagation"));
    }
    let source = field.then("host_path");
    let host_path = match &mount.image {
        // An image volume is refused by name; it has no host path.
        Some(_) if mount.host_path.is_empty() => String::new(),
        Some(_) => return Err(source.invalid("it must be empty beside `image`")),
        None => strings::absolute_path(&source, &mount.host_path)?,
    };
    Ok(MountRequest { container_path, host_path: PathBuf::from(host_path), readonly: mount.readonly })
}

/// A path inside the container, made absolute and free of empty and `.` components.
pub(super) fn inside(field: &Field<'_>, text: &str) -> Result<String, Refusal> {
    let text = strings::without_parent(field, strings::path(field, text)?)?;
    let mut clean = String::with_capacity(text.len() + 1);
    for component in text.split('/').filter(|component| !matches!(*component, "" | ".")) {
        clean.push('/');
        clean.push_str(component);
    }
    if clean.is_empty() {
        return Err(field.invalid("nothing can be mounted over the root of a container"));
    }
    Ok(clean)
}

/// Checks `devices`, which are refused by name when they are right.
pub(super) fn devices(field: &Field<'_>, asked: &[cri::Device]) -> Result<(), Refusal> {
    for (index, device) in asked.iter().enumerate() {
        let entry = field.at(index);
        inside(&entry.then("container_path"), &device.container_path)?;
        strings::absolute_path(&entry.then("host_path"), &device.host_path)?;
        let permissions = entry.then("permissions");
        if device.permissions.is_empty() || device.permissions.chars().any(|c| !"rwm".contains(c)) {
            return Err(permissions.invalid(format!("{:?} is not made of r, w and m", device.permissions)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(container_path: &str, host_path: &str) -> cri::Mount {
        cri::Mount { container_path: container_path.into(), host_path: host_path.into(), ..Default::default() }
    }

    #[test]
    fn paths() {
        let field = Field::of_request("mounts");
        for (given, clean) in [("/a/b", "/a/b"), ("a", "/a"), ("//a//./b/", "/a/b"), ("/..a/b..", "/..a/b..")] {
            let parsed = mounts(&field, &[mount(given, "/host")]).unwrap();
            assert_eq!(parsed[0].container_path, clean, "{given}");
        }
        let image = cri::Mount { image: Some(cri::ImageSpec::default()), ..mount("/a", "/b") };
        let unknown = cri::Mount { propagation: 3, ..mount("/a", "/b") };
        let rro = cri::Mount { recursive_read_only: true, ..mount("/a", "/b") };
        let rro_shared = cri::Mount { readonly: true, propagation: 1, ..rro.clone() };
        let wrong = [
            (mount("", "/b"), "container_path"),
            (mount("/", "/b"), "container_path"),
            (mount("/./", "/b"), "container_path"),
            (mount("/a/../b", "/b"), "container_path"),
            (mount("..", "/b"), "container_path"),
            (mount("/a\0", "/b"), "container_path"),
            (mount("/a\n", "/b"), "container_path"),
            (mount(&"/a".repeat(3000), "/b"), "container_path"),
            (mount("/a", ""), "host_path"),
            (mount("/a", "b"), "host_path"),
            (mount("/a", "/b\0"), "host_path"),
            (image, "host_path"),
            (unknown, "propagation"),
            (rro, "recursive_read_only"),
            (rro_shared, "recursive_read_only"),
        ];
        for (wrong, name) in wrong {
            let refusal = mounts(&field, &[mount("/a", "/b"), wrong]).unwrap_err().to_string();
            assert!(refusal.starts_with(&format!("mounts[1].{name}: ")), "{refusal}");
        }
    }

    #[test]
    fn device_permissions() {
        let field = Field::of_request("devices");
        let device = |permissions: &str| cri::Device {
            container_path: "/dev/x".into(),
            host_path: "/dev/null".into(),
            permissions: permissions.into(),
        };
        assert_eq!(devices(&field, &[device("rwm"), device("r")]), Ok(()));
        for permissions in ["", "xyz", "rwx", "RW"] {
            let refusal = devices(&field, &[device(permissions)]).unwrap_err().to_string();
            assert!(refusal.starts_with("devices[0].permissions: "), "{refusal}");
        }
    }
}
