//! Exit codes and streams of what needs no service, or nothing but a store.

use std::io::Read;
use std::process::Stdio;

use serde_json::Value;

use super::{Answer, Shell};
use crate::harness::database::TestDb;

#[tokio::test]
async fn help_and_version_are_answers_and_mistakes_are_64() {
    let shell = Shell::alone();
    for question in [&["--help"][..], &["--version"], &["contacts", "--help"], &["help", "report"]] {
        let answer = shell.run(question).await;
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{question:?}");
        assert!(!answer.stdout.is_empty());
    }
    for mistake in [
        &[][..],
        &["fly"],
        &["report"],
        &["report", "x", "--format", "pdf"],
        &["dead", "drop"],
        &["dead", "retry", "a", "--all"],
        &["resolve", "a", "b", "perhaps"],
        &["--config"],
    ] {
        shell.run(mistake).await.failed(64, "");
    }
}

#[tokio::test]
async fn a_configuration_that_is_wrong_or_missing_is_64_for_every_command() {
    let shell = Shell::alone();
    shell.write("bad.toml", "[store]\nurl = \"postgres://u:hunter2@h/d\"\n[tracing]\n");
    for command in [&["run"][..], &["check"], &["migrate"], &["campaigns"], &["dead", "list"]] {
        let bad = shell.run(&[&["--config", "bad.toml"], command].concat()).await;
        bad.failed(64, "bad.toml:3: tracing: unknown key; did you mean `tracking`?");
        assert!(!bad.stderr.contains("hunter2"));
        shell
            .run(&[&["--config", "nowhere.toml"], command].concat())
            .await
            .failed(64, "nowhere.toml: cannot be read");
    }
}

#[tokio::test]
async fn check_holds_templates_to_the_channels_rules() {
    let shell = Shell::alone();
    let config = "[store]\nurl = \"sqlite:data/c.db\"\n[http]\npublic_url = \"https://x.example\"\n\
                  [channels.sms]\nproviders = \"sandbox\"\nrules = \"china\"\n[providers.sandbox]\nkind = \"sandbox\"\n";
    shell.write("config.toml", config);
    shell.write("templates/sale/template.toml", "[sms]\ntext = \"【Shop】{{name}}, hello\"\n");
    let warned = shell.run(&["check"]).await;
    assert_eq!(warned.code, 0, "{warned:?}");
    assert!(
        warned.stderr.contains("sale/template.toml:2: `text`: the channel's rules want marketing"),
        "{warned:?}"
    );
    shell.write(
        "templates/sale/template.toml",
        "[sms]\ntext = \"{{name}}, hello\"\n[en.sms]\ntext = \"Hello\"\n",
    );
    for command in ["check", "run"] {
        let refused = shell.run(&[command]).await;
        refused.failed(64, "sale/template.toml:4: `text`: the channel's rules want a signature");
    }
}

#[tokio::test]
async fn check_finds_everything_at_once_and_connects_to_nothing() {
    let shell = Shell::alone();
    let good = shell.run(&["check"]).await;
    assert_eq!(
        (good.code, good.stdout.as_str()),
        (0, "config.toml and 1 template: nothing is wrong\n"),
        "{good:?}"
    );

    shell.write("config.toml", "[store]\nurl = \"nothing\"\nsize = 1\n[http]\npublic = 8080\n");
    shell.write("templates/bad/template.toml", "[email]\nsubjct = \"x\"\n");
    shell.write("templates/worse/template.toml", "[email]\nsubject = \"{{#if}}\"\nhtml = \"gone.html\"\n");
    let bad = shell.run(&["check"]).await;
    for problem in ["store.url", "store.size", "http.public", "bad/template.toml:2", "worse/template.toml"] {
        bad.failed(64, problem);
    }
    let json = shell.run(&["check", "--json"]).await;
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &answer["ok"]), (64, &Value::Bool(false)));
    assert!(answer["problems"].as_array().unwrap().len() >= 5, "{answer}");
}

