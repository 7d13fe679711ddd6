//! The commands of `nyala` that talk to a cluster, as a user or a script runs them.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::cluster::{Dev, DevOptions, nyala, nyala_binary};
use harness::ports::free_port;
use harness::process::{Ended, Process};
use harness::wait;

fn start() -> Dev {
    Dev::start_with(DevOptions::default())
}

/// Runs with `--bootstrap` of this broker.
fn on(dev: &Dev, args: &[&str]) -> Ended {
    let bootstrap = dev.bootstrap();
    nyala(dev.folder(), &[args, &["--bootstrap", &bootstrap]].concat())
}

/// Runs with `--zookeeper` of this installation.
fn natively(dev: &Dev, args: &[&str]) -> Ended {
    nyala(
        dev.folder(),
        &[args, &["--zookeeper", dev.zookeeper()]].concat(),
    )
}

/// Runs through the shell, so that bytes go through pipes and files as they are.
fn shell(folder: &Path, script: &str) -> Ended {
    let mut command = Command::new("sh");
    command.current_dir(folder).args(["-c", script]);
    command.env("NYALA", nyala_binary());
    Process::start("shell", folder, &mut command).wait(wait::SOON)
}

#[test]
fn a_large_file_comes_out_as_it_went_in_on_both_ways() {
    let dev = start();
    let mut bytes = Vec::new();
    for n in 0..300_000_u32 {
        bytes.extend(format!("Package: name-{n}\r").bytes());
        if n % 1000 == 0 {
            bytes.extend([0xff, 0xfe, 0, b'\t']);
        }
        bytes.push(b'\n');
    }
    bytes.extend(b"\n\nlast\n");
    std::fs::write(dev.folder().join("in"), &bytes).expect("writable");
    let ways = [
        format!("--bootstrap {}", dev.bootstrap()),
        format!("--zookeeper {}", dev.zookeeper()),
    ];
    for (number, way) in ways.iter().enumerate() {
        let script = format!(
            "$NYALA produce big{number} --file in {way} && \
             $NYALA consume big{number} --from-beginning --max-messages 300003 {way} > out{number}"
        );
        shell(dev.folder(), &script).expect_success(&script);
        let out = std::fs::read(dev.folder().join(format!("out{number}"))).expect("written");
        assert!(
            out == bytes,
            "{way}: {} bytes of {}",
            out.len(),
            bytes.len()
        );
    }
}

#[test]
fn topics_are_made_shown_changed_and_deleted() {
    let dev = start();
    let create = [
        "topic",
        "create",
        "t",
        "--partitions",
        "2",
        "--config",
        "retention.ms=60000",
    ];
    let made = on(&dev, &[&create[..], &["--json"]].concat()).expect_success("create");
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    assert_eq!(
        (&made["topic"], &made["partitions"]),
        (&"t".into(), &2.into())
    );
    let again = on(&dev, &create);
    assert!(!again.status.success());
    assert!(
        again.stderr.contains("TOPIC_ALREADY_EXISTS"),
        "{}",
        again.stderr
    );
    assert_eq!(on(&dev, &["topic", "list"]).expect_success("list"), "t\n");
    let alter = [
        "topic",
        "alter",
        "t",
        "--partitions",
        "3",
        "--config",
        "retention.ms=70000",
    ];
    on(&dev, &alter).expect_success("alter");
    let shown = on(&dev, &["topic", "describe", "t", "--json"]).expect_success("describe");
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown[0]["config"]["retention.ms"], "70000");
    assert_eq!(shown[0]["partitions"].as_array().map(Vec::len), Some(3));
    let unset = ["topic", "alter", "t", "--delete-config", "retention.ms"];
    natively(&dev, &unset).expect_success("alter");
    let shown = natively(&dev, &["topic", "describe"]).expect_success("describe");
    assert!(!shown.contains("retention.ms"), "{shown}");
    on(&dev, &["topic", "delete", "t"]).expect_success("delete");
    assert_eq!(on(&dev, &["topic", "list"]).expect_success("list"), "");
    let gone = on(&dev, &["topic", "delete", "t"]);
    assert!(
        !gone.status.success() && gone.stderr.contains("topic t"),
        "{}",
        gone.stderr
    );
}

