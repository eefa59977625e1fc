//! What the labels of metrics can be.

/// What each label can be; the same wherever it stands.
pub(super) const LABELS: &[(&str, &str)] = &[
    ("action", "what became of the packet: `accept`, `drop`, `reject` or `answer`"),
    (
        "alpn",
        "`h2`, `http/1.1`, `other` or `none`: the server's choice, where it is secret the client's first wish",
    ),
    ("answer", "what a rejected packet was answered with: `tcp_reset`, `icmp` or `icmpv6`"),
    (
        "app",
        "`tls`, `http1`, `h2c`, `mysql` or `other`; `unknown` for a service of raw, of which nothing is read; where TLS is to be spoken, `http1` is HTTP of any version",
    ),
    (
        "cause",
        "why a rejected packet was not answered: `not_allowed` (an ICMP error, a RST, a later fragment, one from or to many, or no IP at all), `rate` (`policy.reject_rate`) or `internal` (the kernel could not make the answer of it); why a SYN was not answered with a cookie: `inactive`, `no_listener`, `connection`, `refused`, `header`, `route` or `frame` (see rules/README.md)",
    ),
    (
        "class",
        "`1xx`, `2xx`, `3xx`, `4xx` or `5xx`; `unknown` for a status that HTTP/2 gives in a way that could not be told",
    ),
    (
        "collector",
        "`counters` (read from the BPF maps), `daemon` (asked of the daemon's writer) `connections` (asked of the kernel: without an answer, there are no metrics of open connections) or `host` (read from `/proc`)",
    ),
    (
        "command",
        "`query`, `prepare`, `execute`, `fetch`, `long_data`, `close`, `reset`, `init_db`, `ping`, `quit`, `change_user`, `reset_connection`, `field_list`, `statistics`, `binlog_dump` or `other`",
    ),
    ("compression", "`yes` or `no`"),
    ("direction", "`in`: from the network to the server; `out`: from the server"),
    ("disk", "name of a whole disk of the machine that was used: there are at most 32"),
    ("encryption", "`tls`, or `none`; `unknown` for a service of raw"),
    ("endpoint", "a member of etcd as `--rules` names it, with its port: there are at most nine"),
    ("family", "name of a metric"),
    ("hash", "SHA-256 in hexadecimal digits"),
    ("header", "`none`, `v1`, `v2`, or `cut`: not in one segment, so that the connection is not followed"),
    ("iface", "name of an interface of `--interface`, or `other`: there are at most eight and `other`"),
    ("ip", "`4` or `6`"),
    ("kind", "of bans: `address` or `prefix`; of flows: `begun`, `proved` or `unproved`"),
    ("l4", "`tcp`, `udp`, `sctp`, `icmp`, `icmpv6` or `other`"),
    ("map", "name of a BPF map"),
    (
        "method",
        "`GET`, `HEAD`, `POST`, `PUT`, `DELETE`, `CONNECT`, `OPTIONS`, `TRACE`, `PATCH` or `_OTHER`; `unknown` for one that HTTP/2 gives in a way that could not be told",
    ),
    (
        "mode",
        "of a program: `native` or `generic`; of processors: `user`, `nice`, `system`, `idle`, `iowait`, `irq`, `softirq` or `steal`",
    ),
    ("name", "a name of --certificate: there are at most 64"),
    ("object", "where the BPF object of this foobar comes from"),
    (
        "op",
        "`read`, `write`, `ddl`, `tx`, `other` or `unknown`, by the first words of the statement: see rules/README.md; of disks: `read` or `write`",
    ),
    ("part", "`total`, `free`, `available`, `buffers`, `cached`, `swap_total` or `swap_free`"),
    ("path", "`/`, and the state folder"),
    ("peer", "name of a group of `[peers]`, or `other`: there are at most three and `other`"),
    ("port", "port number of a configured service, or `other`: there are at most 32 and `other`"),
    ("program", "name of a BPF program"),
    (
        "proto",
        "what is spoken on the port: `http1`, `h2c`, `tls`, `mysql` or `dns`; inside of TLS, where a service has `decrypt_by`: `https`, under its first port",
    ),
    (
        "qtype",
        "`A`, `AAAA`, `HTTPS`, `MX`, `NS`, `PTR`, `SOA`, `TXT`, or `other`, also of updates and notifications",
    ),
    (
        "rcode",
        "`noerror`, `formerr`, `servfail`, `nxdomain`, `notimp`, `refused`, `yxdomain`, `yxrrset`, `nxrrset`, `notauth`, `notzone` or `other`",
    ),
    (
        "reason",
        "of a packet and of what could not be followed: see below; of a fallback: `driver`, `mtu`, `other_program`, `permission`, `adopted` or `other`; of a failed comparison: `connect`, `timeout`, `status`, `answer`, `login`, `credentials` or `counters`; of points that are lost: `budget` (more than `points_per_minute`), `bytes` (the spool was full), `age` (they had waited too long), `refused` (by the target), `given_up` (the target failed in a way that its protocol says not to try again), `broken` (the file was not what had been written), `disk` (it took nothing) or `kind` (they were gathered for another kind of target); of requests that failed: `connect`, `tls`, `timeout`, `answer`, `status` or `throttled`",
    ),
    ("rule", "`id` of a rule in force: there are at most 131,072"),
    ("server", "name of a service that is a database"),
    (
        "service",
        "name of a service with `reconcile`; of several that have the same server, all with commas between",
    ),
    ("source", "whose count is compared: `nginx` or `mysql`"),
    ("span", "`1m`, `5m` or `15m`"),
    ("state", "`framed` or `lost`"),
    ("target", "name of a target of the push file: there are at most 16"),
    (
        "version",
        "of foobar, or of TLS: `ssl3` (or older), `tls1.0`, `tls1.1`, `tls1.2` or `tls1.3` (or newer)",
    ),
    (
        "where",
        "`ring`: the buffer in the kernel was full; `watcher`: `foobar watch` was slow, counted for each one that was; `unwatched`: nobody watched, so that these are no loss",
    ),
];
