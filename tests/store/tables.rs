//! The events that are worth a name, one after the other.

use std::sync::MutexGuard;

use gitops_status_server::history::Row;
use gitops_status_server::snapshot::ETag;
use gitops_status_server::store::{Buffers, Fault, Note, Notes, Reason, Sources, Step, Store, Trouble};

use crate::disk::{
    Call, EACCES, EIO, ENOSPC, EROFS, HISTORY, Handle, Meanwhile, Plan, REFUSED, SEEDS_SEEN, STATUS, Shared, World,
};
use crate::{buffers, document, fingerprint};

const MAX_BYTES: usize = 200;
const SECOND: i64 = 1_000_000_000;
const BOTH: Sources = Sources { state: true, seed: true, max_bytes: MAX_BYTES };
const STATE: Sources = Sources { seed: false, ..BOTH };

fn a(number: u64) -> Vec<u8> {
    document("a", number, 0)
}

fn room() -> MutexGuard<'static, Buffers> {
    buffers()
}

fn start<'b>(disk: &Shared, sources: Sources, buffers: &'b mut Buffers) -> Store<'b, Handle> {
    Store::start(disk.handle(0), sources, buffers).unwrap_or_else(|reason| panic!("{reason}"))
}

fn post(store: &mut Store<'_, Handle>, status: &[u8]) -> Result<(), Trouble> {
    store.hand_over(status);
    store.post().1
}

fn status_on(disk: &Shared) -> Option<Vec<u8>> {
    disk.world().content(STATUS).map(<[u8]>::to_vec)
}

fn fail(disk: &Shared, call: Option<Call>, after: usize, fault: Fault, lasting: bool) {
    disk.world().processes[0].plans.push(Plan { call, after, fault, lasting });
}

fn calls(disk: &Shared) -> Vec<Call> {
    let log = std::mem::take(&mut disk.world().processes[0].log);
    log.into_iter().map(|(call, _)| call).collect()
}

/// A disk whose clock has moved on since somebody did `first`.
fn disk(first: impl FnOnce(&mut World)) -> Shared {
    let disk = Shared::new(1);
    {
        let mut world = disk.world();
        world.create_directory();
        first(&mut world);
        world.now += 10 * SECOND;
    }
    disk
}

/// Moves the clock and looks.
fn look(disk: &Shared, store: &mut Store<'_, Handle>) -> Notes {
    disk.world().now += 3 * SECOND;
    store.look();
    store.take_notes()
}

#[test]
fn a_start_with_any_state_and_any_seed_serves_what_is_left() {
    type Prepare = fn(&mut World);
    // What is found, whether it is served, whether it is set aside, whether the directory is of use.
    let states: [(&str, Prepare, bool, bool, bool); 8] = [
        ("missing", |_| {}, false, false, true),
        ("valid", |world| world.write_file(STATUS, &a(1), false), true, false, true),
        ("garbage", |world| world.write_file(STATUS, b"\xff\x00garbage", false), false, true, true),
        ("truncated", |world| world.write_file(STATUS, &a(1)[..9], false), false, true, true),
        ("empty", |world| world.write_file(STATUS, b"", false), false, true, true),
        ("oversize", |world| world.write_file(STATUS, &document("a", 1, MAX_BYTES), false), false, true, true),
        ("a directory", |world| world.make_directory(STATUS), false, false, false),
        (
            "unreadable",
            |world| {
                world.write_file(STATUS, &a(1), false);
                world.set_readable(STATUS, false);
            },
            false,
            false,
            false,
        ),
    ];
    let seeds: [(&str, Option<Prepare>, bool); 5] = [
        ("no seed", None, false),
        ("a valid seed", Some(|world| world.edit_seed(0, &a(2))), true),
        ("an invalid seed", Some(|world| world.edit_seed(0, b"[]")), false),
        ("an oversize seed", Some(|world| world.edit_seed(0, &[b' '; MAX_BYTES + 1])), false),
        ("a missing seed", Some(|_| {}), false),
    ];
    for (state, prepare_state, served, aside, usable) in states {
        for (seed, prepare_seed, valid) in seeds {
            let name = format!("{state}, {seed}");
            let disk = disk(|world| {
                prepare_state(world);
                if let Some(prepare) = prepare_seed {
                    prepare(world);
                }
            });
            let mut room = room();
            let sources = Sources { seed: prepare_seed.is_some(), ..BOTH };
            let before = status_on(&disk);
            let store = Store::start(disk.handle(0), sources, &mut room);
            assert_eq!(disk.world().content(REFUSED).is_some(), aside, "{name}");
            if sources.seed && !valid && !served {
                assert!(store.is_err(), "{name}");
                continue;
            }
            let mut store = store.unwrap_or_else(|reason| panic!("{name}: {reason}"));
            let expected = if served {
                a(1)
            } else if valid {
                a(2)
            } else {
                Vec::new()
            };
            assert_eq!(store.status(), expected, "{name}");
            assert_eq!(store.trouble().is_none(), usable, "{name}");
            let notes = store.take_notes();
            assert_eq!(notes.iter().any(|note| matches!(note, Note::SetAside(_))), aside, "{name}");
            if usable && !expected.is_empty() {
                assert_eq!(status_on(&disk), Some(expected), "{name}");
            } else {
                assert_eq!(status_on(&disk).filter(|_| !aside), before.filter(|_| !aside), "{name}");
            }
            assert_eq!(post(&mut store, &a(3)).is_ok(), usable, "{name}");
            if usable {
                assert_eq!(status_on(&disk), Some(a(3)), "{name}");
            }
        }
    }
}