#[test]
fn keys_partitions_and_offsets_are_printed_on_request() {
    let dev = start();
    std::fs::write(dev.folder().join("pairs"), "a=1\nno key\nb=2=3\n").expect("writable");
    let args = [
        "produce",
        "pairs",
        "--file",
        "pairs",
        "--key-separator",
        "=",
    ];
    let produced = on(&dev, &args);
    assert!(!produced.status.success(), "a line was refused");
    assert!(
        produced.stderr.contains("line 2: no key"),
        "{}",
        produced.stderr
    );
    assert!(
        produced.stderr.contains("1 record was refused"),
        "{}",
        produced.stderr
    );
    let show = ["--print-key", "--print-partition", "--print-offset"];
    let args = [
        "consume",
        "pairs",
        "--from-beginning",
        "--max-messages",
        "2",
    ];
    let read = on(&dev, &[&args[..], &show].concat()).expect_success("consume");
    assert_eq!(read, "0\t0\ta\t1\n0\t1\tb\t2=3\n");
    let read = on(&dev, &[&args[..], &["--json"]].concat()).expect_success("consume");
    let first = read.lines().next().unwrap_or_default();
    let first: serde_json::Value = serde_json::from_str(first).expect("JSON");
    assert_eq!((&first["key"], &first["value"]), (&"a".into(), &"1".into()));
}

#[test]
fn a_group_goes_on_where_it_stopped_and_can_be_set_back() {
    let dev = start();
    let text: String = (0..10).map(|n| format!("{n}\n")).collect();
    std::fs::write(dev.folder().join("ten"), text).expect("writable");
    on(&dev, &["produce", "ten", "--file", "ten"]).expect_success("produce");
    for run in [on, natively] {
        let consume = |count: &str| {
            let args = ["consume", "ten", "--group", "g", "--from-beginning"];
            run(&dev, &[&args[..], &["--max-messages", count]].concat()).expect_success("consume")
        };
        assert_eq!(consume("4"), "0\n1\n2\n3\n");
        assert_eq!(consume("3"), "4\n5\n6\n");
        let listed = run(&dev, &["group", "list", "--json"]).expect_success("list");
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        assert_eq!(listed[0]["group"], "g");
        let shown = run(&dev, &["group", "describe", "g", "--json"]).expect_success("describe");
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        let row = &shown["partitions"][0];
        assert_eq!((&row["offset"], &row["lag"]), (&7.into(), &3.into()));
        let reset = ["group", "reset-offsets", "g", "--shift-by", "-5"];
        run(&dev, &reset).expect_success("reset");
        assert_eq!(consume("2"), "2\n3\n");
        run(&dev, &["group", "delete", "g"]).expect_success("delete");
        let gone = run(&dev, &["group", "describe", "g"]);
        assert!(!gone.status.success(), "{}", gone.stdout);
    }
}

