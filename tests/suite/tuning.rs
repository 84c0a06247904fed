//! Tuning end to end without a GPU: real compilers, and a shell script in place of the measuring worker, to which larger code is slower.
//! Searches end after a number of candidates, so no clock plays a part.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use einloom::data::shapes::{self, Given};
use einloom::data::usual;
use einloom::pipeline;
use einloom::session::Session;
use einloom::tuning::lookup::{Choice, Purpose, choose};
use einloom::tuning::problem::spec_hash;
use einloom::tuning::tune::{Progress, Request, Tuned, files, tune};
use einloom_cascade::ir::Cascade;
use einloom_tests::cli::{AS_CLI, METER, command, einloom};
use einloom_tests::{Outcome, none_of, repo};
use einloom_tile::dimensions::to_text;
use einloom_tile::schedule::ShapeClass;
use einloom_tune::database::{Database, Writer};
use einloom_tune::record::{Record, Status, Winner};
use einloom_tune::search::{Event, Options};
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("tuning::winners_reach_compile", winners_reach_compile),
        Trial::test(
            "tuning::crashes_and_wrong_results_are_records",
            crashes_and_wrong_results_are_records,
        ),
        Trial::test("tuning::stopped_searches_go_on", stopped_searches_go_on),
        Trial::test("tuning::one_seed_one_search", one_seed_one_search),
        Trial::test(
            "tuning::killed_searches_lose_the_measurement_in_flight",
            killed_searches_lose_the_measurement_in_flight,
        ),
        Trial::test("tuning::two_at_once_corrupt_nothing", two_at_once_corrupt_nothing),
        Trial::test("tuning::shipped_schedules_are_used", shipped_schedules_are_used),
        Trial::test(
            "tuning::other_versions_need_the_same_code",
            other_versions_need_the_same_code,
        ),
        Trial::test("tuning::no_gpu_is_an_error", no_gpu_is_an_error),
    ]
}

const SPEC: &str = "dsl-examples/full.ein";
const CHOICES: &str = "e=64,T=bf16";

/// What the device claims to be for. Its schedules are fewer than those of `sm_90a`.
const TARGET: &str = "sm_80";

/// Candidates of a search.
const CANDIDATES: usize = 6;

/// A program that compiles like einloom and measures like nothing: a microsecond for each byte of code. Brief measurements, which become
/// records, are listed in the file `answers`.
fn program(folder: &Path) -> std::io::Result<PathBuf> {
    let path = folder.join("fake");
    if path.exists() {
        return Ok(path);
    }
    let this = std::env::current_exe()?;
    let script = format!(
        r#"#!/bin/sh
if [ "$2" = compile ]; then exec env {AS_CLI}=1 '{this}' worker compile; fi
read setup
while read line; do
  case "$line" in
    *Facts*) echo '{{"Facts":{{"device":"Fake GPU","driver":13000,"target":"{TARGET}"}}}}';;
    *Prepare*) echo '"Prepared"';;
    *Verify*)
      if rm '{folder}/wrong' 2>/dev/null
      then echo '{{"Failed":{{"status":"wrong","note":"as planned"}}}}'
      else echo '{{"Verified":{{"share":0.25}}}}'; fi;;
    *Time*)
      if rm '{folder}/crash' 2>/dev/null; then echo "a fault" >&2; exit 9; fi
      path=${{line#*artifact\":\"}}
      size=$(wc -c < "${{path%%\"*}}")
      case "$line" in *'"sample_ms":25.0'*) echo "$size" >> '{folder}/answers';; esac
      echo "{{\"Timed\":{{\"median\":$size.5,\"low\":$size.1,\"high\":$size.9}}}}";;
  esac
done
"#,
        this = this.display(),
        folder = folder.display(),
    );
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn request(folder: &Path) -> std::io::Result<Request> {
    Ok(Request {
        program: program(folder)?,
        folder: folder.join("tuned"),
        target: None,
        device: 0,
        workers: 1,
        options: Options {
            budget: None,
            candidates: Some(CANDIDATES),
            screen: 3,
            finalists: 2,
            rounds: 2,
            ..Options::default()
        },
    })
}

struct Subject {
    cascade: Cascade,
    given: Given,
    symbols: Vec<i64>,
}

fn subject() -> Result<Subject, Box<dyn std::error::Error>> {
    let given = shapes::parse(CHOICES)?;
    let loaded = Session::new().load(&repo::root().join(SPEC))?;
    let fits = |c: &Cascade| c.choices.iter().all(|(name, value)| given.get(name) == Some(value));
    let cascade = loaded.cascades.into_iter().find(fits).ok_or("no such specialisation")?;
    let symbols = usual::symbols(&cascade, &pipeline::plan(&cascade)?, &given)?;
    Ok(Subject {
        cascade,
        given,
        symbols,
    })
}