#[test]
fn a_directory_or_an_unreadable_file_in_place_of_the_state_is_no_end_of_it() {
    for unreadable in [true, false] {
        let disk = disk(|_| {});
        let mut room = room();
        let mut store = start(&disk, STATE, &mut room);
        assert_eq!(store.take_notes()[..], [Note::NoState]);
        post(&mut store, &a(1)).expect("it is stored");
        disk.world().now += SECOND;
        match unreadable {
            true => disk.world().set_readable(STATUS, false),
            false => disk.world().make_directory(STATUS),
        }
        let notes = look(&disk, &mut store);
        assert!(matches!(notes[..], [Note::Trouble(Trouble::Step(Step::Read, _))]), "{notes:?}");
        assert!(look(&disk, &mut store).is_empty());
        assert!(post(&mut store, &a(2)).is_err());
        assert_eq!(store.status(), a(1));
        match unreadable {
            true => disk.world().set_readable(STATUS, true),
            false => disk.world().remove_file(STATUS),
        }
        look(&disk, &mut store);
        assert_eq!(store.trouble(), None);
        assert_eq!(status_on(&disk), Some(a(1)));
        assert_eq!(post(&mut store, &a(2)), Ok(()));
    }
}

#[test]
fn seen_seeds_that_are_something_else_harm_nobody() {
    let line = |number: u64, time: i64| format!("{} {time}\n", ETag::of(&a(number)).hex());
    let lines = |count: u64, time: i64| (0..count).map(|number| line(number, time)).collect::<String>().into_bytes();
    let contents: [(&str, Vec<u8>); 8] = [
        ("empty", Vec::new()),
        ("garbage", b"\xff\xfe\0\n\n \n".to_vec()),
        ("words", b"no such tag 17\n0123456789abcdef\n0123456789abcdef x\n".to_vec()),
        ("too long", vec![b'x'; 4_000]),
        ("more than eight", lines(9, 1_700_000_000_000_000_000)),
        ("many short ones", lines(17, 1)),
        ("the same one often", line(1, 5).repeat(10).into_bytes()),
        ("times of all lengths", [line(1, i64::MIN), line(2, i64::MAX)].concat().into_bytes()),
    ];
    for (name, content) in contents {
        let disk = disk(|world| {
            world.write_file(STATUS, &a(100), false);
            world.write_file(SEEDS_SEEN, &content, false);
            world.edit_seed(0, &a(200));
        });
        let mut room = room();
        let mut store = start(&disk, BOTH, &mut room);
        assert_eq!(store.trouble(), None, "{name}");
        assert_eq!(post(&mut store, &a(300)), Ok(()), "{name}");
        disk.world().edit_seed(0, &a(201));
        look(&disk, &mut store);
        assert_eq!(store.status(), a(201), "{name}");
        drop(store);
        let store = start(&disk, BOTH, &mut room);
        assert_eq!(store.status(), a(201), "{name}");
    }
}

#[test]
fn seen_seeds_that_cannot_be_read_just_now_are_not_forgotten() {
    let disk = disk(|world| world.edit_seed(0, &a(1)));
    let mut room = room();
    {
        let mut store = start(&disk, BOTH, &mut room);
        post(&mut store, &a(2)).expect("it is stored");
    }
    disk.world().now += SECOND;
    disk.world().edit_seed(0, &a(3));
    fail(&disk, Some(Call::ReadSeedsSeen), 0, EIO, false);
    let mut store = start(&disk, BOTH, &mut room);
    look(&disk, &mut store);
    assert_eq!(store.status(), a(3), "the edit that came while the server was down is lost");
}

#[test]
fn seen_seeds_that_are_a_directory_are_told_of() {
    let disk = disk(|world| {
        world.write_file(STATUS, &a(1), false);
        world.make_directory(SEEDS_SEEN);
        world.edit_seed(0, &a(2));
    });
    let mut room = room();
    let mut store = start(&disk, BOTH, &mut room);
    assert_eq!(store.status(), a(1));
    assert!(matches!(store.trouble(), Some(Trouble::Step(Step::Rename, _))));
    disk.world().remove_file(SEEDS_SEEN);
    look(&disk, &mut store);
    assert_eq!(store.trouble(), None);
    assert_eq!(post(&mut store, &a(3)), Ok(()));
    look(&disk, &mut store);
    assert_eq!(store.status(), a(3));
}

