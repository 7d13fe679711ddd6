//! A log under the produce guard (`fence.enable`): its tokens kept on disk, and found again.
//!
//! The file `fences` lies beside the leader epochs, is written whenever the producers' snapshot is, and says up
//! to which offset it counts; opening counts what follows. So the tokens outlive the records that brought
//! them, and the file being there tells that the guard is on before the topic's settings are known.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::fences::{FenceMark, Fences, logged_marks};
use super::log::Log;
use super::log_config::LogConfig;
use super::{AppendError, StorageError, durable, names};

/// A thousand of the longest names.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Log {
    /// Changes its settings. Touches the disk when the produce guard is switched: on, it counts from here;
    /// off, all tokens are forgotten, which is the way out after a token that nobody can exceed.
    pub fn set_config(&mut self, config: Arc<LogConfig>) {
        let was_on = std::mem::replace(&mut self.config, config).fence_enable;
        match (was_on, self.config.fence_enable) {
            (_, true) if self.fences.is_none() => {
                self.fences = Some(Fences::from(self.next_offset));
                // On a full disk the first guarded append tries again.
                let _ = self.store_fences().map_err(|error| self.broken(error));
            }
            (true, false) => {
                self.fences = None;
                let removed = durable::remove(&self.dir.join(names::FENCES));
                let _ = removed.map_err(|error| self.broken(error));
            }
            _ => {}
        }
    }

    /// Judges the tokens of a client's batch.
    pub(crate) fn check_fences(&self, marks: &[FenceMark]) -> Result<(), AppendError> {
        let Some(fences) = self.fences.as_ref().filter(|_| !marks.is_empty()) else {
            return Ok(());
        };
        fences.check(marks)?;
        if fences.stored_to.is_none() {
            // Without the file a restart would not know that there is a guard.
            self.write_fences(fences)?;
        }
        Ok(())
    }

    /// The tokens of a batch that a leader let in.
    pub(crate) fn replicated_marks(&self, batch: &[u8]) -> Vec<FenceMark> {
        match self.config.fence_enable && self.fences.is_some() {
            true => logged_marks(batch),
            false => Vec::new(),
        }
    }

    /// The batch that carried `marks` is the last one of the log now.
    pub(crate) fn note_fences(&mut self, marks: &[FenceMark]) {
        if let Some(fences) = &mut self.fences {
            fences.note(marks, self.next_offset);
        }
    }

    /// Writes the tokens down, if there is news.
    pub(crate) fn store_fences(&mut self) -> Result<(), StorageError> {
        let Some(fences) = &self.fences else {
            return Ok(());
        };
        if fences.stored_to != Some(fences.counted_to) {
            self.write_fences(fences)?;
            let counted_to = fences.counted_to;
            if let Some(fences) = &mut self.fences {
                fences.stored_to = Some(counted_to);
            }
        }
        Ok(())
    }

    fn write_fences(&self, fences: &Fences) -> Result<(), StorageError> {
        let path = self.dir.join(names::FENCES);
        durable::replace(&path, fences.encode().as_bytes())
    }

    /// The log ends at another place, with other records to come: counting goes on from there.
    pub(crate) fn recount_fences(&mut self) -> Result<(), StorageError> {
        if let Some(fences) = &mut self.fences {
            fences.counted_to = self.next_offset;
        }
        self.store_fences()
    }

    /// Finds the tokens again when the log is opened: those of the file, and those behind its offset.
    pub(crate) fn load_fences(&mut self) -> Result<(), StorageError> {
        let path = self.dir.join(names::FENCES);
        let bytes = match durable::read_small(&path, FILE_BYTES_MAX) {
            Ok(None) if !self.config.fence_enable => return Ok(()),
            Ok(bytes) => bytes,
            Err(StorageError::Corrupt { .. }) => Some(Vec::new()),
            Err(error) => return Err(error),
        };
        let is_there = bytes.is_some();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let read = text.as_deref().and_then(Fences::decode);
        if is_there && read.is_none() {
            let path = path.display();
            tracing::warn!(%path, "fencing tokens are damaged: counting those that the log holds");
        }
        let mut fences = read.unwrap_or_else(|| Fences::from(self.log_start));
        if fences.counted_to < self.next_offset {
            self.count_fences(&mut fences)?;
        }
        self.fences = Some(fences);
        // It may also say more than the log holds, which a crash has cut.
        match self.recount_fences() {
            Err(error) if !error.is_no_space() => Err(error),
            _ => Ok(()),
        }
    }

    fn count_fences(&self, fences: &mut Fences) -> Result<(), StorageError> {
        let from = fences.counted_to.max(self.log_start);
        let first = self.segment_of(from);
        let mut batch = Vec::new();
        for segment in self.segments.get(first..).unwrap_or_default() {
            let Some(start) = segment.locate(from)? else {
                continue;
            };
            let mut heads = segment.heads(start.position)?;
            while let Some(placed) = heads.next()? {
                batch.resize(placed.head.size, 0);
                segment
                    .file()?
                    .read_exact_at(&mut batch, placed.position)
                    .map_err(|e| StorageError::io("read", &segment.path(), e))?;
                fences.note(&logged_marks(&batch), placed.head.last_offset() + 1);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
