//! Groups, and a service, that cannot be read.

use super::*;

#[test]
fn a_group_that_cannot_be_read_does_not_hide_the_others() {
    let bad = name(&pod(1));
    let _model = Model::serve_with(move |request, _| {
        (request.method == "GET" && request.path().ends_with(&bad)).then(|| refusal(500, "InternalServerError"))
    });
    for number in [0, 2, 3] {
        make_one(number);
    }
    let _ = pods().create(pod(1), &group(&pod(1), model::OWNER)).unwrap_err();
    memory::keep("uid-1", &memory::Memory::new(&pod(1), now()));
    let mut host = Host::default();
    host.run(seconds(30));
    assert!([0, 2, 3].iter().all(|number| host.seen(&pod(*number), "Running").is_some()));
    assert!(host.removed.is_empty());
    // The host is not told of an outage for the sake of one group.
    for _ in 0..30 {
        advance(host.poll().expect("the service is there"));
    }
}

#[test]
fn a_group_whose_reading_hangs_does_not_hold_up_the_others() {
    let bad = name(&pod(1));
    let hangs = std::rc::Rc::new(std::cell::Cell::new(false));
    let is_hanging = hangs.clone();
    let _model = Model::serve_with(move |request, _| {
        let hangs = is_hanging.get() && request.method == "GET" && request.path().ends_with(&bad);
        hangs.then(|| {
            advance(request.timeout.unwrap_or(seconds(60)));
            Response::failure(Failure::Timeout)
        })
    });
    make(5);
    hangs.set(true);
    let mut host = Host::default();
    let until = now() + seconds(60);
    while now() < until {
        let began = now();
        let pause = host.poll().expect("the service is there");
        // The host would end it after a minute.
        assert!(now() <= began + seconds(30));
        advance(pause);
    }
    assert!([0, 2, 3, 4].iter().all(|number| host.seen(&pod(*number), "Running").is_some()));
}

#[test]
fn an_outage_is_told_and_ends() {
    let down = std::rc::Rc::new(std::cell::Cell::new(false));
    let is_down = down.clone();
    let _model =
        Model::serve_with(move |_, _| is_down.get().then(|| Response::failure(Failure::Connect("refused".into()))));
    make(10);
    let mut host = Host::default();
    host.run(seconds(10));
    down.set(true);
    advance(seconds(30));
    let before = requests().len();
    assert_eq!(host.poll().unwrap_err().kind, ErrorKind::Unavailable);
    assert!(requests().len() - before <= MOST_FAILURES + 1, "{}", methods());
    assert_eq!(pods().check().unwrap_err().kind, ErrorKind::Unavailable);
    down.set(false);
    host.run(seconds(30));
    assert!(pods().check().is_ok() && host.removed.is_empty());
}

#[test]
fn a_service_that_asks_to_wait_is_left_alone() {
    let throttled = std::rc::Rc::new(std::cell::Cell::new(false));
    let is_throttled = throttled.clone();
    let _model = Model::serve_with(move |request, _| {
        let refused = is_throttled.get() && request.method == "GET";
        refused.then(|| refusal(429, "TooManyRequests").header("retry-after", "40"))
    });
    make(30);
    let mut host = Host::default();
    host.run(seconds(10));
    throttled.set(true);
    advance(seconds(20));
    let before = requests().len();
    let pause = host.poll().expect("that is no outage");
    assert!(pause >= seconds(35) && pause <= seconds(40), "{pause:?}");
    assert_eq!(requests().len(), before + 1);
    advance(seconds(35));
    pods().check().expect("it answers");
}

#[test]
fn a_service_that_lists_groups_and_lets_none_be_read_is_told_of() {
    let fails = std::rc::Rc::new(std::cell::Cell::new(false));
    let failing = fails.clone();
    let _model = Model::serve_with(move |request, _| {
        let is_group = request.method == "GET" && !request.path().ends_with("/containerGroups");
        (failing.get() && is_group && !request.path().ends_with("/token")).then(|| refusal(500, "InternalServerError"))
    });
    make(5);
    let mut host = Host::default();
    host.run(seconds(10));
    fails.set(true);
    let began = now();
    let mut told = Vec::new();
    while now() < began + seconds(90) {
        match host.poll() {
            Ok(pause) => advance(pause),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Unavailable);
                told.push(now().duration_since(began).unwrap());
                advance(seconds(1));
            }
        }
    }
    assert!(told[0] >= MOST_FAILING && told.len() > 5, "{told:?}");
    assert!(vk_sdk::testing::lines().len() <= 2, "{:?}", vk_sdk::testing::lines());
    fails.set(false);
    host.run(seconds(10));
    assert!(host.poll().is_ok());
}