#[test]
fn of_more_than_eight_seeds_the_oldest_is_forgotten_and_the_order_is_kept() {
    let disk = disk(|world| world.edit_seed(0, &a(0)));
    let mut room = room();
    let mut store = start(&disk, BOTH, &mut room);
    for number in 1..=20 {
        disk.world().edit_seed(0, &a(number));
        look(&disk, &mut store);
        assert_eq!(store.status(), a(number));
        post(&mut store, &a(1_000 + number)).expect("it is stored");
        assert!(look(&disk, &mut store).is_empty());
    }
    let seen = String::from_utf8(disk.world().content(SEEDS_SEEN).expect("it is there").to_vec()).expect("it is text");
    let expected: Vec<String> = (13..=20).map(|number| ETag::of(&a(number)).hex().to_string()).collect();
    let tags: Vec<&str> = seen.lines().filter_map(|line| Some(line.split_once(' ')?.0)).collect();
    assert_eq!(tags, expected);
    drop(store);
    let store = start(&disk, BOTH, &mut room);
    assert_eq!(store.status(), a(1_020));
}

#[test]
fn an_edit_back_to_an_earlier_seed_counts_where_it_can_be_known() {
    // Live: whatever the clock says. While the server is down: when the file is newer than the newest seed.
    for (live, pause, newer) in [(true, 5, true), (true, 0, false), (false, 5, true), (false, 0, false)] {
        let disk = disk(|world| world.edit_seed(0, &a(1)));
        let mut room = room();
        let old = disk.world().prepare_seed(&a(1));
        let mut store = start(&disk, BOTH, &mut room);
        disk.world().now += SECOND;
        disk.world().edit_seed(0, &a(2));
        look(&disk, &mut store);
        assert_eq!(store.status(), a(2));
        post(&mut store, &a(3)).expect("it is stored");
        let go_back = || {
            let mut world = disk.world();
            world.now += pause * SECOND;
            match newer {
                true => world.edit_seed(0, &a(1)),
                false => world.swap_seed(0, old, false),
            }
        };
        let status = if live {
            go_back();
            look(&disk, &mut store);
            store.status().to_vec()
        } else {
            drop(store);
            go_back();
            start(&disk, BOTH, &mut room).status().to_vec()
        };
        let expected = if live || newer { a(1) } else { a(3) };
        assert_eq!(status, expected, "live: {live}, newer: {newer}");
    }
}

#[test]
fn of_a_seed_and_a_state_that_changed_between_two_looks_the_later_one_wins() {
    for seed_is_later in [true, false] {
        let disk = disk(|world| world.edit_seed(0, &a(1)));
        let mut room = room();
        let mut store = start(&disk, BOTH, &mut room);
        look(&disk, &mut store);
        for step in [seed_is_later, !seed_is_later] {
            let mut world = disk.world();
            world.now += SECOND;
            match step {
                true => world.write_file(STATUS, &a(2), false),
                false => world.edit_seed(0, &a(3)),
            }
        }
        look(&disk, &mut store);
        let expected = if seed_is_later { a(3) } else { a(2) };
        assert_eq!(store.status(), expected);
        assert_eq!(status_on(&disk), Some(expected.clone()));
        assert!(look(&disk, &mut store).is_empty());
        drop(store);
        assert_eq!(start(&disk, BOTH, &mut room).status(), expected);
    }
}

#[test]
fn what_is_told_of_trouble_is_harmless_text_that_names_the_step() {
    let steps = [
        (Step::Open, "open"),
        (Step::Look, "look at status.json"),
        (Step::Read, "read status.json"),
        (Step::ReadSeeds, "read seeds-seen"),
        (Step::Create, "create"),
        (Step::Write, "write"),
        (Step::Sync, "synchronise what"),
        (Step::Rename, "rename"),
        (Step::SyncDirectory, "synchronise the state directory"),
    ];
    let mut sentences = Vec::new();
    for (step, word) in steps {
        let codes = (-1..=140).chain([i32::MIN, i32::MAX]).map(Fault::Os);
        for fault in codes.chain([Fault::NotAFile, Fault::TooLarge]) {
            let trouble = Trouble::Step(step, fault);
            let text = trouble.to_string();
            assert!(text.starts_with("cannot ") && text.contains(word), "{text}");
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !b"\"\\<>&".contains(&byte)), "{text}");
            assert!(text.len() <= 100 && !text.contains("  "), "{text}");
            assert!(text.ends_with(&fault.to_string()));
            assert_eq!(Reason::Fault(fault).to_string(), fault.to_string());
            assert_eq!(trouble.is_full(), [27, 28, 122].map(Fault::Os).contains(&fault), "{text}");
            sentences.push(text);
        }
    }
    let count = sentences.len();
    sentences.sort();
    sentences.dedup();
    assert_eq!(sentences.len(), count, "two troubles sound the same");
    assert_eq!(Trouble::Slow.to_string(), "the file system does not answer");
}

