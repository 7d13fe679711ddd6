//! Taking a name: an ephemeral node of a fixed path, had by one session at a time.
//!
//! A caller who stops waiting leaves nothing behind: what comes through later is removed again.

use tokio::sync::oneshot;

use super::hold::Contender;
use super::own::Own;
use super::patience::until_connected;
use crate::session::{Session, ZkError};

/// Makes the node, however often the connection is lost; `None` if somebody else has it.
pub(super) async fn claim(
    session: &Session,
    path: &str,
    data: &[u8],
) -> Result<Option<Contender>, ZkError> {
    // Two at once could not tell whose node it is when both have lost their answers.
    let Some(alone) = session.neighbours().claim(path) else {
        return Ok(None);
    };
    let (answer, claimed) = oneshot::channel();
    let (session, path, data) = (session.clone(), path.to_owned(), data.to_vec());
    tokio::spawn(async move {
        let own = Own::claim(&session, &path, &data).await;
        let contender = own.map(|own| own.map(|own| Contender::adopt(&session, own)));
        drop(alone);
        // If nobody waits any more, the contender comes back and is dropped, which removes its node.
        let _ = answer.send(contender);
    });
    // An error means that the runtime ends.
    claimed.await.unwrap_or(Err(ZkError::Closed))
}

/// Resolves when the name may be free.
pub(super) async fn freed(session: &Session, path: &str) -> Result<(), ZkError> {
    loop {
        match session.exists_watch(path).await {
            Ok((None, _)) => return Ok(()),
            Ok((Some(_), watch)) => watch.changed().await,
            Err(e) if e.is_transient() => until_connected(session).await,
            Err(e) => return Err(e),
        }
    }
}
