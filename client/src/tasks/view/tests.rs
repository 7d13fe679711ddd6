use super::*;
use crate::tasks::event::WorkerId;
use crate::tasks::task::Options;

fn task(offset: i64, name: &str) -> Submitted {
    Submitted {
        place: Place { lane: 5, offset },
        id: TaskId::new(name).expect("legal"),
        options: Options::default(),
        payload: Bytes::new(),
        at_ms: offset,
    }
}

fn reported(offset: i64, attempt: u32, report: Report) -> Event {
    Event::Reported {
        place: Place { lane: 5, offset },
        id: TaskId::new("t").expect("legal"),
        attempt,
        worker: "w".into(),
        report,
    }
}

fn decided(fence: i64, offset: i64, attempt: u32, verdict: Verdict) -> Event {
    Event::Decided {
        fence: Fence(fence),
        place: Place { lane: 5, offset },
        id: TaskId::new("t").expect("legal"),
        attempt,
        verdict,
    }
}

fn assigned() -> Verdict {
    Verdict::Assigned {
        worker: WorkerId::from("w"),
        lease_ms: 1,
        payload: None,
    }
}

fn only(events: Vec<Event>) -> TaskStatus {
    let mut view = View::new(Some(TaskId::new("t").expect("legal")), false);
    for (at, event) in (100..).zip(events) {
        view.event(event, at);
    }
    view.submitted(task(0, "t"));
    view.submitted(task(1, "other"));
    let mut found = view.finish();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn a_task_goes_through_its_states() {
    let failed = || Report::Failed {
        error: "no".into(),
        fatal: false,
    };
    let mut events = Vec::new();
    let mut after = |event: Option<Event>| {
        events.extend(event);
        only(events.clone())
    };
    assert_eq!(after(None).state, TaskState::Queued);
    let running = after(Some(decided(1, 0, 1, assigned())));
    assert_eq!((running.state, running.attempts), (TaskState::Running, 1));
    let half = after(Some(reported(0, 1, Report::Progress("half".into()))));
    assert_eq!(half.progress.as_deref(), Some(&b"half"[..]));
    let status = after(Some(reported(0, 1, failed())));
    assert_eq!(status.state, TaskState::Failed);
    assert_eq!(status.error.as_deref(), Some(&b"no"[..]));
    let waiting = after(Some(decided(1, 0, 1, Verdict::Retry { due_ms: 9 })));
    assert_eq!(
        (waiting.state, waiting.due_ms),
        (TaskState::Failed, Some(9))
    );
    assert_eq!(
        after(Some(decided(1, 0, 2, assigned()))).state,
        TaskState::Running
    );
    let result = Stored::Inline("r".into());
    let done = after(Some(reported(0, 2, Report::Done(result.clone()))));
    assert_eq!((done.state, &done.result), (TaskState::Done, &Some(result)));
    // Whatever comes later about it is void.
    let later = after(Some(reported(0, 1, Report::Done(Stored::At(7)))));
    assert_eq!(later, done);
    let later = after(Some(decided(1, 0, 3, Verdict::Dead { error: "x".into() })));
    assert_eq!(later, done);
}

#[test]
fn a_replaced_schedulers_words_are_void() {
    let events = vec![
        Event::Elected(Fence(5)),
        decided(4, 0, 1, Verdict::Dead { error: "x".into() }),
        decided(4, 0, 1, assigned()),
    ];
    assert_eq!(only(events).state, TaskState::Queued);
}

#[test]
fn an_id_is_listed_once() {
    // Dead and submitted again; submitted twice while open.
    let mut view = View::new(None, false);
    view.event(decided(1, 0, 0, Verdict::Dead { error: "x".into() }), 0);
    view.event(decided(1, 3, 0, Verdict::Duplicate), 0);
    for (offset, name) in [(0, "t"), (1, "t"), (2, "u"), (3, "t"), (4, "u")] {
        view.submitted(task(offset, name));
    }
    let found = view.finish();
    let rows: Vec<(&str, i64)> = found
        .iter()
        .map(|t| (t.id.as_str(), t.place.offset))
        .collect();
    assert_eq!(rows, [("t", 1), ("u", 2)]);
}

#[test]
fn a_duplicate_that_nobody_has_looked_at_hides_no_result() {
    let mut view = View::new(None, false);
    let done = Report::Done(Stored::Inline("r".into()));
    view.event(reported(0, 1, done), 0);
    view.submitted(task(0, "t"));
    view.submitted(task(1, "t"));
    let found = view.finish();
    let rows: Vec<(TaskState, i64)> = found.iter().map(|t| (t.state, t.place.offset)).collect();
    assert_eq!(rows, [(TaskState::Done, 0)]);
}

#[test]
fn an_assignment_with_a_number_far_ahead_hides_no_other() {
    let foreign = decided(0, 0, u32::MAX, assigned());
    let status = only(vec![foreign, decided(0, 0, 1, assigned())]);
    assert_eq!((status.state, status.attempts), (TaskState::Running, 1));
}

#[test]
fn events_of_an_earlier_topic_are_not_about_the_task_at_the_same_place() {
    let done = Report::Done(Stored::Inline("old".into()));
    let Event::Reported {
        place,
        attempt,
        worker,
        report,
        ..
    } = reported(0, 1, done)
    else {
        panic!("a report");
    };
    let id = TaskId::new("old").expect("legal");
    let old = Event::Reported {
        place,
        id,
        attempt,
        worker,
        report,
    };
    let mut view = View::new(None, false);
    view.event(old, 0);
    view.event(decided(0, 0, 1, assigned()), 1);
    view.submitted(task(0, "t"));
    let found = view.finish();
    assert_eq!((found[0].state, found[0].attempts), (TaskState::Running, 1));
}