#[test]
fn any_one_step_of_a_post_may_fail_and_the_old_status_stays() {
    for (sources, first) in [(STATE, true), (STATE, false), (BOTH, false)] {
        for fault in [EIO, ENOSPC, EROFS, EACCES] {
            let mut stored = 0;
            for step in 0.. {
                let disk = disk(|world| world.edit_seed(0, &a(1)));
                let mut room = room();
                let mut store = start(&disk, sources, &mut room);
                if !first {
                    post(&mut store, &a(2)).expect("it is stored");
                }
                let old = store.status().to_vec();
                store.take_notes();
                disk.world().processes[0].injected.clear();
                fail(&disk, None, step, fault, false);
                let result = post(&mut store, &a(3));
                let Some(call) = disk.world().processes[0].injected.first().copied() else {
                    assert_eq!(result, Ok(()));
                    assert!(stored <= 2 && step > 5, "{step}");
                    break;
                };
                disk.world().repair();
                if result == Ok(()) {
                    // Nobody needs the seed to store a status.
                    stored += 1;
                    assert!(matches!(call, Call::StatSeed | Call::ReadSeed | Call::StatDirectory), "{call:?}");
                    continue;
                }
                let trouble = result.expect_err("a step failed");
                assert_eq!(store.trouble(), Some(trouble));
                assert_eq!(trouble.is_full(), fault == ENOSPC);
                assert_eq!(store.take_notes()[..], [Note::Trouble(trouble)]);
                assert_eq!(store.status(), old, "{call:?}");
                assert_eq!(status_on(&disk).unwrap_or_default(), old, "{call:?} of the first post: {first}");
                let notes = look(&disk, &mut store);
                assert_eq!(notes[..], [Note::Usable], "{call:?}");
                assert_eq!(status_on(&disk).unwrap_or_default(), old, "{call:?}");
                assert!(!disk.world().names().iter().any(|name| name.ends_with(".tmp")), "{call:?}");
                assert_eq!(post(&mut store, &a(4)), Ok(()));
            }
        }
    }
}

