use foobar_daemon::{rules::{compile::compile, model::*}, slots::Slots, dataplane::load::LoadedRuleset};
use foobar_common::verdict::Verdict;
use std::collections::*;
fn main() -> anyhow::Result<()> {
    for full in [false, true] {
        let mut rs = Ruleset::default();
        let mut r = Rule::new("web", Verdict::Accept); r.destination_port = Some(vec![80..=80, 443..=443]);
        if full {
            r.source = Some(AddressCondition{ include: vec![AddressMatch::Prefix("10.0.0.0/8".parse()?), AddressMatch::Prefix("2001:db8::/32".parse()?)], exclude: vec![AddressMatch::Prefix("10.9.0.0/16".parse()?)]});
            r.destination = Some(AddressCondition{ include: vec![AddressMatch::Prefix("192.0.2.0/24".parse()?)], exclude: vec![]});
            r.source_port = Some(vec![1024..=65535]); r.protocol = Some(BTreeSet::from([6]));
            r.tcp_flags = Some(FlagCondition{ set: 2, clear: 0x10 }); r.vlan=None; r.length = Some(20..=1500);
            let mut v = Rule::new("v", Verdict::Drop); v.vlan = Some(BTreeSet::from([10])); v.interface = Some(BTreeSet::from(["eth0".to_string()]));
            rs.rules.push(v);
            rs.policy.fragments = FragmentPolicy::Always(Verdict::Drop);
        }
        rs.policy.inbound = Verdict::Drop;
        rs.rules.push(r);
        let slots = Slots::for_once(&rs, &["eth0".into()])?;
        let t = std::time::Instant::now();
        let c = compile(&rs, &slots)?;
        println!("compile {:?} classes {}", t.elapsed(), c.classes.len());
        let t = std::time::Instant::now();
        let mut l = LoadedRuleset::for_test_runs(&c, "eth0")?;
        println!("load {:?} {:?}", t.elapsed(), l.facts()?);
        let mut f = vec![2u8,0,0,0,0,1,2,0,0,0,0,2,8,0, 0x45,0,0,40,0,0,0,0,64,6,0,0, 10,1,2,3, 192,0,2,1, 0x9c,0x40, 0,80, 0,0,0,1,0,0,0,0,0x50,2,4,0,0,0,0,0];
        println!("{:?}", l.judge(&f)?);
        f[37]=81; println!("{:?}", l.judge(&f)?);
        f[37]=80; f[27]=9; println!("{:?}", l.judge(&f)?);
        println!("{:#?}", l.counters()?);
        println!("{:?}", l.map_memory()?);
    }
    Ok(())
}
