//! The settings in force: read by everyone, replaced when dynamic values change.
//!
//! `cluster` feeds it from `/config/brokers`; a reader takes one snapshot and works with that.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{Faults, Settings, Values};

/// Current [`Settings`]; one per broker, shared by `Arc`.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<Settings>,
    /// One change at a time: a change reads the current value first.
    changing: Mutex<()>,
}

impl Live {
    /// Starts with what the file and the command line said.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            current: ArcSwap::from_pointee(settings),
            changing: Mutex::new(()),
        }
    }

    /// One consistent snapshot.
    #[must_use]
    pub fn get(&self) -> Arc<Settings> {
        self.current.load_full()
    }

    /// Replaces the dynamic values of this broker (`/config/brokers/ID`).
    pub fn set_dynamic(&self, values: Values) -> Result<(), Faults> {
        let _one = self.changing.lock();
        let old = self.get();
        let all = old.layers().dynamic_default.clone();
        self.current.store(Arc::new(old.with_dynamic(all, values)?));
        Ok(())
    }

    /// Replaces the dynamic values of all brokers (`/config/brokers/<default>`).
    pub fn set_dynamic_default(&self, values: Values) -> Result<(), Faults> {
        let _one = self.changing.lock();
        let old = self.get();
        let own = old.layers().dynamic.clone();
        self.current.store(Arc::new(old.with_dynamic(values, own)?));
        Ok(())
    }
}
