//! When a partition cannot simply go on: its log parted from the leader's, lies outside of it, or
//! refused what came. One partition's trouble is its own; the loop goes on with the others.
//!
//! Where logs part, a leader of Kafka 2.7 or later says by itself. An older one is asked with
//! OffsetForLeaderEpoch until both know the same epoch (KIP-101, KIP-279).

use std::collections::BTreeMap;
use std::sync::Arc;

use nyala_client::wire::{ErrorCode, Request};
use nyala_coordinator::ids::{LeaderEpoch, PartitionIndex, TopicName, TopicPartition};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::fetcher::Fetcher;
use super::request::{self, EARLIEST, LATEST};
use super::trouble::Trouble;
use super::{FollowError, Partition};
use crate::storage::EpochEnd;

impl Fetcher {
    /// Does what can be done about a partition's trouble.
    pub(super) async fn cure(&mut self, id: &TopicPartition, trouble: Trouble) {
        let cured = match trouble {
            Trouble::Diverged(end) => self.part(id, end).await,
            Trouble::OutOfRange => self.seek(id).await,
            trouble => Err(trouble),
        };
        match cured {
            Ok(()) => self.followed.fetch(id),
            Err(trouble) => self.give_up(id, trouble),
        }
    }

    fn give_up(&mut self, id: &TopicPartition, trouble: Trouble) {
        match trouble {
            Trouble::Gone => {
                debug!("{id} does not follow broker {} any more", self.leader);
                self.followed.leave(id);
            }
            Trouble::Failed(why) => {
                error!("{id} is not copied any more: {why}");
                self.followed.leave(id);
            }
            Trouble::Later(why) => {
                let most = self.parts.settings.pause_max;
                // The first refusals after a change of leader are the rule.
                match self.followed.pause(id, Instant::now(), most) {
                    5 => warn!("{id} cannot be copied from broker {}: {why}", self.leader),
                    n => debug!("{id}, failure {n}: {why}"),
                }
            }
            // What a cure met instead of an end; the next answer says it again.
            Trouble::Diverged(_) | Trouble::OutOfRange => self.followed.fetch(id),
        }
    }

    /// The leader says where the logs part.
    async fn part(&mut self, id: &TopicPartition, end: EpochEnd) -> Result<(), Trouble> {
        let followed = self.followed.get(id).ok_or(Trouble::Gone)?;
        let before = followed.partition.fetch_position().ok_or(Trouble::Gone)?;
        let partition = Arc::clone(&followed.partition);
        self.truncate_for(id, end).await?;
        let after = partition.fetch_position().ok_or(Trouble::Gone)?;
        // An epoch in which nothing was written may be all that went (KAFKA-10706).
        if (after.offset, after.last_epoch) != (before.offset, before.last_epoch) {
            return Ok(());
        }
        // Asking again at once would bring the same answer.
        Err(Trouble::Later(format!(
            "the leader's epoch {} ends at {}, which leaves nothing to truncate",
            end.leader_epoch, end.end_offset
        )))
    }

    /// Gives our new end.
    async fn truncate_for(&self, id: &TopicPartition, end: EpochEnd) -> Result<i64, Trouble> {
        if end.end_offset < 0 {
            // It would cost us the whole log.
            return Err(Trouble::Later(format!(
                "the leader's epoch {} ends at {}, which is no offset",
                end.leader_epoch, end.end_offset
            )));
        }
        let followed = self.followed.get(id).ok_or(Trouble::Gone)?;
        let before = followed.partition.fetch_position().map(|p| p.offset);
        let kept = self
            .on_disk(id, move |p, epoch| p.truncate_for(epoch, end))
            .await?;
        let theirs = format!("epoch {} ends at {}", end.leader_epoch, end.end_offset);
        match before {
            Some(before) if kept < before => {
                info!("{id}: truncated from offset {before} to {kept}; the leader's {theirs}");
            }
            _ => debug!("{id}: nothing to truncate at offset {kept}; the leader's {theirs}"),
        }
        Ok(kept)
    }

    /// Our end is not in the leader's log. Beyond its end: an unclean election; our surplus goes. Before its
    /// start: it deleted what we would need; we start anew at its start.
    async fn seek(&mut self, id: &TopicPartition) -> Result<(), Trouble> {
        let followed = self.followed.get(id).ok_or(Trouble::Gone)?;
        let position = followed.partition.fetch_position().ok_or(Trouble::Gone)?;
        let epoch = followed.epoch;
        let end = self.offset_of(id, epoch, LATEST).await?;
        if end < position.offset {
            warn!(
                "{id}: our log ends at {}, the leader's at {end}",
                position.offset
            );
            let end = EpochEnd {
                leader_epoch: epoch,
                end_offset: end,
            };
            return self.truncate_for(id, end).await.map(drop);
        }
        let start = self.offset_of(id, epoch, EARLIEST).await?;
        if start <= position.offset {
            return Err(Trouble::Later(format!(
                "offset {} is out of range, though the leader has {start} to {end}",
                position.offset
            )));
        }
        info!(
            "{id}: the leader's log starts at {start}, ours ended at {}",
            position.offset
        );
        self.on_disk(id, move |p, epoch| p.restart_at(epoch, start))
            .await
    }

