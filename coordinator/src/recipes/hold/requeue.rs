//! Letting go and standing in line again, in one write.
//!
//! The transaction that deletes the held node makes the next one, at the end of the line. Whoever is next has
//! its turn as soon as after a release, and the server has one write less to sync in between.

use super::{Contender, Entering, Hold, Own, Plan};
use crate::recipes::farewell;
use crate::session::ZkError;

impl Hold {
    /// Lets go, and enters by `plan`; with the names in line, if they came along. The handle may be used for
    /// something else meanwhile.
    pub(in crate::recipes) async fn requeue(
        self,
        plan: Plan,
    ) -> Result<(Contender, Option<Vec<String>>), ZkError> {
        let Self {
            contender, term, ..
        } = self;
        drop(term);
        contender.requeue(plan).await
    }
}

impl Contender {
    async fn requeue(mut self, plan: Plan) -> Result<(Self, Option<Vec<String>>), ZkError> {
        let session = self.session.clone();
        let mut entering = Entering {
            session: &session,
            plan: Some(plan.clone()),
        };
        let tells = self.hand_over();
        let going = farewell::parting(&self.own, tells);
        let made = match Own::create_in_stead(&session, &self.own, going, &plan).await {
            Ok(made) => {
                self.stands = false;
                made
            }
            // Both or neither has happened, and the answer, or what was asked next, was lost or refused. The old
            // one goes in any case; of the other two would be one too many.
            Err(_) => {
                self.leave().await?;
                Own::find(&session, &plan).await?.map(|own| (own, None))
            }
        };
        let (own, listed) = match made {
            Some(made) => made,
            None => {
                let (own, listed) = Own::create(&session, &plan).await?;
                (own, listed.map(|listed| listed.names))
            }
        };
        entering.plan = None;
        Ok((Self::adopt(&session, own), listed))
    }
}