#[test]
fn errors_say_what_happened_to_what_and_what_to_do() {
    let dev = start();
    let nobody = format!("127.0.0.1:{}", free_port());
    let ended = nyala(dev.folder(), &["topic", "list", "--bootstrap", &nobody]);
    assert!(!ended.status.success());
    assert!(ended.stderr.contains(&nobody), "{}", ended.stderr);
    assert!(ended.stderr.contains("nyala dev"), "{}", ended.stderr);
    let ended = on(&dev, &["consume", "missing", "--from-beginning"]);
    assert!(!ended.status.success());
    assert!(
        ended.stderr.contains("nyala topic create missing"),
        "{}",
        ended.stderr
    );
    let ended = on(&dev, &["produce", "t", "--file", "absent"]);
    assert!(
        !ended.status.success() && ended.stderr.contains("absent"),
        "{}",
        ended.stderr
    );
    let ended = on(&dev, &["topic", "create", "bad/name"]);
    assert!(
        !ended.status.success() && ended.stderr.contains("bad/name"),
        "{}",
        ended.stderr
    );
    let taken = dev.bootstrap();
    let port = taken.rsplit(':').next().unwrap_or_default();
    let args = [
        "dev",
        "--data",
        "other",
        "--port",
        port,
        "--zookeeper-port",
        "0",
    ];
    let ended = nyala(dev.folder(), &args);
    assert!(!ended.status.success());
    assert!(ended.stderr.contains(&taken), "{}", ended.stderr);
    assert!(ended.stderr.contains("another port"), "{}", ended.stderr);
    let file = dev.folder().join("server.properties");
    let check = ["broker", "--config", "server.properties", "--check"];
    std::fs::write(
        &file,
        "broker.id=7\nzookeeper.connect=127.0.0.1:1\nno.such.key=1\n",
    )
    .expect("its folder");
    let ended = nyala(dev.folder(), &check);
    let succeeded = ended.status.success();
    assert!(
        succeeded && ended.stderr.contains("no.such.key"),
        "{}",
        ended.stderr
    );
    std::fs::write(
        &file,
        "broker.id=7\nzookeeper.set.acl=true\nnum.partitions=0\n",
    )
    .expect("its folder");
    let ended = nyala(dev.folder(), &check);
    assert!(!ended.status.success());
    for key in ["zookeeper.set.acl", "num.partitions"] {
        assert!(ended.stderr.contains(key), "{}", ended.stderr);
    }
    std::fs::write(&file, "broker.id=7\n").expect("its folder");
    let ended = nyala(dev.folder(), &check);
    assert!(!ended.status.success());
    assert!(
        ended.stderr.contains("zookeeper.connect"),
        "{}",
        ended.stderr
    );
    on(&dev, &["topic", "create", "short"]).expect_success("create");
    let args = [
        "consume",
        "short",
        "--max-messages",
        "1",
        "--timeout-ms",
        "200",
    ];
    let ended = on(&dev, &args);
    assert!(!ended.status.success(), "fewer records than asked for");
    assert!(ended.stderr.contains("only 0 of the 1"), "{}", ended.stderr);
}

#[test]
fn a_session_that_zookeeper_makes_shorter_is_told_at_start() {
    let mut dev = Dev::start_with_overrides(&["zookeeper.session.timeout.ms=100000"]);
    let told = dev.process().stderr();
    let words = "not a zookeeper.session.timeout.ms of 100s";
    assert!(told.contains(words), "{told}");
    let mut usual = start();
    let told = usual.process().stderr();
    assert!(!told.contains("ZooKeeper grants"), "{told}");
}

#[test]
fn who_waits_for_a_topic_that_nobody_makes_is_told() {
    let dev = Dev::start_with(DevOptions {
        overrides: vec!["auto.create.topics.enable=false".to_owned()],
        ..DevOptions::default()
    });
    std::fs::write(dev.folder().join("line"), "a\n").expect("writable");
    let args = ["produce", "gone", "--file", "line", "--timeout", "7"];
    for ended in [on(&dev, &args), natively(&dev, &args)] {
        assert!(!ended.status.success());
        let told = ended.stderr.matches("no topic gone, still trying").count();
        assert_eq!(told, 1, "{}", ended.stderr);
    }
}

#[test]
fn a_record_that_may_have_been_written_is_not_called_refused() {
    let mut dev = start();
    let (input, mut writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(nyala_binary());
    command.args(["produce", "doubt", "--timeout", "4"]);
    command.args(["--bootstrap", &dev.bootstrap()]);
    let mut produce =
        Process::start_reading("produce", dev.folder(), &mut command, Stdio::from(input));
    writer.write_all(b"a\n").expect("it reads");
    let args = ["consume", "doubt", "--from-beginning", "--max-messages"];
    on(&dev, &[&args[..], &["1"]].concat()).expect_success("consume");
    dev.pause();
    writer.write_all(b"b\n").expect("it reads");
    drop(writer);
    let ended = produce.wait(wait::SOON);
    dev.resume();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    for words in [
        "produced 1 record,",
        "line 2 is not acknowledged yet",
        "it may have been written",
        "1 record was not acknowledged and may have been written",
    ] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("refused"), "{}", ended.stderr);
}