/// Does something to a store that has `a(2)` and then crashes after each number of steps.
fn crash_after_each_step(edit: bool, mut act: impl FnMut(&mut Store<'_, Handle>), allowed: &[Vec<u8>]) {
    for steps in 0.. {
        let disk = disk(|world| world.edit_seed(0, &a(1)));
        let mut room = room();
        let crashed = {
            let mut store = start(&disk, BOTH, &mut room);
            post(&mut store, &a(2)).expect("it is stored");
            look(&disk, &mut store);
            if edit {
                disk.world().edit_seed(0, &a(3));
            }
            disk.world().processes[0].log.clear();
            disk.world().processes[0].crash_after = Some(steps);
            act(&mut store);
            disk.world().processes[0].crashed
        };
        let on_disk = status_on(&disk).expect("there is always one");
        assert!(on_disk == a(2) || allowed.contains(&on_disk), "after {steps} steps");
        let mut store = start(&disk, BOTH, &mut room);
        assert!(allowed.contains(&store.status().to_vec()), "after {steps} steps");
        let first = store.status().to_vec();
        store.take_notes();
        assert!(look(&disk, &mut store).is_empty(), "after {steps} steps");
        assert_eq!(store.trouble(), None);
        assert_eq!(status_on(&disk), Some(first.clone()));
        assert_eq!(disk.world().names(), [HISTORY, SEEDS_SEEN, STATUS], "after {steps} steps");
        drop(store);
        assert_eq!(start(&disk, BOTH, &mut room).status(), first, "after {steps} steps and one more start");
        if !crashed {
            assert!(steps > 1);
            break;
        }
    }
}

#[test]
fn a_crash_after_any_step_of_a_post_leaves_the_old_status_or_the_new_one() {
    crash_after_each_step(false, |store| _ = post(store, &a(4)), &[a(2), a(4)]);
}

#[test]
fn a_crash_after_any_step_of_a_post_that_finds_an_edit_leaves_the_edit_or_the_post() {
    crash_after_each_step(true, |store| _ = post(store, &a(4)), &[a(3), a(4)]);
}

#[test]
fn a_crash_after_any_step_of_a_look_that_finds_an_edit_leaves_the_edit() {
    crash_after_each_step(true, |store| _ = store.look(), &[a(3)]);
}

#[test]
fn a_crash_after_any_step_of_a_start_loses_nothing() {
    type Prepare = fn(&mut World);
    let cases: [(&str, Prepare, u64); 3] = [
        ("nothing but a seed", |_| {}, 1),
        ("a state that is none", |world| world.write_file(STATUS, b"[", false), 1),
        ("a state and another seed", |world| world.write_file(STATUS, &a(2), false), 2),
    ];
    for (name, prepare, expected) in cases {
        for steps in 0.. {
            let disk = disk(|world| {
                world.edit_seed(0, &a(1));
                prepare(world);
            });
            let mut room = room();
            let handle = disk.handle(0);
            disk.world().processes[0].crash_after = Some(steps);
            drop(Store::start(handle, BOTH, &mut room));
            let crashed = disk.world().processes[0].crashed;
            let mut store = start(&disk, BOTH, &mut room);
            assert_eq!(store.status(), a(expected), "{name}, after {steps} steps");
            assert_eq!(store.trouble(), None);
            post(&mut store, &a(5)).expect("it is stored");
            drop(store);
            assert_eq!(start(&disk, BOTH, &mut room).status(), a(5), "{name}, after {steps} steps");
            if !crashed {
                break;
            }
        }
    }
}

#[test]
fn a_start_that_cannot_read_the_state_does_not_write_the_seed_over_it() {
    for call in [Call::Prepare, Call::ReadStatus] {
        for fault in [EIO, EACCES, Fault::STALE, Fault::Os(24)] {
            for times in [1, 2] {
                let disk = disk(|world| world.edit_seed(0, &a(1)));
                let mut room = room();
                {
                    let mut store = start(&disk, BOTH, &mut room);
                    post(&mut store, &a(2)).expect("it is stored");
                }
                disk.world().now += 10 * SECOND;
                for _ in 0..times {
                    fail(&disk, Some(call), 0, fault, false);
                }
                let mut store = start(&disk, BOTH, &mut room);
                assert_eq!(status_on(&disk), Some(a(2)), "{call:?}: {fault}");
                look(&disk, &mut store);
                look(&disk, &mut store);
                assert_eq!(store.status(), a(2), "{call:?}: {fault}");
                assert_eq!(status_on(&disk), Some(a(2)), "{call:?}: {fault}, {times} times");
                assert_eq!(store.trouble(), None);
            }
        }
    }
}

#[test]
fn an_edit_while_the_first_seed_cannot_be_stored_is_taken() {
    let disk = disk(|world| world.edit_seed(0, &a(1)));
    let mut room = room();
    fail(&disk, Some(Call::Create), 0, EROFS, true);
    let mut store = start(&disk, BOTH, &mut room);
    assert_eq!(store.status(), a(1));
    disk.world().now += SECOND;
    disk.world().edit_seed(0, &a(2));
    look(&disk, &mut store);
    disk.world().repair();
    look(&disk, &mut store);
    assert_eq!(store.status(), a(2));
    assert_eq!(status_on(&disk), Some(a(2)));
}

#[test]
fn an_edit_that_was_undone_before_it_could_be_stored_does_not_bring_the_first_seed_over_a_post() {
    let disk = disk(|world| world.edit_seed(0, &a(1)));
    let mut room = room();
    let mut store = start(&disk, BOTH, &mut room);
    fail(&disk, Some(Call::Create), 0, ENOSPC, true);
    disk.world().edit_seed(0, &a(2));
    look(&disk, &mut store);
    assert!(store.trouble().is_some_and(Trouble::is_full));
    disk.world().now += SECOND;
    disk.world().edit_seed(0, &a(1));
    look(&disk, &mut store);
    disk.world().repair();
    look(&disk, &mut store);
    post(&mut store, &a(3)).expect("it is stored");
    look(&disk, &mut store);
    assert_eq!(store.status(), a(3));
    drop(store);
    assert_eq!(start(&disk, BOTH, &mut room).status(), a(3));
}

#[test]
fn an_edit_that_cannot_be_stored_is_taken_later_and_no_post_is_taken_before_it() {
    for repaired in [true, false] {
        let disk = disk(|world| world.edit_seed(0, &a(1)));
        let mut room = room();
        let mut store = start(&disk, BOTH, &mut room);
        // There is room for the seen seeds, and not for a status.
        fail(&disk, Some(Call::RenameStatus), 0, ENOSPC, true);
        disk.world().now += SECOND;
        disk.world().edit_seed(0, &a(2));
        look(&disk, &mut store);
        assert_eq!(store.status(), a(1));
        assert_eq!(post(&mut store, &a(3)), Err(Trouble::Step(Step::Rename, ENOSPC)));
        assert_eq!(store.status(), a(1));
        if repaired {
            disk.world().repair();
            assert_eq!(post(&mut store, &a(4)), Ok(()));
            assert!(store.take_notes().contains(&Note::SeedTaken(a(2).len())));
        }
        drop(store);
        disk.world().repair();
        let expected = if repaired { a(4) } else { a(2) };
        assert_eq!(start(&disk, BOTH, &mut room).status(), expected);
    }
}

#[test]
fn an_edit_back_counts_though_the_edit_before_is_not_yet_among_the_seen_seeds() {
    let disk = disk(|world| world.edit_seed(0, &a(1)));
    let mut room = room();
    let mut store = start(&disk, BOTH, &mut room);
    fail(&disk, Some(Call::RenameSeedsSeen), 0, EIO, true);
    disk.world().edit_seed(0, &a(2));
    look(&disk, &mut store);
    assert_eq!(store.status(), a(2));
    disk.world().repair();
    disk.world().edit_seed(0, &a(1));
    look(&disk, &mut store);
    assert_eq!(store.status(), a(1));
}

#[test]
fn a_write_in_place_right_after_a_post_is_seen_though_its_stamp_is_the_same() {
    let disk = disk(|world| world.tick = 2 * SECOND);
    let mut room = room();
    let mut store = start(&disk, STATE, &mut room);
    post(&mut store, &a(1)).expect("it is stored");
    disk.world().write_file(STATUS, &a(2), true);
    look(&disk, &mut store);
    assert_eq!(store.status(), a(2));
}

#[test]
fn two_writes_of_others_with_one_stamp_are_both_seen_and_a_bad_one_is_told_of_once() {
    let disk = disk(|world| world.write_file(STATUS, &a(1), false));
    let mut room = room();
    let mut store = start(&disk, STATE, &mut room);
    disk.world().write_file(STATUS, &a(2), true);
    assert!(store.look());
    disk.world().write_file(STATUS, &a(3), true);
    look(&disk, &mut store);
    assert_eq!(store.status(), a(3));
    store.take_notes();
    disk.world().now += 10 * SECOND;
    disk.world().write_file(STATUS, b"[1]", true);
    assert!(!store.look());
    assert!(matches!(store.take_notes()[..], [Note::StateRefused(_, 1)]));
    for _ in 0..3 {
        assert!(look(&disk, &mut store).is_empty());
    }
    assert_eq!(store.status(), a(3));
    disk.world().write_file(STATUS, b"[2]", false);
    assert!(matches!(look(&disk, &mut store)[..], [Note::StateRefused(_, 2)]));
}

#[test]
fn a_look_at_what_has_not_changed_is_one_stat_for_each_file() {
    type Spoil = fn(&mut World);
    let seeds: [Spoil; 3] = [|_| {}, |world| world.edit_seed(0, b"[]"), |world| world.remove_seed(0)];
    for (sources, expected) in [(STATE, &[Call::StatStatus][..]), (BOTH, &[Call::StatStatus, Call::StatSeed])] {
        for spoil in seeds {
            let disk = disk(|world| world.edit_seed(0, &a(1)));
            let mut room = room();
            let mut store = start(&disk, sources, &mut room);
            post(&mut store, &a(2)).expect("it is stored");
            spoil(&mut disk.world());
            look(&disk, &mut store);
            look(&disk, &mut store);
            calls(&disk);
            assert!(look(&disk, &mut store).is_empty());
            assert_eq!(calls(&disk), expected);
        }
    }
}

#[test]
fn a_post_that_was_refused_is_gone_even_where_there_was_no_status_before() {
    let disk = disk(|_| {});
    let mut room = room();
    let mut store = start(&disk, STATE, &mut room);
    fail(&disk, Some(Call::SyncDirectory), 0, EIO, false);
    assert!(post(&mut store, &a(1)).is_err());
    look(&disk, &mut store);
    calls(&disk);
    look(&disk, &mut store);
    assert_eq!(calls(&disk), [Call::StatStatus, Call::StatDirectory], "a look that costs more than it should");
    assert_eq!(status_on(&disk), None);
    drop(store);
    assert!(start(&disk, STATE, &mut room).status().is_empty());
}

#[test]
fn what_is_written_into_a_directory_that_is_new_is_not_taken_for_what_was_lost() {
    let disk = disk(|_| {});
    let mut room = room();
    let mut store = start(&disk, STATE, &mut room);
    post(&mut store, &a(1)).expect("it is stored");
    look(&disk, &mut store);
    disk.world().remove_directory();
    look(&disk, &mut store);
    assert!(matches!(store.trouble(), Some(Trouble::Step(Step::Open, Fault::NOT_FOUND))));
    disk.world().create_directory();
    assert_eq!(look(&disk, &mut store)[..], [Note::Usable]);
    assert_eq!(status_on(&disk), Some(a(1)));
    disk.world().remove_file(STATUS);
    assert_eq!(look(&disk, &mut store)[..], [Note::Restored]);
    assert_eq!(status_on(&disk), Some(a(1)));
}

#[test]
fn without_a_directory_every_content_of_the_seed_is_the_status_once() {
    let disk = disk(|world| world.edit_seed(0, &a(1)));
    let mut room = room();
    let mut store = start(&disk, Sources { state: false, ..BOTH }, &mut room);
    assert_eq!(store.status(), a(1));
    store.take_notes();
    for number in [2, 1, 2] {
        disk.world().edit_seed(0, &a(number));
        assert!(matches!(look(&disk, &mut store)[..], [Note::SeedTaken(_)]));
        assert_eq!(store.status(), a(number));
        assert_eq!(post(&mut store, &a(9)), Ok(()));
        assert!(look(&disk, &mut store).is_empty());
        assert_eq!(store.status(), a(9));
    }
    calls(&disk);
    look(&disk, &mut store);
    assert_eq!(calls(&disk), [Call::StatSeed]);
}

#[test]
fn an_older_seed_that_is_written_again_as_it_was_does_not_come_back_over_a_post() {
    let disk = disk(|world| world.edit_seed(0, &a(1)));
    let mut room = room();
    let old = disk.world().prepare_seed(&a(1));
    let mut store = start(&disk, BOTH, &mut room);
    disk.world().now += SECOND;
    disk.world().edit_seed(0, &a(2));
    look(&disk, &mut store);
    drop(store);
    disk.world().swap_seed(0, old, false);
    let mut store = start(&disk, BOTH, &mut room);
    assert_eq!(store.status(), a(2), "it belongs to somebody whom the newest one has not reached");
    disk.world().now += SECOND;
    disk.world().edit_seed(0, &a(1));
    look(&disk, &mut store);
    post(&mut store, &a(3)).expect("it is stored");
    drop(store);
    assert_eq!(start(&disk, BOTH, &mut room).status(), a(3));
}

#[test]
fn what_was_refused_is_not_put_back_over_what_another_replica_stored_meanwhile() {
    let disk = Shared::new(2);
    disk.world().create_directory();
    let (mut room, mut other_room) = (room(), buffers());
    let mut store = start(&disk, STATE, &mut room);
    post(&mut store, &a(1)).expect("it is stored");
    let mut other = Store::start(disk.handle(1), STATE, &mut other_room).expect("it starts");
    // It is stored while the directory is being synchronised, in vain.
    disk.world().meanwhile = Some((STATUS.to_owned(), a(2)));
    fail(&disk, Some(Call::SyncDirectory), 0, EIO, false);
    assert!(post(&mut store, &a(3)).is_err());
    look(&disk, &mut store);
    look(&disk, &mut other);
    assert_eq!(status_on(&disk), Some(a(2)));
    assert_eq!((store.status(), other.status()), (&a(2)[..], &a(2)[..]));
}

#[test]
fn a_state_that_was_removed_does_not_make_an_older_seed_the_newest_again() {
    let disk = Shared::new(2);
    {
        let mut world = disk.world();
        world.create_directory();
        (0..2).for_each(|seed| world.edit_seed(seed, &a(1)));
    }
    let (mut room, mut other_room) = (room(), buffers());
    let mut store = start(&disk, BOTH, &mut room);
    let mut other = Store::start(disk.handle(1), BOTH, &mut other_room).expect("it starts");
    disk.world().now += SECOND;
    disk.world().edit_seed(0, &a(2));
    look(&disk, &mut store);
    disk.world().now += 3 * SECOND;
    // Its seed is not read again from now on.
    look(&disk, &mut store);
    disk.world().edit_seed(1, &a(3));
    other.look();
    assert_eq!(other.status(), a(3));
    look(&disk, &mut store);
    let seeds_seen = || disk.world().content(SEEDS_SEEN).expect("seeds were taken").to_vec();
    let before = seeds_seen();
    disk.world().remove_file(STATUS);
    look(&disk, &mut store);
    assert_eq!(store.status(), a(3));
    assert_eq!(seeds_seen(), before);
    // Where they are gone too, the one that is known is there again.
    disk.world().remove_file(STATUS);
    disk.world().remove_file(SEEDS_SEEN);
    look(&disk, &mut store);
    assert!(!seeds_seen().is_empty());
}

/// The numbers of the statuses `a` that the rows are of, the oldest first, and how often each was reported.
fn rows(store: &Store<'_, Handle>) -> Vec<(u64, u32)> {
    let number = |row: &Row| (0..200).find(|&number| fingerprint(&a(number)) == row.fingerprint);
    store.history().rows().iter().map(|row| (number(row).expect("it is one of those"), row.count)).collect()
}

fn whole(store: &Store<'_, Handle>) -> Vec<Row> {
    store.history().rows().to_vec()
}

#[test]
fn the_newest_row_says_what_the_newest_report_of_the_same_said() {
    let checked = |at: u64| format!("{{\"sync_status\":\"SYNCED\",\"last_check\":\"{at}\"}}").into_bytes();
    let disk = disk(|_| {});
    let mut room = room();
    disk.world().tick = SECOND / 250;
    let mut store = start(&disk, STATE, &mut room);
    for at in 0..5 {
        post(&mut store, &checked(at)).expect("it is stored");
    }
    let last_check = |store: &Store<'_, Handle>| whole(store)[0].last_check.clone().map(|text| text.to_string());
    assert_eq!(last_check(&store).as_deref(), Some("4"));
    drop(store);
    assert_eq!(last_check(&start(&disk, STATE, &mut room)).as_deref(), Some("4"));
}

#[test]
fn the_history_is_the_same_for_all_though_the_clock_goes_back() {
    let disk = Shared::new(2);
    disk.world().create_directory();
    let (mut room, mut other_room) = (room(), buffers());
    let mut store = start(&disk, STATE, &mut room);
    let mut other = Store::start(disk.handle(1), STATE, &mut other_room).expect("it starts");
    for (number, step) in [(1, 60), (2, 60), (3, -90), (4, 1), (5, -3), (5, 1), (6, -100), (6, 300), (7, 1)] {
        disk.world().now += step * SECOND;
        post(if number % 2 == 0 { &mut store } else { &mut other }, &a(number)).expect("it is stored");
        for replica in [&mut store, &mut other] {
            replica.look();
        }
        assert_eq!(whole(&store), whole(&other), "after {number}");
    }
    assert_eq!(rows(&store), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2), (7, 1)]);
    let before = whole(&store);
    // What somebody edits now is later than some, and earlier than others.
    disk.world().now -= 100 * SECOND;
    disk.world().write_file(STATUS, &a(8), false);
    for replica in [&mut store, &mut other] {
        replica.look();
    }
    assert_eq!(whole(&store), whole(&other));
    assert_eq!(whole(&store)[..7], before);
    drop(store);
    drop(other);
    assert_eq!(rows(&start(&disk, STATE, &mut room))[6..], [(7, 1), (8, 1)]);
}

