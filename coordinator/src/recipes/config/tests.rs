use super::*;
use crate::recipes::testing::{Place, soon, until};

fn config(session: &Session) -> Config {
    Config::new(session.clone(), "/app").expect("a path")
}

#[tokio::test]
async fn values_are_typed_and_writes_name_the_version_they_expect() {
    let place = Place::start().await;
    let config = config(&place.session().await);
    assert_eq!(config.get::<u32>("rate").await, Ok(None));
    assert_eq!(
        config.set("limits/rate", &100_u32, Expect::Absent).await,
        Ok(0)
    );
    let again = config.set("limits/rate", &1_u32, Expect::Absent).await;
    let error = again.expect_err("it is there").to_string();
    assert_eq!(error, "/app/limits/rate is at version 0, not absent");
    assert_eq!(
        config
            .set("limits/rate", &200_u32, Expect::Version(0))
            .await,
        Ok(1)
    );
    let stale = config
        .set("limits/rate", &300_u32, Expect::Version(0))
        .await;
    assert!(
        matches!(stale, Err(ConfigError::Conflict { found: Some(1), .. })),
        "{stale:?}"
    );
    let missing = config.set("none", &300_u32, Expect::Version(0)).await;
    assert!(
        matches!(missing, Err(ConfigError::Conflict { found: None, .. })),
        "{missing:?}"
    );
    let rate = Versioned {
        value: 200,
        version: 1,
    };
    assert_eq!(config.get::<u32>("limits/rate").await, Ok(Some(rate)));
    config
        .set("limits/rate", &"many".to_owned(), Expect::Any)
        .await
        .expect("any");
    let wrong = config.get::<u32>("limits/rate").await;
    assert!(matches!(wrong, Err(ConfigError::Value { .. })), "{wrong:?}");
    assert_eq!(config.remove("limits/rate", Expect::Any).await, Ok(true));
    assert_eq!(config.remove("limits/rate", Expect::Any).await, Ok(false));
    assert!(config.get::<u32>("../x").await.is_err());
}

#[tokio::test]
async fn updates_of_many_are_all_kept() {
    let place = Place::start().await;
    let mut writers = Vec::new();
    for _ in 0..4 {
        let config = config(&place.session().await);
        writers.push(tokio::spawn(async move {
            for _ in 0..20 {
                let add = |old: Option<u32>| old.unwrap_or(0) + 1;
                config.update("count", add).await.expect("a server");
            }
        }));
    }
    for writer in writers {
        soon("a writer", writer).await.expect("no panic");
    }
    let config = config(&place.session().await);
    let count = config
        .get::<u32>("count")
        .await
        .expect("a number")
        .expect("there");
    assert_eq!(count.value, 80);
}

#[tokio::test]
async fn a_compare_and_set_whose_answer_is_lost_is_found_out() {
    let place = Place::start().await;
    let near = config(&place.session().await);
    let far = config(&place.proxied().await);
    near.set("k", &1_u32, Expect::Absent).await.expect("new");
    for (lose_answers, version) in [(true, 1), (false, 2)] {
        match lose_answers {
            true => place.proxy.lose_answers(),
            false => place.proxy.lose_requests(),
        }
        let heal = async {
            let written = async || {
                let k = near.get::<u32>("k").await;
                k.is_ok_and(|k| k.is_some_and(|k| k.version == version))
            };
            match lose_answers {
                true => until("the write", written).await,
                false => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
            place.proxy.cut();
            place.proxy.heal();
        };
        let value = u32::try_from(version + 10).expect("small");
        let set = far.set("k", &value, Expect::Version(version - 1));
        let (set, ()) = soon("the write", async { tokio::join!(set, heal) }).await;
        assert_eq!(set, Ok(version));
    }
}

#[tokio::test]
async fn a_watched_key_keeps_its_last_good_value() {
    let mut place = Place::start().await;
    let writer = config(&place.session().await);
    let watching = place.session().await;
    let mut rate = config(&watching)
        .watch::<u32>("rate")
        .await
        .expect("a server");
    let next =
        async |rate: &mut KeyWatcher<u32>| soon("news", rate.next()).await.expect("it goes on");
    assert_eq!(next(&mut rate).await.value, None);
    writer
        .set("rate", &1_u32, Expect::Absent)
        .await
        .expect("new");
    let one = Some(Versioned {
        value: 1,
        version: 0,
    });
    assert_eq!(next(&mut rate).await.value, one);
    writer
        .set("rate", &"x".to_owned(), Expect::Any)
        .await
        .expect("any");
    let bad = next(&mut rate).await;
    assert!(
        bad.value == one && bad.error.is_some() && bad.fresh,
        "{bad:?}"
    );
    place.stop().await;
    let away = next(&mut rate).await;
    assert!(away.value == one && !away.fresh, "{away:?}");
    place.start_again().await;
    assert!(next(&mut rate).await.fresh);
    // Also over the end of the session.
    place.expire(&watching);
    let set = async || writer.set("rate", &2_u32, Expect::Any).await.is_ok();
    until("a write", set).await;
    loop {
        let setting = next(&mut rate).await;
        if setting.value.as_ref().is_some_and(|v| v.value == 2) && setting.fresh {
            assert_eq!(rate.current(), &setting);
            break;
        }
    }
    writer
        .remove("rate", Expect::Any)
        .await
        .expect("it is there");
    assert_eq!(next(&mut rate).await.value, None);
}

#[tokio::test]
async fn a_watched_tree_tells_every_key() {
    let place = Place::start().await;
    let writer = config(&place.session().await);
    writer.set("a", &1_u32, Expect::Any).await.expect("new");
    let mut tree = config(&place.session().await)
        .watch_all()
        .await
        .expect("a server");
    let mut next = async || match soon("news", tree.next()).await.expect("it goes on") {
        TreeChange::Set { key, value } => {
            format!("{key}={}", String::from_utf8_lossy(&value.value))
        }
        TreeChange::Removed { key } => format!("-{key}"),
        other => format!("{other:?}"),
    };
    assert_eq!(next().await, "=");
    assert_eq!(next().await, "a=1");
    writer.set("b/c", &2_u32, Expect::Any).await.expect("new");
    assert_eq!(next().await, "b=");
    assert_eq!(next().await, "b/c=2");
    writer.remove("b/c", Expect::Any).await.expect("there");
    assert_eq!(next().await, "-b/c");
    let (all, fresh) = tree.current();
    assert!(fresh && all.len() == 3 && all["a"].value == b"1");
}

#[tokio::test]
async fn watchers_of_one_key_in_one_session_do_not_end_each_other() {
    let place = Place::start().await;
    let config = config(&place.session().await);
    let mut first = config.watch::<u32>("k").await.expect("a server");
    let second = config.watch::<u32>("k").await.expect("a server");
    let all = config.watch_all().await.expect("a server");
    drop((second, all));
    for number in 0..3 {
        config.set("k", &number, Expect::Any).await.expect("any");
        loop {
            let setting = soon("news", first.next()).await.expect("it goes on");
            if setting.value.is_some_and(|v| v.value == number) {
                break;
            }
        }
    }
}
