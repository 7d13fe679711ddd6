//! What one broker says of brokers and partitions: Metadata version 1, read by hand, so that the
//! answer is surely this broker's and nothing is cached.

use std::io::Write;

use anyhow::{Result, ensure};

use crate::raw::{connect, header, i16_at, i32_at, read_frame, sealed, text};

/// One answer.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    /// Number of live brokers.
    pub(super) brokers: usize,
    /// The controller; -1: none known.
    pub(super) controller: i32,
    /// Partitions of the topic: leader, replicas, in-sync replicas.
    pub(super) partitions: Vec<(i32, usize, usize)>,
}

/// A reader of one answer.
struct Fields {
    bytes: Vec<u8>,
    at: usize,
}

impl Fields {
    fn int(&mut self) -> Result<i32> {
        ensure!(self.at + 4 <= self.bytes.len(), "a short answer");
        self.at += 4;
        Ok(i32_at(&self.bytes, self.at - 4))
    }

    fn count(&mut self) -> Result<usize> {
        Ok(usize::try_from(self.int()?).unwrap_or(0))
    }

    fn short(&mut self) -> Result<i16> {
        ensure!(self.at + 2 <= self.bytes.len(), "a short answer");
        self.at += 2;
        Ok(i16_at(&self.bytes, self.at - 2))
    }

    fn text(&mut self) -> Result<()> {
        let length = usize::try_from(self.short()?).unwrap_or(0);
        self.at += length;
        Ok(())
    }

    fn ints(&mut self) -> Result<usize> {
        let count = self.count()?;
        self.at += 4 * count;
        Ok(count)
    }
}

impl Metadata {
    /// Asks the broker at `address` for `topic`; for no topic if that is empty.
    pub(super) fn of(address: &str, topic: &str) -> Result<Self> {
        let mut socket = connect(address)?;
        let mut frame = header(3, 1);
        frame.extend(i32::from(!topic.is_empty()).to_be_bytes());
        if !topic.is_empty() {
            text(&mut frame, topic);
        }
        socket.write_all(&sealed(frame))?;
        let mut bytes = Vec::new();
        read_frame(&mut socket, &mut bytes)?;
        let mut fields = Fields { bytes, at: 4 };
        let mut seen = Self {
            brokers: fields.count()?,
            ..Self::default()
        };
        for _ in 0..seen.brokers {
            fields.int()?;
            fields.text()?;
            fields.int()?;
            fields.text()?;
        }
        seen.controller = fields.int()?;
        for _ in 0..fields.count()? {
            fields.short()?;
            fields.text()?;
            fields.at += 1;
            for _ in 0..fields.count()? {
                let _error = fields.short()?;
                let (_index, leader) = (fields.int()?, fields.int()?);
                seen.partitions
                    .push((leader, fields.ints()?, fields.ints()?));
            }
        }
        Ok(seen)
    }

    /// Whether every partition has a leader and all its replicas in sync.
    pub(super) fn fully_in_sync(&self) -> bool {
        let mut partitions = self.partitions.iter();
        partitions.all(|(leader, replicas, isr)| *leader >= 0 && replicas == isr)
    }

    /// Number of partitions that are led by one of `alive`.
    pub(super) fn led_by(&self, alive: &[usize]) -> usize {
        let partitions = self.partitions.iter();
        let led = partitions.filter(|(leader, ..)| {
            usize::try_from(*leader).is_ok_and(|leader| alive.contains(&leader))
        });
        led.count()
    }
}
