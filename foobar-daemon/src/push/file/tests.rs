use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A folder with secrets in files.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("token", "t0psecret\n"),
        ("password", "passw0rd"),
        ("url", "https://collector.example/receiver/v1/http/ZaVnC4dhaV1secret==\n"),
        ("empty", "\n"),
        ("lines", "a\nb\n"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn load(folder: &TempDir, text: &str) -> Result<Config, String> {
    let path = folder.path().join("push.toml");
    fs::write(&path, text).unwrap();
    Config::load(&path, &mut Files::default())
}

/// A target with these lines.
fn one(lines: &str) -> String {
    format!("[[target]]\nname = \"t\"\n{lines}\n")
}

#[test]
fn a_file_says_who_gets_what() {
    let folder = folder();
    let config = load(
        &folder,
        "spool = \"waiting\"\n\
         [labels]\ninstance = \"www1\"\n\
         [[target]]\nname = \"sumo\"\nkind = \"sumo\"\nformat = \"carbon2\"\nurl_file = \"url\"\nsource_category = \"prod/foobar\"\n\
         source_fields = { team = \"web\", env = \"prod\" }\n\
         [[target]]\nname = \"center\"\nkind = \"remote-write\"\nurl = \"http://127.0.0.1:9090/api/v1/write\"\ninterval = \"15s\"\n\
         token_file = \"token\"\nseries = [\"foobar_up\", \"foobar_http_*\"]\npoints_per_minute = 5000\n\
         spool = { bytes = \"1MiB\", age = \"1h\" }\n\
         [[target]]\nname = \"otlp\"\nkind = \"otlp\"\nurl = \"http://127.0.0.1:4318/v1/metrics\"\ngzip = false\n\
         basic_auth = { user = \"me\", password_file = \"password\" }\nheaders = { x-tenant = \"a\" }\n",
    )
    .unwrap();
    assert_eq!(config.spool, Some(folder.path().join("waiting")));
    assert_eq!(config.warnings, Vec::<String>::new());
    let labels: Vec<_> = config.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("instance", "www1"), ("job", "foobar")]);
    let [sumo, center, otlp] = &config.targets[..] else { panic!("{config:?}") };
    assert_eq!(sumo.kind, Kind::Sumo(SumoFormat::Carbon2));
    assert_eq!(sumo.endpoint.to_string(), "https://collector.example:443");
    assert_eq!(sumo.endpoint.path_and_query(), "/receiver/v1/http/ZaVnC4dhaV1secret==");
    assert_eq!(sumo.headers["x-sumo-category"], "prod/foobar");
    assert_eq!(sumo.headers["x-sumo-fields"], "env=prod,team=web");
    assert!(sumo.headers.contains_key("x-sumo-host"));
    assert_eq!(sumo.interval, std::time::Duration::from_mins(1));
    assert_eq!(center.headers["authorization"], "Bearer t0psecret");
    assert_eq!((center.points_per_minute, center.spool.bytes), (Some(5000), 1 << 20));
    assert!(center.series.allows("foobar_up") && !center.series.allows("foobar_bans"));
    assert_eq!(otlp.headers["authorization"], "Basic bWU6cGFzc3cwcmQ=");
    assert!(!otlp.gzip);
    // Whoever prints it prints no secret.
    let shown = format!("{config:?}");
    for secret in ["t0psecret", "ZaVnC4dhaV1secret", "bWU6cGFzc3cwcmQ", "passw0rd"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

/// Each row: a text, its place, and what is said.
#[test]
fn every_error_says_where_and_what_to_do_and_no_secret() {
    let folder = folder();
    let (url, kind) = ("url = \"http://localhost/\"", "kind = \"otlp\"");
    let rows = [
        ("[[targets]]".to_owned(), "1:3", "`target`"),
        ("target = 1".to_owned(), "1:10", "expected"),
        ("[labels]\nx = 1".to_owned(), "2:5", "expected a string"),
        ("[labels]\nport = \"1\"".to_owned(), "2:1", "foobar's own series have a label port"),
        ("[labels]\n__x = \"1\"".to_owned(), "2:1", "no label can have the name"),
        ("[labels]\n\"a-b\" = \"1\"".to_owned(), "2:1", "no label can have the name"),
        ("[labels]\na = \"\"".to_owned(), "2:5", "has to have a value"),
        ("[[target]]\nname = \"t\"".to_owned(), "1:1", "missing field `kind`"),
        (one(kind), "1:1", "write url or url_file"),
        (one(&format!("{url}\nkind = \"statsd\"")), "4:8", "or for log records otlp-logs or sumo-logs"),
        (one(&format!("{kind}\n{url}\nname2 = 1")), "5:1", "unknown field `name2`"),
        (format!("[[target]]\nname = \"T\"\n{kind}\n{url}"), "2:8", "write small letters"),
        (format!("[[target]]\nname = \"../x\"\n{kind}\n{url}"), "2:8", "write small letters"),
        (
            one(&format!("{kind}\n{url}\n[[target]]\nname = \"t\"\n{kind}\n{url}")),
            "6:8",
            "another target \"t\"",
        ),
        (one(&format!("{kind}\nurl = \"localhost:80\"")), "4:7", "https://"),
        (one(&format!("{kind}\nurl = \"ftp://s3cret/\"")), "4:7", "https:// or http://"),
        (one(&format!("{kind}\nurl = \"https://me:s3cret@host/\"")), "4:7", "write basic_auth"),
        (one(&format!("{kind}\nurl = \"http://host:99999/s3cret\"")), "4:7", ""),
        (one(&format!("{kind}\nurl = \"http://a b/s3cret\"")), "4:7", "no URL"),
        (one(&format!("{kind}\nurl = [\"s3cret\"]")), "4:7", ""),
        (one(&format!("{kind}\n{url}\nurl_file = \"url\"")), "5:12", "url_file beside url"),
        (one(&format!("{kind}\nurl_file = \"none\"")), "4:12", "No such file"),
        (one(&format!("{kind}\nurl_file = \"empty\"")), "4:12", "one line of text"),
        (one(&format!("{kind}\n{url}\ntoken_file = \"lines\"")), "5:14", "one line of text"),
        (one(&format!("{kind}\n{url}\ninterval = \"0s\"")), "5:12", "from 1s to 1h"),
        (one(&format!("{kind}\n{url}\ninterval = 15")), "5:12", "expected a string"),
        (one(&format!("{kind}\n{url}\nspool = {{ bytes = \"1KiB\" }}")), "5:19", "from 64KiB to 64GiB"),
        (one(&format!("{kind}\n{url}\nspool = {{ age = \"1s\" }}")), "5:17", "from 10s to"),
        (one(&format!("{kind}\n{url}\nspool = {{ size = \"1MiB\" }}")), "5:11", "unknown field `size`"),
        (one(&format!("{kind}\n{url}\nseries = []")), "5:10", "allows no metric"),
        (one(&format!("{kind}\n{url}\nseries = [\"foobar_up\", \"a b\"]")), "5:24", "no metric has a name"),
        (one(&format!("{kind}\n{url}\nseries = [\"node_*\"]")), "5:10", "allows no metric"),
        (one(&format!("{kind}\n{url}\npoints_per_minute = 0")), "5:21", "leave the target out"),
        (one(&format!("{kind}\n{url}\npoints_per_minute = -1")), "5:21", ""),
        (one(&format!("{kind}\n{url}\nformat = \"carbon2\"")), "5:10", "for kind = \"sumo\" alone"),
        (one(&format!("{kind}\n{url}\nsource_fields = {{}}")), "5:17", "for kind = \"sumo\" alone"),
        (one(&format!("kind = \"sumo\"\n{url}\nformat = \"graphite\"")), "5:10", "prometheus or carbon2"),
        (one(&format!("kind = \"sumo\"\n{url}\nsource_fields = {{ a = \"b,c\" }}")), "5:17", "no , or ="),
        (one(&format!("{kind}\n{url}\nlogs = [\"daemon\"]")), "5:8", "write a target for them"),
        (one(&format!("kind = \"otlp-logs\"\n{url}\nlogs = [\"kernel\"]")), "5:9", "daemon or packets"),
        (one(&format!("kind = \"otlp-logs\"\n{url}\nlogs = []")), "5:8", "leave the target out"),
        (one(&format!("kind = \"otlp-logs\"\n{url}\nseries = [\"*\"]")), "5:10", "no series"),
        (one(&format!("kind = \"sumo-logs\"\n{url}\nformat = \"carbon2\"")), "5:10", "lines of JSON always"),
        (one(&format!("kind = \"remote-write\"\n{url}\ngzip = true")), "5:8", "leave gzip out"),
        (one(&format!("{kind}\n{url}\nca_file = \"url\"")), "5:11", "the URL has none"),
        (
            one(&format!("{kind}\nurl = \"https://h/\"\nca_file = \"token\"")),
            "5:11",
            "no certificates in PEM",
        ),
        (one(&format!("{kind}\nurl = \"https://h/\"\ncert_file = \"token\"")), "5:13", "write key_file, too"),
        (
            one(&format!("{kind}\n{url}\nheaders = {{ Authorization = \"Bearer s3cret\" }}")),
            "5:13",
            "token_file",
        ),
        (
            one(&format!("{kind}\n{url}\nheaders = {{ Host = \"x\" }}")),
            "5:13",
            "writes the header host itself",
        ),
        (one(&format!("{kind}\n{url}\nheaders = {{ \"a b\" = \"x\" }}")), "5:13", "invalid"),
        (one(&format!("{kind}\n{url}\nheaders = {{ x = \"s3cret\\u0007\" }}")), "5:17", "no header can have"),
        (one(&format!("{kind}\n{url}\nheaders = \"Authorization: s3cret\"")), "5:11", "expected a map"),
        (
            one(&format!(
                "{kind}\n{url}\ntoken_file = \"token\"\nbasic_auth = {{ user = \"a\", password_file = \"password\" }}"
            )),
            "5:14",
            "beside basic_auth",
        ),
        (
            one(&format!("{kind}\n{url}\nbasic_auth = {{ user = \"a:b\", password_file = \"password\" }}")),
            "5:23",
            "colon",
        ),
        (
            one(&format!("{kind}\n{url}\nbasic_auth = {{ user = \"a\", password = \"s3cret\" }}")),
            "5:28",
            "password_file",
        ),
    ];
    for (text, place, said) in rows {
        let error = load(&folder, &text).err().unwrap_or_else(|| panic!("this is taken: {text}"));
        assert!(error.contains(&format!("push.toml:{place}: ")), "{place} of\n{text}\n{error}");
        assert!(error.contains(said), "{said:?} expected of\n{text}\n{error}");
        assert!(!error.contains("s3cret") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn secrets_in_the_clear_are_warned_of() {
    let folder = folder();
    let lines =
        |host: &str| one(&format!("kind = \"otlp\"\nurl = \"http://{host}/\"\ntoken_file = \"token\""));
    for (host, warned) in [("localhost:1", 0), ("127.0.0.1", 0), ("[::1]:80", 0), ("192.0.2.1", 1), ("h", 1)]
    {
        assert_eq!(load(&folder, &lines(host)).unwrap().warnings.len(), warned, "{host}");
    }
}

#[test]
fn too_much_is_refused() {
    let folder = folder();
    let targets: Vec<String> = (0..=TARGETS_MAX)
        .map(|number| format!("[[target]]\nname = \"t{number}\"\nkind = \"otlp\"\nurl = \"http://h/\"\n"))
        .collect();
    assert!(load(&folder, &targets[1..].concat()).is_ok());
    assert!(load(&folder, &targets.concat()).unwrap_err().contains("17 targets are too many"));
    let labels: Vec<String> = (0..=LABELS_MAX).map(|number| format!("l{number} = \"x\"\n")).collect();
    assert!(load(&folder, &format!("[labels]\n{}", labels.concat())).unwrap_err().contains("30 labels"));
}

proptest! {
    #[test]
    fn noise_is_an_error_and_no_panic(text in "[\\[\\]a-z=\"{}.\n_0-9 #,']{0,200}") {
        let folder = tempfile::tempdir().unwrap();
        if let Err(error) = load(&folder, &text) {
            prop_assert!(error.contains("push.toml:"), "{}", error);
        }
    }
}