    /// Asks for an offset of the leader's log.
    async fn offset_of(
        &mut self,
        id: &TopicPartition,
        epoch: LeaderEpoch,
        timestamp: i64,
    ) -> Result<i64, Trouble> {
        let request = request::offset(id, epoch, self.asker(), timestamp);
        let response = self.ask(&request, self.versions().offsets).await?;
        let answers = response.topics.iter().flat_map(|t| &t.partitions);
        let answer = answers.last();
        let answer = answer.ok_or_else(|| Trouble::Later("no offset was answered".to_owned()))?;
        match ErrorCode::from(answer.error_code) {
            ErrorCode::None if answer.offset < 0 => Err(Trouble::Later(format!(
                "the leader answered {} for an offset",
                answer.offset
            ))),
            ErrorCode::None => Ok(answer.offset),
            error => Err(Trouble::Later(error.to_string())),
        }
    }

    async fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, Trouble> {
        let Some(mut link) = self.linked().await else {
            return Err(Trouble::Later("no connection to the leader".to_owned()));
        };
        match link
            .call(request, version, self.parts.settings.answer_max)
            .await
        {
            Ok(response) => {
                self.keep(link);
                Ok(response)
            }
            Err(error) => {
                self.broke(&error);
                Err(error.into())
            }
        }
    }

    /// Truncates the partitions that cannot be fetched before: those whose leader does not tell by
    /// itself where the logs part, and those without epochs, which go back to their high watermark.
    pub(super) async fn truncate(&mut self) {
        let mut asked = Vec::new();
        let due: Vec<TopicPartition> = (self.followed.truncating.iter())
            .filter(|id| !self.followed.is_paused(id))
            .cloned()
            .collect();
        for id in due {
            let Some(followed) = self.followed.get(&id) else {
                continue;
            };
            let epoch = followed.epoch;
            match followed.partition.fetch_position() {
                None => self.followed.leave(&id),
                Some(position) => match position.last_epoch {
                    Some(last) => asked.push((id, epoch, last)),
                    None => {
                        let end = EpochEnd {
                            leader_epoch: epoch,
                            end_offset: followed.partition.log().lock().high_watermark(),
                        };
                        match self.truncate_for(&id, end).await {
                            Ok(_) => self.followed.fetch(&id),
                            Err(trouble) => self.give_up(&id, trouble),
                        }
                    }
                },
            }
        }
        if !asked.is_empty() {
            self.ask_epoch_ends(asked).await;
        }
    }

    async fn ask_epoch_ends(&mut self, asked: Vec<(TopicPartition, LeaderEpoch, LeaderEpoch)>) {
        let request = request::epoch_ends(&asked, self.asker());
        let response = match self.ask(&request, self.versions().epoch).await {
            Ok(response) => response,
            Err(trouble) => {
                for (id, ..) in &asked {
                    self.give_up(id, trouble.clone());
                }
                return;
            }
        };
        let mut answers = BTreeMap::new();
        for topic in response.topics {
            let Ok(name) = TopicName::new(&topic.topic) else {
                continue;
            };
            for answer in topic.partitions {
                let id = TopicPartition {
                    topic: name.clone(),
                    partition: PartitionIndex(answer.partition),
                };
                answers.insert(id, answer);
            }
        }
        for (id, _, last) in asked {
            let truncated = match answers.get(&id) {
                None => Err(Trouble::Later("no epoch was answered".to_owned())),
                Some(answer) => match ErrorCode::from(answer.error_code) {
                    ErrorCode::None => {
                        let found = (answer.leader_epoch >= 0).then_some(answer.leader_epoch);
                        self.truncate_to_answer(&id, last, (found, answer.end_offset))
                            .await
                    }
                    error => Err(Trouble::Later(error.to_string())),
                },
            };
            match truncated {
                Ok(true) => self.followed.fetch(&id),
                // Our newest epoch is an older one now: asked again in the next round.
                Ok(false) => {}
                Err(trouble) => self.give_up(&id, trouble),
            }
        }
    }

    /// True when the logs agree up to our end.
    async fn truncate_to_answer(
        &mut self,
        id: &TopicPartition,
        asked: LeaderEpoch,
        (epoch, end_offset): (Option<i32>, i64),
    ) -> Result<bool, Trouble> {
        let followed = self.followed.get(id).ok_or(Trouble::Gone)?;
        // The leader knows nothing of that time: all that is sure is our high watermark.
        let end_offset = match end_offset {
            ..0 => followed.partition.log().lock().high_watermark(),
            end => end,
        };
        let leader_epoch = epoch.map_or(followed.epoch, LeaderEpoch);
        let end = EpochEnd {
            leader_epoch,
            end_offset,
        };
        let partition = Arc::clone(&followed.partition);
        let before = partition.fetch_position().map(|p| p.offset);
        if epoch != Some(asked.0) || before.is_some_and(|offset| end_offset < offset) {
            self.truncate_for(id, end).await?;
        }
        let last = partition.fetch_position().and_then(|p| p.last_epoch);
        Ok(epoch.is_none() || last.is_none_or(|last| last.0 >= leader_epoch.0))
    }

    /// Runs disk work on the blocking pool.
    async fn on_disk<T: Send + 'static>(
        &self,
        id: &TopicPartition,
        work: impl FnOnce(&Partition, LeaderEpoch) -> Result<T, FollowError> + Send + 'static,
    ) -> Result<T, Trouble> {
        let followed = self.followed.get(id).ok_or(Trouble::Gone)?;
        let (partition, epoch) = (Arc::clone(&followed.partition), followed.epoch);
        match tokio::task::spawn_blocking(move || work(&partition, epoch)).await {
            Ok(done) => done.map_err(Trouble::from),
            Err(error) => Err(Trouble::Later(error.to_string())),
        }
    }
}
