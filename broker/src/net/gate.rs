//! How many connections may be open: in all, of one address, and how many new ones a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::Limits;

/// Counts over all listeners of one broker.
#[derive(Debug)]
pub(crate) struct Gate {
    open: Arc<Semaphore>,
    per_ip_max: usize,
    per_ip_overrides: HashMap<IpAddr, usize>,
    per_ip: Mutex<HashMap<IpAddr, usize>>,
    rate: Mutex<Bucket>,
}

/// One open connection's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    ip: IpAddr,
    _permit: OwnedSemaphorePermit,
}

/// Token bucket: `rate` tokens a second, five seconds' worth at most, so that the fleet of clients
/// that comes back after a restart is let in in one go.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Option<Instant>,
}

const BURST_SECONDS: f64 = 5.0;

impl Bucket {
    /// Takes a token, or says how long to wait for one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let filled = *self.filled.get_or_insert(now);
        let gained = now.saturating_duration_since(filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.rate * BURST_SECONDS);
        self.filled = Some(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - self.tokens) / self.rate))
        }
    }
}

impl Gate {
    /// A gate with the counts of `limits`.
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let rate = f64::from(limits.connections_per_second_max.max(1));
        Arc::new(Self {
            open: Arc::new(Semaphore::new(
                limits.connections_max.min(Semaphore::MAX_PERMITS),
            )),
            per_ip_max: limits.connections_per_ip_max,
            per_ip_overrides: limits.connections_per_ip_overrides.clone(),
            per_ip: Mutex::new(HashMap::new()),
            rate: Mutex::new(Bucket {
                rate,
                tokens: rate * BURST_SECONDS,
                filled: None,
            }),
        })
    }

    /// Waits until one more connection may be accepted.
    pub(crate) async fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.open).acquire_owned().await.ok()?;
        loop {
            let now = tokio::time::Instant::now().into_std();
            let wait = self.rate.lock().take(now);
            match wait {
                Ok(()) => return Some(permit),
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// A place for a connection of `ip`; `None` when that address has too many.
    pub(crate) fn enter(
        self: &Arc<Self>,
        ip: IpAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<Place> {
        let ip = ip.to_canonical();
        let max = *self.per_ip_overrides.get(&ip).unwrap_or(&self.per_ip_max);
        let mut per_ip = self.per_ip.lock();
        let count = per_ip.entry(ip).or_insert(0);
        if *count >= max {
            if *count == 0 {
                per_ip.remove(&ip);
            }
            return None;
        }
        *count += 1;
        Some(Place {
            gate: Arc::clone(self),
            ip,
            _permit: permit,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut per_ip = self.gate.per_ip.lock();
        if let Some(count) = per_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                per_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn one_address_gets_its_share_and_no_more() {
        let gate = Gate::new(&Limits {
            connections_per_ip_max: 1,
            connections_per_ip_overrides: HashMap::from([(IP, 2)]),
            ..Limits::default()
        });
        let mut places = Vec::new();
        for _ in 0..2 {
            let permit = gate.admit().await.expect("open");
            places.push(gate.enter(IP, permit).expect("within the share"));
        }
        let permit = gate.admit().await.expect("open");
        assert!(gate.enter(IP, permit).is_none());
        places.pop();
        let permit = gate.admit().await.expect("open");
        assert!(gate.enter(IP, permit).is_some());
        drop(places);
        assert!(gate.per_ip.lock().is_empty());
    }

    #[tokio::test]
    async fn a_full_broker_makes_the_next_one_wait() {
        let gate = Gate::new(&Limits {
            connections_max: 1,
            ..Limits::default()
        });
        let permit = gate.admit().await.expect("open");
        let place = gate.enter(IP, permit).expect("first");
        let mut next = std::pin::pin!(gate.admit());
        assert!(futures::poll!(next.as_mut()).is_pending());
        drop(place);
        assert!(next.await.is_some());
    }

    #[test]
    fn the_rate_allows_a_burst_and_then_a_trickle() {
        let mut bucket = Bucket {
            rate: 10.0,
            tokens: 50.0,
            filled: None,
        };
        let start = tokio::time::Instant::now().into_std();
        for _ in 0..50 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        let wait = bucket.take(start).expect_err("the burst is spent");
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        assert_eq!(bucket.take(start + Duration::from_millis(110)), Ok(()));
    }
}
