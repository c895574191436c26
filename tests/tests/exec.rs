// SPDX-License-Identifier: Apache-2.0
//! ExecSync: code, output, time limit, and what it leaves in the container.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use husk_tests::client::{Client, refused};
use husk_tests::world::World;
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(30);

/// A pod with a container that sleeps; gives the container's id.
async fn sleeper(world: &World) -> Result<String> {
    let (pod_id, pod) = world.run_pod("pod").await?;
    let config = world.container_config("main", &["sleep", "1000000"]);
    Ok(world.client.launch(&pod_id, &pod, &config).await?)
}

/// How many processes of the container have this word in their command line, apart from pid 1.
async fn count(client: &Client, id: &str, word: &str) -> Result<usize> {
    let table = client.output(id, &["ps", "-o", "pid,args"]).await?;
    Ok(table.lines().filter(|line| !line.trim_start().starts_with("1 ") && line.contains(word)).count())
}

#[tokio::test]
async fn an_exec_gives_exact_codes_and_both_streams() -> Result<()> {
    World::new("exec")
        .await?
        .live(async |world| {
            let id = sleeper(world).await?;
            for code in [0, 1, 2, 42, 126, 127, 128, 255] {
                let script = format!("echo out{code}; echo err{code} >&2; exit {code}");
                let answer = world.client.exec(&id, &["sh", "-c", &script], LIMIT).await?;
                assert_eq!(answer.exit_code, code);
                assert_eq!(answer.stdout, format!("out{code}\n"));
                assert_eq!(answer.stderr, format!("err{code}\n"));
            }
            let killed = world.client.exec(&id, &["sh", "-c", "kill -9 $$"], LIMIT).await?;
            assert_eq!(killed.exit_code, 137);
            let missing = world.client.exec(&id, &["/no/such/program"], LIMIT).await;
            ensure!(missing.is_err() || missing.is_ok_and(|answer| answer.exit_code != 0), "a missing program ran");
            refused(world.client.exec(&id, &[], LIMIT).await, Code::InvalidArgument)?;
            // Stdin is at its end, not a terminal and not the daemon's.
            let answer = world.client.exec(&id, &["cat"], LIMIT).await?;
            assert_eq!((answer.exit_code, answer.stdout.len()), (0, 0));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn an_exec_past_its_limit_is_killed_with_everything_it_started() -> Result<()> {
    World::new("limit")
        .await?
        .live(async |world| {
            let id = sleeper(world).await?;
            let begun = Instant::now();
            // The second child leaves the session, so that a kill of the process group would miss it.
            let script = "sleep 4001 & setsid sleep 4002 & (sleep 4003 &) ; sleep 4004";
            let answer = world.client.exec(&id, &["sh", "-c", script], Duration::from_secs(1)).await;
            refused(answer, Code::DeadlineExceeded)?;
            let taken = begun.elapsed();
            ensure!(taken >= Duration::from_secs(1) && taken < Duration::from_secs(10), "it took {taken:?}");
            assert_eq!(count(&world.client, &id, "sleep 400").await?, 0);
            assert_eq!(world.client.output(&id, &["echo", "still here"]).await?, "still here\n");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn an_exec_ends_with_its_main_process_even_if_a_child_holds_its_output() -> Result<()> {
    World::new("holder")
        .await?
        .live(async |world| {
            let id = sleeper(world).await?;
            let begun = Instant::now();
            let answer = world.client.exec(&id, &["sh", "-c", "sleep 4005 & echo done"], LIMIT).await?;
            assert_eq!((answer.exit_code, &answer.stdout[..]), (0, &b"done\n"[..]));
            ensure!(begun.elapsed() < Duration::from_secs(10), "it waited for the child");
            assert_eq!(count(&world.client, &id, "sleep 4005").await?, 1, "the child lives on");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn an_execs_output_is_cut_so_that_the_answer_fits() -> Result<()> {
    World::new("cut")
        .await?
        .live(async |world| {
            let id = sleeper(world).await?;
            let exact = world.client.exec(&id, &["head", "-c", "8000000", "/dev/zero"], LIMIT).await?;
            assert_eq!(exact.stdout.len(), 8_000_000);
            let script = "head -c 30000000 /dev/zero; exit 5";
            let cut = world.client.exec(&id, &["sh", "-c", script], LIMIT).await?;
            assert_eq!(cut.exit_code, 5, "the process ran to its end");
            let size = cut.stdout.len();
            ensure!((15 << 20..=16 << 20).contains(&size), "{size} bytes came back");
            ensure!(cut.stdout.iter().all(|byte| *byte == 0), "the output was changed");
            let both = "head -c 30000000 /dev/zero; head -c 30000000 /dev/zero >&2";
            let cut = world.client.exec(&id, &["sh", "-c", both], LIMIT).await?;
            ensure!(!cut.stdout.is_empty() && !cut.stderr.is_empty(), "a stream is missing");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn many_execs_at_a_time_are_told_apart() -> Result<()> {
    World::new("storm")
        .await?
        .live(async |world| {
            let id = sleeper(world).await?;
            let mut running = tokio::task::JoinSet::new();
            for number in 0..40_i32 {
                let (client, id) = (world.client.clone(), id.clone());
                running.spawn(async move {
                    let script = format!("echo {number}; exit {number}");
                    (number, client.exec(&id, &["sh", "-c", &script], LIMIT).await)
                });
            }
            while let Some(done) = running.join_next().await {
                let (number, answer) = done?;
                let answer = answer?;
                assert_eq!((answer.exit_code, answer.stdout), (number, format!("{number}\n").into()));
            }
            assert_eq!(count(&world.client, &id, "sh -c").await?, 0);
            Ok(())
        })
        .await
}