/// Tunes until `limit` candidates were tried; the outcome, and what was tried.
fn run(folder: &Path, limit: usize) -> Result<(Tuned, Vec<Vec<String>>), Box<dyn std::error::Error>> {
    let Subject {
        cascade,
        given,
        symbols,
    } = subject()?;
    let tried = std::cell::RefCell::new(Vec::new());
    let stopped = || tried.borrow().len() >= limit;
    let tuned = tune(
        &repo::root().join(SPEC),
        &cascade,
        &given,
        &symbols,
        &request(folder)?,
        &stopped,
        &mut |progress| {
            if let Progress::Search(Event::Tried { candidate, .. }) = progress {
                tried.borrow_mut().push(candidate.clone());
            }
        },
    )?;
    Ok((tuned, tried.into_inner()))
}

fn winners_reach_compile() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (tuned, tried) = run(folder.path(), usize::MAX).map_err(|e| e.to_string())?;
    let ended = format!("{tuned:?}");
    let Tuned::Winner(winner) = tuned else {
        return Err(ended.into());
    };
    assert_eq!(tried.len(), CANDIDATES);
    assert!(winner.gain().is_some_and(|gain| gain >= 1.0), "{winner:?}");
    assert_eq!(winner.error_share, 0.25);
    let database = folder.path().join("tuned");
    let (database_text, out) = (database.display().to_string(), folder.path().join("out"));
    let compile = |extra: &[&str]| {
        let out = out.display().to_string();
        let fixed = [
            "compile", SPEC, "--target", TARGET, "--shape", CHOICES, "--emit", "ptx", "-o", &out,
        ];
        einloom(fixed.iter().chain(extra))
    };
    let said = compile(&["--tuned", &database_text]);
    said.expect(0)?;
    assert!(
        said.stdout
            .contains("full.jsonl:1, tuned on Fake GPU, driver 13000, for align=16 B=4.. "),
        "{}",
        said.stdout
    );
    let read = || -> std::io::Result<Vec<u8>> {
        std::fs::read(out.join("full-e64-Tbf16.ptx")).or_else(|_| std::fs::read(out.join("full.ptx")))
    };
    let tuned_code = read()?;
    let said = compile(&["--no-tuned"]);
    said.expect(0)?;
    assert!(!said.stdout.contains("tuned"), "{}", said.stdout);
    let default_code = read()?;
    assert_eq!(winner.schedules == winner.default, tuned_code == default_code);
    // Short queries are another class: the default, and explain says why.
    let shape = format!("{CHOICES},p=1");
    let said = einloom([
        "explain",
        SPEC,
        "--target",
        TARGET,
        "--shape",
        &shape,
        "--tuned",
        &database_text,
    ]);
    said.expect(0)?;
    assert!(
        said.stdout.contains("schedules: default (tuned for shapes align=16"),
        "{}",
        said.stdout
    );
    // The page needs no GPU.
    let page = folder.path().join("page.html").display().to_string();
    let said = einloom([
        "tune",
        SPEC,
        "--budget",
        "0s",
        "--shape",
        CHOICES,
        "-o",
        &database_text,
        "--report",
        &page,
    ]);
    said.expect(0)?;
    let html = repo::read(Path::new(&page));
    assert!(html.contains("Fake GPU") && html.contains("<svg"), "{html}");
    Ok(())
}

fn crashes_and_wrong_results_are_records() -> Outcome {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("crash"), "")?;
    std::fs::write(folder.path().join("wrong"), "")?;
    let (tuned, _) = run(folder.path(), usize::MAX).map_err(|e| e.to_string())?;
    assert!(matches!(tuned, Tuned::Winner(_)), "{tuned:?}");
    let (_, measured) = files(&folder.path().join("tuned"), "full");
    let database = Database::open_all(&measured);
    let notes = |status| {
        let of = |record: &Record| match record {
            Record::Measurement(m) if m.status == status => Some(m.note.clone()),
            _ => None,
        };
        database.records().filter_map(of).collect::<Vec<String>>()
    };
    assert_eq!(notes(Status::Crash), ["a worker ended by exit status: 9: a fault"]);
    assert_eq!(notes(Status::Wrong), ["as planned"]);
    Ok(())
}