#[tokio::test]
async fn what_check_finds_keeps_the_daemon_from_starting() {
    let shell = Shell::alone();
    shell.write("templates/bad/template.toml", "[email]\nsubjct = \"x\"\n");
    shell.run(&["run"]).await.failed(64, "error: bad/template.toml:2");
    let shell = Shell::new(
        "postgres://u:p@127.0.0.1:1/d",
        "[providers.other]\nkind = \"smtp\"\nhost = \"mx.example\"\nfrom = \"a@b.example\"\nca_file = \"gone.pem\"\n",
    );
    shell
        .run(&["run"])
        .await
        .failed(64, "error: config.toml: providers.other: cannot read certificates from gone.pem");
}

#[tokio::test]
async fn a_store_that_is_away_is_named_without_its_password() {
    let away = Shell::alone().run(&["campaigns"]).await;
    away.failed(1, "error: PostgreSQL at 127.0.0.1:1, database `none`: the store is away");
    assert!(!away.stderr.contains("hunter2"));
    assert_eq!(away.stderr.matches("refused").count(), 1, "{away:?}");
    assert_eq!(away.stderr.lines().count(), 1, "{away:?}");
}

#[tokio::test]
async fn a_taken_port_is_told_with_its_key_and_what_to_do() {
    let db = TestDb::create().await;
    let shell = Shell::new(&db.url(), "");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (key, other) in [("http.public", "http.admin"), ("http.admin", "http.public")] {
        let mut command = shell.command(&["run"]);
        let variable = |key: &str| format!("CAMPAIGND__{}", key.to_uppercase().replace('.', "__"));
        command.env(variable(key), &address).env(variable(other), "127.0.0.1:0");
        let answer =
            tokio::task::spawn_blocking(move || Answer::of(command.output().unwrap())).await.unwrap();
        answer.failed(1, &format!("error: {key}: {address} is taken by another program"));
        answer.failed(1, &format!("set another address as `{key}`"));
    }
}

#[tokio::test]
async fn completions_and_manual_pages_know_every_command() {
    let shell = Shell { dir: tempfile::tempdir().unwrap() };
    for name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = shell.run(&["completions", name]).await;
        assert_eq!((script.code, script.stderr.as_str()), (0, ""), "{name}");
        assert!(script.stdout.contains("send-test") && script.stdout.contains("enqueue"), "{name}");
    }
    shell.run(&["completions", "tcsh"]).await.failed(64, "possible values");

    let page = shell.run(&["man"]).await;
    assert_eq!((page.code, page.stderr.as_str()), (0, ""));
    assert!(
        page.stdout.contains(".TH campaignd 1") && page.stdout.contains("campaignd\\-enqueue(1)"),
        "{page:?}"
    );
    assert_eq!(shell.run(&["man", "--dir", "pages/man1"]).await.code, 0);
    let page =
        std::fs::read_to_string(shell.dir.path().join("pages/man1/campaignd-contacts-import.1")).unwrap();
    assert!(
        page.contains("state that these people agreed") || page.contains("State that these people agreed")
    );
    shell.write("file", "");
    shell.run(&["man", "--dir", "file"]).await.failed(1, "cannot write manual pages into file");
}

#[tokio::test]
async fn schema_and_metrics_answer_from_memory() {
    let shell = Shell { dir: tempfile::tempdir().unwrap() };
    let schema = shell.json(&["schema"]).await;
    assert_eq!(schema["title"], "campaignd job");
    let metrics = shell.json(&["metrics"]).await;
    let names: Vec<&str> =
        metrics.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    let table = shell.run(&["metrics"]).await.stdout;
    assert!(names.len() > 30 && names.iter().all(|name| table.contains(name)), "{table}");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let shell = Shell::alone();
    let mut command = shell.command(&["schema"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn commands_without_their_service_say_what_to_set() {
    let shell = Shell::alone();
    shell.run(&["dead", "list"]).await.failed(64, "set `url` under [amqp]");
    let answer: Answer = shell.run(&["send-test", "hello", "--to", "nobody", "--contact", "C-1"]).await;
    answer.failed(64, "--to: not a valid email address");
    shell.run(&["suppress", "add", "oABC"]).await.failed(64, "--channel");
}