#[test]
fn a_status_that_is_written_again_was_not_reported_again() {
    let disk = disk(|_| {});
    let mut room = room();
    let mut store = start(&disk, STATE, &mut room);
    for number in [1, 2] {
        disk.world().now += SECOND;
        post(&mut store, &a(number)).expect("it is stored");
    }
    let before = whole(&store);
    // Because it was deleted, or all of the directory; or because another one could not be stored in its place.
    for way in 0..3 {
        disk.world().now += 60 * SECOND;
        match way {
            0 => disk.world().remove_file(STATUS),
            1 => {
                disk.world().remove_directory();
                disk.world().create_directory();
            }
            _ => {
                fail(&disk, Some(Call::SyncDirectory), 0, EIO, false);
                assert!(post(&mut store, &a(3)).is_err());
            }
        }
        look(&disk, &mut store);
        assert_eq!(store.trouble(), None);
        assert_eq!(status_on(&disk), Some(a(2)));
        assert_eq!(whole(&store), before, "way {way}");
        drop(store);
        store = start(&disk, STATE, &mut room);
        assert_eq!(whole(&store), before, "way {way}, after a restart");
    }
}

#[test]
fn a_state_that_is_set_aside_does_not_take_the_history_with_it() {
    for seed in [false, true] {
        let disk = disk(|world| world.edit_seed(0, &a(9)));
        let mut room = room();
        let sources = Sources { seed, ..BOTH };
        {
            let mut store = start(&disk, STATE, &mut room);
            (1..5).for_each(|number| post(&mut store, &a(number)).expect("it is stored"));
        }
        disk.world().write_file(STATUS, b"{", false);
        let mut store = start(&disk, sources, &mut room);
        (5..8).for_each(|number| post(&mut store, &a(number)).expect("it is stored"));
        // What the state said is lost with it.
        let expected: Vec<_> = [1, 2, 3, 9, 5, 6, 7].into_iter().filter(|&number| number != 9 || seed).collect();
        assert_eq!(rows(&store), expected.iter().map(|&number| (number, 1)).collect::<Vec<_>>());
        let before = whole(&store);
        drop(store);
        assert_eq!(whole(&start(&disk, sources, &mut room)), before);
    }
}

