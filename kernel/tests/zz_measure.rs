#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]
use fedsx_kernel::{Cid,activity::Body,log::*,merkle::*};use std::time::Instant;
#[test] fn measure(){
 let dir=tempfile::tempdir().unwrap(); let s=SledStorage::open(dir.path()).unwrap(); let log=s.log();
 let st=Stream::Outbox("alice".parse().unwrap()); let n=1_000_000u64;
 let mut at=0; let t=Instant::now();
 while at<n {let mut b=Batch::default(); for i in at..at+5000{let block=format!("{i:0>400}").into_bytes();let cid=Cid::of_block(&block);b.bodies.push((cid,Body{block,certifies_itself:false,proof:None},None));b.entries.push(Entry{global_seq:i+1,stream:st.clone(),stream_seq:i,cid,first:true,meta:Meta::default()});} log.append(&b).unwrap(); at+=5000;}
 println!("append {n}: {:?}",t.elapsed());
 let l=s.ledgers(); let tree=Tree::new(log.as_ref(),l.as_ref(),&st);
 let t=Instant::now(); tree.catch_up(65_536,256).unwrap(); println!("catch up 65,536: {:?}",t.elapsed());
 let t=Instant::now(); tree.catch_up(n,u64::MAX).unwrap(); println!("catch up the other {}: {:?}",n-65536,t.elapsed());
 let size=n-1;
 let t=Instant::now(); for _ in 0..100{tree.covered().unwrap(); tree.root(size).unwrap();} println!("root: {:?}",t.elapsed()/100);
 let t=Instant::now(); for i in 0..100{tree.inclusion(i*2999,size).unwrap();} println!("inclusion: {:?}",t.elapsed()/100);
 let t=Instant::now(); for i in 0..100{tree.consistency(i*2999+1,size).unwrap();} println!("consistency: {:?}",t.elapsed()/100);
 let t=Instant::now(); for i in 0..100{tree.tile(format!("tile/0/{:03}",i).parse().unwrap(),size).unwrap();} println!("tile: {:?}",t.elapsed()/100);
 let kept:usize=l.scan(b"merkle\0",None,100000).unwrap().iter().map(|(k,v)|k.len()+v.len()).sum(); println!("kept {kept} bytes = {} per entry",kept as f64/n as f64);
 let t=Instant::now(); let mut c=TreeChecks::new(l.as_ref()); let mut after=0; let mut hash=std::time::Duration::ZERO; loop{let p=log.read(after,512).unwrap(); if p.is_empty(){break} after=p.last().unwrap().global_seq; let h=Instant::now(); for e in &p{c.entry(e).unwrap();} hash+=h.elapsed();} println!("check: {:?} of which hashing {:?}; {:?}",t.elapsed(),hash,c.finish().unwrap().len());
}
