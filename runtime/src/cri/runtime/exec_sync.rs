// SPDX-License-Identifier: Apache-2.0
//! `ExecSync`: runs a program in a container and returns what it wrote and how it ended. DeadlineExceeded when it took
//! too long: the kubelet counts that as a failed probe.

use proto::cri::{ExecSyncRequest, ExecSyncResponse};
use tonic::Status;

use crate::cri::node::failed;
use crate::cri::{Node, parse};
use crate::limits;

pub(super) async fn answer(node: &Node, request: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
    let exec = parse::exec_sync(&request)?;
    let container = parse::container_id(&node.pods.snapshot(), &request.container_id)??;
    let outcome = node.pods.exec(container.id, exec.command, exec.timeout).await.map_err(failed)?;
    let (stdout, stderr) = fitting(outcome.stdout, outcome.stderr);
    Ok(ExecSyncResponse { stdout: stdout.into(), stderr: stderr.into(), exit_code: outcome.exit_code })
}

/// Cuts the output so that the whole answer fits into the client's largest message. Each stream keeps at least a half
/// of it, and what the other leaves over.
fn fitting(mut stdout: Vec<u8>, mut stderr: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let room = limits::MESSAGE_BYTES - limits::EXEC_SYNC_FRAME_BYTES;
    let half = room / 2;
    stdout.truncate(room - stderr.len().min(half));
    stderr.truncate(room - stdout.len());
    (stdout, stderr)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn the_whole_answer_fits() {
        let most = limits::MESSAGE_BYTES;
        let room = most - limits::EXEC_SYNC_FRAME_BYTES;
        let table = [
            ((10, 20), (10, 20)),
            ((most, 0), (room, 0)),
            ((0, most), (0, room)),
            ((most, most), (room / 2, room / 2)),
            ((most, 100), (room - 100, 100)),
            ((100, most), (100, room - 100)),
        ];
        for ((out, err), expected) in table {
            let (stdout, stderr) = fitting(vec![1; out], vec![2; err]);
            assert_eq!((stdout.len(), stderr.len()), expected, "{out} {err}");
            let answer = ExecSyncResponse { stdout: stdout.into(), stderr: stderr.into(), exit_code: i32::MIN };
            assert!(answer.encoded_len() <= most, "{out} {err}");
        }
    }
}
