//! A store that lives through ten thousand random steps, in which processes are killed, changes fail, the power is cut
//! and others come in between, before any single change; after each step it must be whole.
//!
//! A failure names its seed: `PROVISION_STORE_SEED=N cargo test --bins checkpoint::model` goes through that life alone.

mod step;
mod truth;
mod whole;
mod world;

use std::io::ErrorKind;

use crate::changes::testing::{Dice, Event};
use step::Step;
use world::World;

/// How many lives there are, and how many steps each has.
const LIVES: u64 = 50;
const STEPS: usize = 200;

/// The changes of the longest step are about as many.
const LONGEST: usize = 30;

#[test]
fn ten_thousand_steps_leave_a_whole_store() {
    let seeds = match std::env::var("PROVISION_STORE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..LIVES).collect(),
    };
    let (odd, even): (Vec<u64>, Vec<u64>) = seeds.into_iter().partition(|seed| seed % 2 == 1);
    let events = std::thread::scope(|scope| {
        let lives = |seeds: Vec<u64>| seeds.into_iter().map(live).sum::<usize>();
        let other = scope.spawn(move || lives(odd));
        lives(even) + other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    // A generator whose events never come would find nothing.
    let steps = usize::try_from(LIVES).unwrap() * STEPS;
    let is_alone = std::env::var_os("PROVISION_STORE_SEED").is_some();
    assert!(is_alone || events > steps / 5, "{events} events in {steps} steps");
}

/// One store's life; how many events there were in it.
fn live(seed: u64) -> usize {
    let world = World::new(seed);
    let mut dice = Dice::new(seed);
    let mut events = 0;
    let mut history = Vec::new();
    for _ in 0..STEPS {
        let step = Step::roll(&mut dice);
        let event = roll_event(&mut dice, &world);
        let before = roll_moment(&mut dice);
        history.push(format!("{step:?}, {event:?} before change {before}"));
        events += usize::from(world.live_through(step, before, event));
        if let Err(wrong) = world.is_whole(dice.once_in(3)) {
            let last = history.len().saturating_sub(12);
            panic!(
                "seed {seed}, step {}: {wrong}\nthe last steps:\n{}",
                history.len(),
                history[last..].join("\n")
            );
        }
    }
    events
}

/// Early more often than late: most steps are short.
fn roll_moment(dice: &mut Dice) -> usize {
    let last = dice.below(LONGEST) + 1;
    dice.below(last)
}

fn roll_event(dice: &mut Dice, world: &World) -> Option<Event> {
    match dice.below(10) {
        0..2 => None,
        2 => Some(Event::Error(ErrorKind::StorageFull)),
        3 => Some(Event::Error(ErrorKind::Other)),
        4..6 => Some(Event::Kill),
        6..8 => Some(Event::PowerCut),
        _ => {
            // The visitor has a fate of its own.
            let (step, before) = (Step::roll(dice), roll_moment(dice));
            let event = match dice.below(4) {
                0 => Some(Event::Error(ErrorKind::StorageFull)),
                1 => Some(Event::Kill),
                2 => Some(Event::PowerCut),
                _ => None,
            };
            let world = world.clone();
            Some(Event::Visit(Box::new(move || {
                world.visit(step, before, event);
            })))
        }
    }
}

/// Each step by itself, with each event before each of its changes.
#[test]
fn no_single_change_is_a_wrong_moment() {
    let kinds: [fn() -> Event; 3] = [|| Event::Error(ErrorKind::Other), || Event::Kill, || Event::PowerCut];
    let mut moments = 0;
    for step in Step::ALL {
        for (kind, event) in kinds.iter().enumerate() {
            for before in 0.. {
                // What a power cut leaves differs from one to the next.
                let lives = if kind == 2 { 6 } else { 1 };
                let happened = (0..lives).map(|seed| {
                    let world = World::new(seed);
                    world.prepare();
                    let happened = world.live_through(step, before, Some(event()));
                    if kind == 2 && !happened {
                        // Right after it was reported.
                        world.cut_power();
                    }
                    for sweeps in [false, true] {
                        let whole = world.is_whole(sweeps);
                        assert_eq!(
                            whole,
                            Ok(()),
                            "{step:?}, {:?} before change {before}, seed {seed}",
                            event()
                        );
                    }
                    happened
                });
                if !happened.fold(false, |any, happened| any | happened) {
                    break;
                }
                moments += 1;
            }
        }
    }
    assert!(moments > 60, "{moments}");
}
