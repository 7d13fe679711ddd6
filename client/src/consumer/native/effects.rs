//! What a member begins on the word of `rebalance.rs`: claims, watches, starts, releases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable};
use nyala_coordinator::clock;
use nyala_coordinator::ids::TopicPartition;

use super::member::Attempt;
use super::{Done, Driver, RETRY};
use crate::consumer::rebalance::{Effect, Event, FencingToken};
use crate::error::ConsumerError;

impl Driver {
    /// Begins what `effect` says; its answer comes through `ops`.
    pub(super) fn effect(&mut self, effect: Effect) {
        let (member, generation) = (self.member.clone(), self.generation);
        match effect {
            Effect::Register => self.register(),
            Effect::Claim(target) => {
                self.stop_watch(&target);
                let last = self.claims.begin(&target);
                self.ops.push(Box::pin(async move {
                    Done::Event(member.claim(target, generation, last).await)
                }));
            }
            Effect::Watch(target) => {
                self.watch(target.clone(), async move {
                    member.owner_gone(&target).await;
                    Done::Event(Event::OwnerGone { target })
                });
            }
            Effect::Unwatch(target) => self.stop_watch(&target),
            Effect::Start(target, token) => {
                self.owned.insert(target.clone(), token);
                self.start(target.clone(), token);
                self.watch(target.clone(), async move {
                    member.until_claim_gone(&target, token).await;
                    Done::ClaimGone(target, token)
                });
            }
            Effect::Revoke(target) => {
                self.disown(&target);
                self.revoke(target);
            }
            Effect::Drop(target) => {
                self.disown(&target);
                self.parts.delivery.park(&target);
            }
            Effect::Release(target, token) => self.ops.push(Box::pin(async move {
                member.release(&target, token).await;
                Done::Event(Event::Released { generation, target })
            })),
            Effect::Unregister => {
                for (_, watch) in std::mem::take(&mut self.watching) {
                    watch.abort();
                }
                // Before the znode goes: it would make it anew.
                if let Some(keeper) = self.keeper.take() {
                    keeper.abort();
                }
                self.ops.push(Box::pin(async move {
                    member.leave().await;
                    Done::Left
                }));
            }
        }
    }

    /// Begins to look at the partition's owner znode, in place of who looks at it now.
    fn watch(&mut self, target: TopicPartition, look: impl Future<Output = Done> + Send + 'static) {
        self.stop_watch(&target);
        let (stop, stopped) = AbortHandle::new_pair();
        self.watching.insert(target, stop);
        let look = Abortable::new(look, stopped);
        self.ops
            .push(Box::pin(async move { look.await.unwrap_or(Done::Nothing) }));
    }

    /// Ends what goes on only for an owner.
    fn disown(&mut self, target: &TopicPartition) {
        self.owned.remove(target);
        self.stop_start(target);
        self.stop_watch(target);
    }

    /// What the member's znode says.
    fn subscription(&self) -> BTreeMap<String, i32> {
        let topics = self.parts.config.topics.iter();
        topics.map(|t| (t.as_str().to_owned(), 1)).collect()
    }

    /// Once a session, after the registration.
    pub(super) fn keep_subscription(&mut self) {
        if self.keeper.is_some() || self.machine.has_left() {
            return;
        }
        let (member, subscription) = (self.member.clone(), self.subscription());
        let (stop, stopped) = AbortHandle::new_pair();
        self.keeper = Some(stop);
        let keeper = async move { member.keep_subscription(&subscription).await };
        let keeper = Abortable::new(keeper, stopped);
        self.ops.push(Box::pin(async move {
            let _ = keeper.await;
            Done::Nothing
        }));
    }

    fn register(&mut self) {
        let (member, generation) = (self.member.clone(), self.generation);
        let subscription = self.subscription();
        // None of this session's: those are still ours, or under way, and the machine knows.
        let stale = self.claims.stale().clone();
        let watched = self.members.is_some();
        self.ops.push(Box::pin(async move {
            for target in &stale {
                member.release_unregistered(target).await;
            }
            member.join(&subscription).await;
            member.registered_in.send_replace(generation);
            let members = match watched {
                true => None,
                false => Some(member.watch_members().await),
            };
            Done::Registered(generation, members)
        }));
    }

    pub(super) fn start(&mut self, target: TopicPartition, token: FencingToken) {
        self.stop_start(&target);
        let (stop, stopped) = AbortHandle::new_pair();
        self.starting.insert(target.clone(), stop);
        let (member, cluster) = (self.member.clone(), self.parts.cluster.clone());
        let (delivery, reset) = (
            Arc::clone(&self.parts.delivery),
            self.parts.config.offset_reset,
        );
        let begun = async move {
            loop {
                let begun = member.begin(&cluster, &target, token, reset).await;
                match begun {
                    Ok(Attempt::Begun(begin)) => return Done::Started(target, begin),
                    Ok(Attempt::Gone) => return Done::ClaimGone(target, token),
                    Ok(Attempt::NotSettled) => {}
                    Err(ConsumerError::Registry { error, .. }) if error.is_transient() => {}
                    Err(error) => delivery.report(error),
                }
                tokio::time::sleep(RETRY).await;
            }
        };
        let begun = Abortable::new(begun, stopped);
        self.ops.push(Box::pin(
            async move { begun.await.unwrap_or(Done::Nothing) },
        ));
    }

    fn stop_start(&mut self, target: &TopicPartition) {
        if let Some(start) = self.starting.remove(target) {
            start.abort();
        }
    }

    fn stop_watch(&mut self, target: &TopicPartition) {
        if let Some(watch) = self.watching.remove(target) {
            watch.abort();
        }
    }

    fn revoke(&mut self, target: TopicPartition) {
        let (member, delivery) = (self.member.clone(), Arc::clone(&self.parts.delivery));
        let config = Arc::clone(&self.parts.config);
        let gone = delivery.leave(&target);
        let silent = delivery.last_poll().map_or(Duration::ZERO, |at| {
            clock::now().saturating_duration_since(at)
        });
        self.ops.push(Box::pin(async move {
            let patience = config.poll_interval_max.saturating_sub(silent);
            // Either the application asks for more, or it has given no sign of life for too long.
            if tokio::time::timeout(patience, gone).await.is_err() {
                tracing::warn!(%target, "given up although its records are not handled");
            }
            let committed = match config.auto_commit {
                true => member.commit_last(&delivery, &target).await,
                false => Ok(()),
            };
            // Not before a commit under way, which may be of this, too.
            let _turn = member.turn.lock().await;
            delivery.remove(&target);
            member.offsets.forget(&target).await;
            Done::Revoked(target, committed)
        }));
    }
}