#[test]
fn who_waits_for_acknowledgements_is_told_why_and_a_signal_ends_it() {
    let mut dev = start();
    let (input, mut writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(nyala_binary());
    command.args(["produce", "gone", "--bootstrap", &dev.bootstrap()]);
    let mut produce =
        Process::start_reading("produce", dev.folder(), &mut command, Stdio::from(input));
    writer.write_all(b"a\n").expect("it reads");
    let args = ["consume", "gone", "--from-beginning", "--max-messages", "1"];
    on(&dev, &args).expect_success("consume");
    dev.kill();
    writer.write_all(b"b\nc\nd\n").expect("it reads");
    drop(writer);
    let address = dev.bootstrap();
    wait::until("the reason", || {
        let told = produce.stderr();
        let begin = "line 2 is not acknowledged yet (up to 2 more behind it): ";
        let mut reasons = told.lines().filter_map(|line| line.split_once(begin));
        let found = reasons.any(|(_, reason)| reason.contains(&address));
        found.then_some(()).ok_or(told)
    });
    produce.signal(rustix::process::Signal::TERM);
    let ended = produce.wait(wait::SOON / 2);
    assert_eq!(ended.status.signal(), Some(15), "{ended:?}");
    let left = "not acknowledged but possibly written: 3 records";
    assert!(ended.stderr.contains(left), "{}", ended.stderr);
}

#[test]
fn a_reader_that_goes_away_ends_the_command() {
    let dev = start();
    std::fs::write(dev.folder().join("three"), "a\nb\nc\n").expect("writable");
    on(&dev, &["produce", "three", "--file", "three"]).expect_success("produce");
    let bootstrap = dev.bootstrap();
    let script = format!("$NYALA consume three --from-beginning --bootstrap {bootstrap} | head -1");
    let printed = shell(dev.folder(), &script).expect_success(&script);
    assert_eq!(printed, "a\n");
}

#[test]
fn an_interrupt_ends_well_and_keeps_what_was_printed() {
    let dev = start();
    std::fs::write(dev.folder().join("three"), "a\nb\nc\n").expect("writable");
    on(&dev, &["produce", "three", "--file", "three"]).expect_success("produce");
    let mut command = Command::new(nyala_binary());
    command.args(["consume", "three", "--group", "g", "--from-beginning"]);
    command.args(["--zookeeper", dev.zookeeper()]);
    let mut reader = Process::start("reader", dev.folder(), &mut command);
    wait::until("three lines", || {
        let out = reader.stdout();
        (out == "a\nb\nc\n").then_some(()).ok_or(out)
    });
    reader.signal(rustix::process::Signal::INT);
    let ended = reader.wait(wait::SOON);
    assert!(ended.status.success(), "{ended:?}");
    let shown = natively(&dev, &["group", "describe", "g", "--json"]).expect_success("describe");
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["partitions"][0]["offset"], 3);
    assert_eq!(shown["members"], 0);
}

#[test]
fn an_interrupt_before_the_end_that_was_asked_for_is_told_to_the_shell() {
    let dev = start();
    let (input, mut writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(nyala_binary());
    command.args(["produce", "half", "--zookeeper", dev.zookeeper()]);
    let mut produce =
        Process::start_reading("produce", dev.folder(), &mut command, Stdio::from(input));
    writer.write_all(b"a\nb").expect("it reads");
    let consume = |name: &str, flags: &[&str]| {
        let mut command = Command::new(nyala_binary());
        command.args(["consume", "half", "--from-beginning"]);
        command.args(["--zookeeper", dev.zookeeper()]).args(flags);
        let reader = Process::start(name, dev.folder(), &mut command);
        wait::until("a line", || {
            let out = reader.stdout();
            (out == "a\n").then_some(()).ok_or(out)
        });
        reader
    };
    let two = consume("two", &["--max-messages", "2"]);
    let quiet = consume("quiet", &["--timeout-ms", "60000"]);
    for process in [&mut produce, &mut { two }, &mut { quiet }] {
        process.signal(rustix::process::Signal::INT);
        let ended = process.wait(wait::SOON);
        assert_eq!(ended.status.signal(), Some(2), "{ended:?}");
    }
    assert!(produce.stderr().contains("produced 1 record,"));
}