#[test]
fn a_history_that_cannot_be_read_is_told_of_and_not_written_over() {
    for at_start in [true, false] {
        let disk = disk(|_| {});
        let mut room = room();
        let mut store = start(&disk, STATE, &mut room);
        (1..5).for_each(|number| post(&mut store, &a(number)).expect("it is stored"));
        let before = whole(&store);
        look(&disk, &mut store);
        fail(&disk, Some(Call::ReadHistory), 0, EACCES, true);
        let trouble = Trouble::Step(Step::ReadHistory, EACCES);
        if at_start {
            drop(store);
            store = Store::start(disk.handle(0), STATE, &mut room).expect("it starts");
            assert_eq!(store.take_notes()[..], [Note::StateTaken(a(4).len()), Note::Trouble(trouble)]);
        } else {
            disk.world().now += SECOND;
            disk.world().write_file(STATUS, &a(4), false);
            let notes = look(&disk, &mut store);
            assert_eq!(notes[..], [Note::Trouble(trouble)]);
        }
        for _ in 0..3 {
            assert_eq!(post(&mut store, &a(9)), Err(trouble));
            assert_eq!(look(&disk, &mut store)[..], []);
            assert_eq!(store.trouble(), Some(trouble));
            assert_eq!(store.status(), a(4));
        }
        disk.world().repair();
        assert_eq!(look(&disk, &mut store)[..], [Note::Usable]);
        let again = [(1, 1), (2, 1), (3, 1), (4, if at_start { 1 } else { 2 })];
        assert_eq!(rows(&store), again);
        assert!(!at_start || whole(&store) == before);
        post(&mut store, &a(5)).expect("it is stored");
        assert_eq!(rows(&store), [&again[..], &[(5, 1)]].concat());
    }
}

