// SPDX-License-Identifier: Apache-2.0
//! Namespace options. An omitted field reads as POD, the enum's zero.

use proto::cri;
use proto::cri::NamespaceMode;
use sandbox::config::{NetworkMode, PidMode, Sharing};

use super::{Field, Refusal, ids};

/// The namespaces of a pod.
pub(super) struct PodNamespaces {
    pub(super) network: NetworkMode,
    pub(super) pid: PidMode,
    pub(super) ipc: Sharing,
}

/// Reads `NamespaceOption` of a pod.
pub(super) fn of_pod(field: &Field<'_>, options: Option<&cri::NamespaceOption>) -> Result<PodNamespaces, Refusal> {
    let omitted = cri::NamespaceOption::default();
    let options = options.unwrap_or(&omitted);
    known_userns(field, options)?;
    let network = match sharing(&field.then("network"), options.network)? {
        Sharing::Pod => NetworkMode::Pod,
        Sharing::Node => NetworkMode::Node,
    };
    let pid_field = field.then("pid");
    let pid = match mode(&pid_field, options.pid)? {
        NamespaceMode::Pod => PidMode::Pod,
        NamespaceMode::Container => PidMode::Container,
        NamespaceMode::Node => PidMode::Node,
        NamespaceMode::Target => return Err(pid_field.invalid("TARGET is for containers only")),
    };
    Ok(PodNamespaces { network, pid, ipc: sharing(&field.then("ipc"), options.ipc)? })
}

/// Reads `NamespaceOption` of a container. Network and ipc are its pod's, whatever it asks for; only numbers that the
/// CRI does not know are wrong. TARGET is read as CONTAINER here and refused by name.
pub(super) fn of_container(
    field: &Field<'_>,
    options: Option<&cri::NamespaceOption>,
    of_pod: PidMode,
) -> Result<PidMode, Refusal> {
    let Some(options) = options else { return Ok(of_pod) };
    known_userns(field, options)?;
    mode(&field.then("network"), options.network)?;
    mode(&field.then("ipc"), options.ipc)?;
    match mode(&field.then("pid"), options.pid)? {
        NamespaceMode::Pod => Ok(PidMode::Pod),
        NamespaceMode::Node => Ok(PidMode::Node),
        NamespaceMode::Container => Ok(PidMode::Container),
        NamespaceMode::Target => {
            ids::well_formed(&field.then("target_id"), &options.target_id)?;
            Ok(PidMode::Container)
        }
    }
}

fn mode(field: &Field<'_>, number: i32) -> Result<NamespaceMode, Refusal> {
    NamespaceMode::try_from(number)
        .map_err(|_| field.invalid(format!("{number} is not a namespace mode; they are 0 (POD) to 3 (TARGET)")))
}

fn sharing(field: &Field<'_>, number: i32) -> Result<Sharing, Refusal> {
    match mode(field, number)? {
        NamespaceMode::Pod => Ok(Sharing::Pod),
        NamespaceMode::Node => Ok(Sharing::Node),
        other => Err(field.invalid(format!("it is {}; only POD and NODE exist here", other.as_str_name()))),
    }
}

/// User namespaces are a pod's or the node's; POD is refused by name.
fn known_userns(field: &Field<'_>, options: &cri::NamespaceOption) -> Result<(), Refusal> {
    let userns = field.then("userns_options");
    options.userns_options.as_ref().map_or(Ok(()), |asked| sharing(&userns.then("mode"), asked.mode).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(network: i32, pid: i32, ipc: i32, userns: Option<i32>) -> cri::NamespaceOption {
        let userns_options = userns.map(|mode| cri::UserNamespace { mode, ..Default::default() });
        cri::NamespaceOption { network, pid, ipc, userns_options, ..Default::default() }
    }

    #[test]
    fn modes_of_a_pod() {
        let field = Field::of_request("o");
        let omitted = of_pod(&field, None).unwrap();
        assert_eq!((omitted.network, omitted.pid, omitted.ipc), (NetworkMode::Pod, PidMode::Pod, Sharing::Pod));
        let node = of_pod(&field, Some(&options(2, 2, 2, Some(2)))).unwrap();
        assert_eq!((node.network, node.pid, node.ipc), (NetworkMode::Node, PidMode::Node, Sharing::Node));
        let wrong = [
            (options(1, 0, 0, None), "o.network"),
            (options(3, 0, 0, None), "o.network"),
            (options(4, 0, 0, None), "o.network"),
            (options(0, 3, 0, None), "o.pid"),
            (options(0, -1, 0, None), "o.pid"),
            (options(0, 0, 1, None), "o.ipc"),
            (options(0, 0, 9, None), "o.ipc"),
            (options(0, 0, 0, Some(1)), "o.userns_options.mode"),
            (options(0, 0, 0, Some(3)), "o.userns_options.mode"),
        ];
        for (wrong, name) in wrong {
            let refusal = of_pod(&field, Some(&wrong)).err().map(|refusal| refusal.to_string()).unwrap();
            assert!(refusal.starts_with(&format!("{name}: ")), "{refusal}");
        }
    }

    #[test]
    fn modes_of_a_container() {
        let field = Field::of_request("o");
        assert_eq!(of_container(&field, None, PidMode::Node), Ok(PidMode::Node));
        assert_eq!(of_container(&field, Some(&options(1, 1, 1, None)), PidMode::Pod), Ok(PidMode::Container));
        assert_eq!(of_container(&field, Some(&options(2, 0, 2, None)), PidMode::Node), Ok(PidMode::Pod));
        for (wrong, name) in [
            (options(7, 0, 0, None), "o.network"),
            (options(0, 4, 0, None), "o.pid"),
            (options(0, 3, 0, None), "o.target_id"),
            (options(0, 0, -2, None), "o.ipc"),
        ] {
            let refusal = of_container(&field, Some(&wrong), PidMode::Pod).unwrap_err().to_string();
            assert!(refusal.starts_with(&format!("{name}: ")), "{refusal}");
        }
    }
}