fn stopped_searches_go_on() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (tuned, first) = run(folder.path(), 2).map_err(|e| e.to_string())?;
    assert!(matches!(tuned, Tuned::Stopped { .. }), "{tuned:?}");
    let (_, measured) = files(&folder.path().join("tuned"), "full");
    assert_eq!(Database::open_all(&measured).records().count(), first.len());
    let (tuned, second) = run(folder.path(), usize::MAX).map_err(|e| e.to_string())?;
    assert!(matches!(tuned, Tuned::Winner(_)), "{tuned:?}");
    assert!(first.iter().all(|c| !second.contains(c)), "{first:?} {second:?}");
    Ok(())
}

fn one_seed_one_search() -> Outcome {
    let once = || {
        let folder = tempfile::tempdir()?;
        run(folder.path(), usize::MAX)
    };
    let [(a, first), (b, second)] = [once().map_err(|e| e.to_string())?, once().map_err(|e| e.to_string())?];
    assert_eq!(first, second);
    let (Tuned::Winner(a), Tuned::Winner(b)) = (a, b) else {
        return Err("no winner".into());
    };
    assert_eq!(a, b);
    Ok(())
}

/// `einloom tune` as a process, measuring by [`program`].
fn start(folder: &Path, candidates: &str) -> std::io::Result<Child> {
    let output = folder.join("tuned");
    command()
        .current_dir(repo::root())
        .env(METER, program(folder)?)
        .args([
            "tune",
            SPEC,
            "--shape",
            CHOICES,
            "--workers",
            "1",
            "--candidates",
            candidates,
            "-o",
        ])
        .arg(output)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Brief measurements that the meter made.
fn answers(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("answers")).map_or(0, |text| text.lines().count())
}

fn killed_searches_lose_the_measurement_in_flight() -> Outcome {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let (winners, measured) = files(&folder.join("tuned"), "full");
    let timed = || {
        let all = Database::open_all(&measured);
        let count = all
            .records()
            .filter(|r| matches!(r, Record::Measurement(m) if m.status == Status::Timed))
            .count();
        (count, all.problems().len())
    };
    const KILLS: usize = 3;
    for kill in 1..=KILLS {
        let before = timed().0;
        let mut child = start(folder, "1000")?;
        // At least one more record, whatever the machine's speed; the kill comes at another point of the next measurement each time.
        while timed().0 <= before && child.try_wait()?.is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(37 * kill as u64));
        child.kill()?;
        child.wait()?;
        let (kept, damaged) = timed();
        assert!(kept > before, "kill {kill}: {kept} records");
        assert!(
            kept + kill >= answers(folder),
            "kill {kill}: {kept} records of {} measurements",
            answers(folder)
        );
        assert!(damaged <= kill, "kill {kill}: {damaged} damaged lines");
    }
    let before = timed().0;
    assert!(start(folder, "2")?.wait()?.success());
    assert_eq!(Database::open(&winners).winners().len(), 1);
    // What was known was not measured again.
    let all = Database::open_all(&measured);
    let mut schedules: Vec<_> = all.records().filter_map(schedules).collect();
    assert!(schedules.len() > before);
    schedules.sort();
    let count = schedules.len();
    schedules.dedup();
    assert_eq!(schedules.len(), count);
    Ok(())
}

fn schedules(record: &Record) -> Option<&Vec<String>> {
    match record {
        Record::Measurement(m) => Some(&m.schedules),
        Record::Winner(_) => None,
    }
}

fn two_at_once_corrupt_nothing() -> Outcome {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let both = [start(folder, "6")?, start(folder, "6")?];
    for mut child in both {
        assert!(child.wait()?.success());
    }
    let database = Database::open_all(&folder.join("tuned"));
    assert_eq!(database.problems(), []);
    let winners = database.records().filter(|r| matches!(r, Record::Winner(_))).count();
    assert_eq!(winners, 2);
    let timed = database.records().filter(|r| schedules(r).is_some()).count();
    assert_eq!(timed, answers(folder));
    assert!((CANDIDATES..=2 * CANDIDATES).contains(&timed), "{timed}");
    Ok(())
}

