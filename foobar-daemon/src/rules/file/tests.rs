use super::*;

#[test]
fn demo() {
    let text = r#"
[policy]
in = "dorp"
adopt = "30s"
x = 1
[failsafe]
ports = [22, "443/tcp", "tcp/1-2"]
peers = ["10.0.0.1/8", "::ffff:1.2.3.4", "@a"]
[sets.a]
entries = ["1.2.3.0/25", "1.2.3.4/8", "foo", "10.0.0.0/255.0.0.0"]
[sets.b]
[[service]]
name = "www"
port = ["tcp/443", "tcp/443"]
require_tls = true
[[rule]]
id = "a b"
[[rule]]
id = "web"
action = "reject"
source = ["@officez", "!@a", "1.2.3.4", 7]
destination = "2001:db8::1"
protocol = ["tcp", "upd"]
destination_port = [80, "90-80", 70000, true]
tcp_flags = { set = ["sin"], clear = [] }
icmp = "8"
state = ["new"]
vlan = 5000
fragment = "x"
interface = "a/b"
length = "10-"
[[rule]]
id = "web"
action = "drop"
port = 1
protcol = "tcp"
"#;
    let error = Bundle::of_text("r.toml", text).parse().unwrap_err();
    println!("{}", FileErrors::new(error.errors().to_vec()));
    for error in error.errors() {
        println!("{error}");
    }
    println!("{}", Bundle::of_text("r.toml", "a = 1\nb = [1.2.3.4, foo]\n[x\ny = \"\n").parse().unwrap_err());
    println!("{}", Bundle::of_text("r.toml", "# x").parse().unwrap_err());
    println!(
        "{}",
        Bundle::of_text("r.toml", "schema = 1\nrule = 3\nservice = [1]\npolicy = []\n[[sets]]\n")
            .parse()
            .unwrap_err()
    );
    println!(
        "{}",
        Bundle::of_text("r.toml", "schema = 2\nrule = 3\nservice = [1]\npolicy = []\n[[sets]]\n")
            .parse()
            .unwrap_err()
    );
}
