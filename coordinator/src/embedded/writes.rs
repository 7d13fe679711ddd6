//! Changes: single operations and multi, through one [`Transaction`] each.
//!
//! A part of the engine: called under its lock, writes the body of the answer.

use super::engine::{Engine, Failure, Now};
use super::entry::Action;
use super::records::{ErrorCode, Stat};
use super::requests::{Create, CreateOp, WriteOp};
use super::transaction::Transaction;
use super::watches::ConnectionId;
use crate::protocol::jute::Writer;

/// What an operation gives back.
#[derive(Debug)]
enum Done {
    Path(String),
    PathAndStat(String, Stat),
    Stat(Stat),
    /// A delete or a check: the kind of operation is all there is to say.
    Nothing {
        op: i32,
    },
}

impl Engine {
    /// One operation; what it gives back goes into `w`.
    pub(super) fn write(
        &mut self,
        id: ConnectionId,
        op: &WriteOp,
        now: Now,
        w: &mut Writer,
    ) -> Result<(), Failure> {
        let done = self.transact(id, std::slice::from_ref(op), now);
        for done in done.map_err(|(_, code)| code)? {
            write_done(&done, w);
        }
        Ok(())
    }

    /// All of `ops` or none. A failed one is answered with an error for each: 0 before the one
    /// that failed, its own code, and "runtime inconsistency" behind it, as ZooKeeper does.
    pub(super) fn multi(
        &mut self,
        id: ConnectionId,
        ops: &[WriteOp],
        now: Now,
        w: &mut Writer,
    ) -> Result<(), Failure> {
        match self.transact(id, ops, now) {
            Ok(all) => {
                for done in &all {
                    write_multi_header(w, multi_type(done), 0);
                    write_done(done, w);
                }
            }
            Err((failed, code)) => {
                for i in 0..ops.len() {
                    let error = match i.cmp(&failed) {
                        std::cmp::Ordering::Less => 0,
                        std::cmp::Ordering::Equal => code.number(),
                        std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency.number(),
                    };
                    write_multi_header(w, -1, error);
                    w.int(error);
                }
            }
        }
        write_multi_end(w);
        Ok(())
    }

    /// Applies and commits all of `ops`, or none: then says which one failed, and why.
    fn transact(
        &mut self,
        id: ConnectionId,
        ops: &[WriteOp],
        now: Now,
    ) -> Result<Vec<Done>, (usize, ErrorCode)> {
        let stamp = self.stamp(now);
        let Some(peer) = self.peers.get(&id) else {
            return Ok(Vec::new());
        };
        let session = peer.session.unwrap_or(0);
        let mut step = Transaction::new(&mut self.tree, stamp, session, &peer.who);
        let mut all = Vec::with_capacity(ops.len());
        for (i, op) in ops.iter().enumerate() {
            match run(&mut step, op) {
                Ok(done) => all.push(done),
                Err(code) => {
                    step.roll_back();
                    return Err((i, code));
                }
            }
        }
        let (changes, events) = step.finish();
        if !changes.is_empty() {
            let closed = None;
            self.commit(now, &Action::Changes { changes, closed }, &events);
        }
        Ok(all)
    }
}

fn run(step: &mut Transaction<'_>, op: &WriteOp) -> Result<Done, ErrorCode> {
    Ok(match op {
        WriteOp::Create(create) => created(create, step.create(create)?),
        WriteOp::Delete { path, version } => {
            step.delete(path, *version)?;
            Done::Nothing { op: 2 }
        }
        WriteOp::SetData {
            path,
            data,
            version,
        } => Done::Stat(step.set_data(path, data.clone(), *version)?),
        WriteOp::SetAcl { path, acl, version } => Done::Stat(step.set_acl(path, acl, *version)?),
        WriteOp::Check { path, version } => {
            step.check(path, *version)?;
            Done::Nothing { op: 13 }
        }
    })
}

fn created(create: &Create, (path, stat): (String, Stat)) -> Done {
    match create.op {
        CreateOp::Create => Done::Path(path),
        CreateOp::Create2 | CreateOp::CreateContainer | CreateOp::CreateTtl => {
            Done::PathAndStat(path, stat)
        }
    }
}

fn write_done(done: &Done, w: &mut Writer) {
    match done {
        Done::Path(path) => {
            w.string(path);
        }
        Done::PathAndStat(path, stat) => {
            w.string(path);
            stat.write(w);
        }
        Done::Stat(stat) => stat.write(w),
        Done::Nothing { .. } => {}
    }
}

/// The kind of result in a multi's answer: every create that has a `Stat` is a create2.
fn multi_type(done: &Done) -> i32 {
    match done {
        Done::Path(_) => 1,
        Done::PathAndStat(..) => 15,
        Done::Stat(_) => 5,
        Done::Nothing { op } => *op,
    }
}

/// What stands before each result of a multi; type -1 announces an error.
pub(super) fn write_multi_header(w: &mut Writer, kind: i32, error: i32) {
    w.int(kind).bool(false).int(error);
}

/// What stands behind the last result of a multi.
pub(super) fn write_multi_end(w: &mut Writer) {
    w.int(-1).bool(true).int(-1);
}