/// What lies beside the examples is found for its own spec and shape, and holds for the code that this version generates. Where it does not,
/// the page about tuning says how the files are made again.
fn shipped_schedules_are_used() -> Outcome {
    let folder = repo::root().join("dsl-examples/tuned");
    let database = Database::open(&folder);
    assert_eq!(database.problems(), []);
    let mut left = database.winners();
    let mut wrong: Vec<String> = Vec::new();
    let mut session = Session::new();
    for file in repo::examples() {
        for cascade in session.load(&file)?.cascades {
            let hash = spec_hash(&cascade);
            let (ours, others) = left.into_iter().partition(|w| w.winner.key.spec == hash);
            left = others;
            let ours: Vec<einloom_tune::database::Tuned<'_>> = ours;
            for tuned in ours {
                let winner = tuned.winner;
                let symbols: Option<Vec<i64>> = cascade
                    .symbols
                    .iter()
                    .map(|s| winner.shape.get(&s.name).copied())
                    .collect();
                let symbols = symbols.ok_or("a shape without some extent")?;
                let choice = chosen(&database, &cascade, &winner.key.target, &symbols)?;
                let texts = choice.schedules.map(|all| all.iter().map(to_text).collect::<Vec<_>>());
                if texts.as_ref() != Some(&winner.schedules) {
                    wrong.push(format!(
                        "{}:{}: not used: {}",
                        tuned.file.display(),
                        tuned.line,
                        choice.origin
                    ));
                }
            }
        }
    }
    wrong.extend(
        left.iter()
            .map(|w| format!("{}:{}: of no example", w.file.display(), w.line)),
    );
    none_of(wrong)
}

/// What `compile` takes for this shape.
fn chosen(
    database: &Database,
    cascade: &Cascade,
    target: &str,
    symbols: &[i64],
) -> Result<Choice, Box<dyn std::error::Error>> {
    let plan = pipeline::plan(cascade)?;
    let purpose = Purpose {
        target,
        align: 16,
        symbols,
        device: None,
    };
    Ok(choose(
        database,
        cascade,
        &plan,
        &ShapeClass::aligned(&plan, 16),
        &purpose,
    ))
}

fn other_versions_need_the_same_code() -> Outcome {
    let folder = tempfile::tempdir()?;
    let Subject { cascade, symbols, .. } = subject().map_err(|e| e.to_string())?;
    let (tuned, _) = run(folder.path(), usize::MAX).map_err(|e| e.to_string())?;
    let Tuned::Winner(winner) = tuned else {
        return Err("no winner".into());
    };
    assert!(winner.code.is_some());
    let with = |change: &dyn Fn(&mut Winner)| -> Result<Choice, Box<dyn std::error::Error>> {
        let mut other = *winner.clone();
        change(&mut other);
        let path = tempfile::tempdir()?;
        let file = path.path().join("full.jsonl");
        Writer::open(&file)?.append(&Record::Winner(other))?;
        chosen(&Database::open(&file), &cascade, TARGET, &symbols)
    };
    let check = |choice: Result<Choice, Box<dyn std::error::Error>>, used: bool, words: &str| {
        let choice = choice.map_err(|e| e.to_string())?;
        assert_eq!(choice.schedules.is_some(), used, "{}", choice.origin);
        assert!(choice.origin.contains(words), "{}", choice.origin);
        Ok::<(), String>(())
    };
    check(with(&|_| {}), true, "tuned on Fake GPU")?;
    check(
        with(&|w| w.key.compiler = "0.0.9".to_owned()),
        true,
        "by einloom 0.0.9, whose code is the same",
    )?;
    let changed = |w: &mut Winner| {
        w.key.compiler = "0.0.9".to_owned();
        w.code = Some("other".to_owned());
    };
    check(with(&changed), false, "by einloom 0.0.9, whose code differs")?;
    let unknown = |w: &mut Winner| {
        w.key.compiler = "0.0.9".to_owned();
        w.code = None;
    };
    check(with(&unknown), false, "by einloom 0.0.9, whose code differs")?;
    Ok(())
}

fn no_gpu_is_an_error() -> Outcome {
    let folder = tempfile::tempdir()?;
    let output = folder.path().display().to_string();
    let said = einloom([
        "tune",
        SPEC,
        "--device",
        "cuda:1000",
        "--shape",
        CHOICES,
        "--budget",
        "1s",
        "-o",
        &output,
    ]);
    said.expect(1)?;
    assert!(
        said.stderr.contains("NVIDIA driver") || said.stderr.contains("cuda:1000"),
        "{}",
        said.stderr
    );
    for (args, word) in [(["--device", "cpu"], "tune measures GPUs"), (["--shape", "z=1"], "`z`")] {
        let said = einloom(["tune", SPEC].iter().chain(&args));
        said.expect(1)?;
        assert!(said.stderr.contains(word), "{}", said.stderr);
    }
    let said = einloom(["tune", SPEC, "--budget", "5 parsecs"]);
    said.expect(2)?;
    Ok(())
}
