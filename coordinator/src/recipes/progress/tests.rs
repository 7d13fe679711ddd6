use super::*;
use crate::recipes::testing::{Place, soon};

const PATH: &str = "/import";

async fn next(watch: &mut ProgressWatch) -> String {
    match soon("news", watch.next()).await.expect("it goes on") {
        ProgressChange::At(w) => {
            let report = w.report.expect("a report");
            format!("{} at {}/{:?}", w.name, report.done, report.total)
        }
        ProgressChange::Stale(w) => format!("{} stale", w.name),
        ProgressChange::Gone(w) => format!("{} gone", w.name),
    }
}

#[tokio::test]
async fn watchers_see_how_far_it_is_and_when_it_stands_still_or_dies() {
    let place = Place::start().await;
    let session = place.session().await;
    let progress = Progress::start(&session, PATH, "w", None)
        .await
        .expect("free");
    let watching = place.session().await;
    let stale_after = Some(Duration::from_millis(300));
    let mut watch = ProgressWatch::start(&watching, PATH, stale_after)
        .await
        .expect("a server");
    assert_eq!(next(&mut watch).await, "w at 0/None");
    progress
        .report(&Report::of(4, 10))
        .await
        .expect("it stands");
    assert_eq!(next(&mut watch).await, "w at 4/Some(10)");
    assert_eq!(next(&mut watch).await, "w stale");
    assert!(watch.current().0["w"].stale);
    progress.beat().await.expect("it stands");
    assert_eq!(next(&mut watch).await, "w at 4/Some(10)");
    // It comes again under a new session, where it was.
    place.expire(&session);
    assert_eq!(next(&mut watch).await, "w gone");
    assert_eq!(next(&mut watch).await, "w at 4/Some(10)");
    progress.finish().await;
    assert_eq!(next(&mut watch).await, "w gone");
    // Somebody else's words are not taken for a report.
    watching
        .ensure_path("/import/note")
        .await
        .expect("a server");
    let change = soon("news", watch.next()).await;
    assert!(
        matches!(
            change,
            Some(ProgressChange::At(Worker { report: None, .. }))
        ),
        "{change:?}"
    );
}