#[test]
fn what_another_replica_stores_in_the_middle_of_a_look_is_in_the_history_once_and_in_its_order() {
    for posted_before in [true, false] {
        for steps in 0..9 {
            let disk = Shared::new(2);
            disk.world().create_directory();
            let mut room = room();
            let mut handle = disk.handle(0);
            let shared = disk.clone();
            let posts = move |numbers: std::ops::Range<u64>| {
                let mut room = buffers();
                let mut other = Store::start(shared.handle(1), STATE, &mut room).expect("it starts");
                for number in numbers {
                    shared.world().now += 1;
                    post(&mut other, &a(number)).expect("it is stored");
                }
            };
            let later = posts.clone();
            handle.meanwhile = Some(Meanwhile(Box::new(move || later(4..7))));
            let mut store = Store::start(handle, STATE, &mut room).expect("it starts");
            if posted_before {
                post(&mut store, &a(1)).expect("it is stored");
                posts(2..4);
            } else {
                posts(1..4);
            }
            {
                let mut world = disk.world();
                world.processes[0].log.clear();
                world.interrupted_after = Some(steps);
            }
            store.look();
            store.look();
            let expected: Vec<_> = (1..if disk.world().content(STATUS) == Some(&a(6)) { 7 } else { 4 })
                .map(|number| (number, 1))
                .collect();
            assert_eq!(rows(&store), expected, "after {steps} steps");
            let mut other_room = buffers();
            let other = Store::start(disk.handle(1), STATE, &mut other_room).expect("it starts");
            assert_eq!(whole(&store), whole(&other), "after {steps} steps");
        }
    }
}
