//! Worker processes that answer, die, are silent, or cannot be started. The workers are shell scripts.

use std::process::Command;
use std::time::{Duration, Instant};

use einloom_tune::worker::{Pool, Reply};

fn pool(count: usize, timeout: Duration, script: &'static str) -> Pool {
    Pool::new(count, "hello".into(), timeout, move || {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    })
}

const LONG: Duration = Duration::from_secs(20);

/// Echoes requests with the hello; `die` ends it with words, `sleep` makes it silent.
const ECHO: &str = r#"
read hello
while read line; do
  case "$line" in
    die) echo "first words" >&2; echo "last words" >&2; exit 7;;
    abort) kill -ABRT $$;;
    sleep) sleep 60;;
    *) echo "$hello $line $$";;
  esac
done
"#;

fn line(reply: Reply) -> String {
    match reply {
        Reply::Line(line) => line,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_request_is_answered_once() {
    let mut pool = pool(3, LONG, ECHO);
    for id in 0..40 {
        pool.submit(id, format!("r{id}"));
    }
    let mut seen = Vec::new();
    let mut workers = std::collections::BTreeSet::new();
    while seen.len() < 40 {
        let (id, reply) = pool.next(LONG).expect("an answer");
        let text = line(reply);
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!(words[..2], ["hello", format!("r{id}").as_str()]);
        workers.insert(words[2].to_owned());
        seen.push(id);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
    assert!(workers.len() <= 3);
    assert_eq!(pool.next(Duration::from_millis(20)), None);
}

#[test]
fn a_worker_that_dies_costs_one_request() {
    let mut pool = pool(2, LONG, ECHO);
    for (id, request) in ["a", "die", "b", "abort", "c", "d"].into_iter().enumerate() {
        pool.submit(id, request.into());
    }
    let mut replies: Vec<(usize, Reply)> = (0..6).map(|_| pool.next(LONG).expect("an answer")).collect();
    replies.sort_by_key(|(id, _)| *id);
    for (id, reply) in replies {
        match (id, reply) {
            (1, Reply::Died(reason)) => {
                assert!(reason.contains("exit status: 7"), "{reason}");
                assert!(reason.ends_with("first words; last words"), "{reason}");
            }
            (3, Reply::Died(reason)) => assert!(reason.contains("signal: 6"), "{reason}"),
            (1 | 3, other) => panic!("{id}: {other:?}"),
            (_, reply) => assert!(line(reply).starts_with("hello")),
        }
    }
}

#[test]
fn a_silent_worker_is_killed_and_replaced() {
    let mut pool = pool(1, Duration::from_millis(400), ECHO);
    let start = Instant::now();
    assert_eq!(pool.ask("sleep".into()), Reply::Late(Duration::from_millis(400)));
    assert!(line(pool.ask("again".into())).starts_with("hello again"));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_idle_worker_that_ends_is_replaced_unseen() {
    let mut pool = pool(1, LONG, "read hello; read line; echo one $line");
    for _ in 0..3 {
        assert_eq!(line(pool.ask("x".into())), "one x");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_program_that_is_not_there_is_an_answer() {
    let mut pool = Pool::new(2, String::new(), LONG, || Command::new("einloom-is-not-here"));
    for id in 0..3 {
        pool.submit(id, "x".into());
    }
    for _ in 0..3 {
        let (_, reply) = pool.next(LONG).expect("an answer");
        assert!(
            matches!(&reply, Reply::Died(reason) if reason.contains("cannot be started")),
            "{reply:?}"
        );
    }
}

#[test]
fn dropping_the_pool_ends_its_workers() {
    let mut pool = pool(1, LONG, ECHO);
    let text = line(pool.ask("x".into()));
    let id = text.rsplit(' ').next().expect("a process id").to_owned();
    pool.submit(1, "sleep".into());
    let start = Instant::now();
    drop(pool);
    assert!(start.elapsed() < Duration::from_secs(5));
    let alive = Command::new("kill").args(["-0", &id]).output().expect("kill runs");
    assert!(!alive.status.success());
}
