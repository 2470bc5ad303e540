//! How many requests an account has under way: more while WeChat takes them, half as soon as it is too busy.
//!
//! WeChat publishes no figure; users saw `-1 system error` at 400 at once. So the number is found out by additive
//! increase and multiplicative decrease, as TCP does (RFC 5681, section 3.1).

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Requests at once before anything is known.
const FIRST: f64 = 50.0;
/// Requests at once at most, whatever WeChat takes.
const MOST: f64 = 1_000.0;

#[derive(Debug)]
pub(super) struct Window {
    state: Mutex<State>,
    room: Notify,
}

#[derive(Debug)]
struct State {
    /// At least 1.
    limit: f64,
    under_way: u32,
    /// How often the limit was halved.
    halved: u64,
}

impl State {
    fn has_room(&self) -> bool {
        f64::from(self.under_way) + 1.0 <= self.limit
    }
}

impl Window {
    pub(super) fn new() -> Self {
        Window { state: Mutex::new(State { limit: FIRST, under_way: 0, halved: 0 }), room: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more request may be under way.
    pub(super) async fn enter(&self) -> Place<'_> {
        loop {
            let room = self.room.notified();
            if let Some(place) = self.place() {
                return place;
            }
            room.await;
        }
    }

    fn place(&self) -> Option<Place<'_>> {
        let mut state = self.state();
        if !state.has_room() {
            return None;
        }
        state.under_way += 1;
        let place = Place { window: self, halved: state.halved };
        if state.has_room() {
            // Who leaves wakes one, and there may be room for more.
            self.room.notify_one();
        }
        Some(place)
    }

    #[cfg(test)]
    pub(super) fn limit(&self) -> f64 {
        self.state().limit
    }
}

/// One request under way; it leaves when it is dropped.
#[derive(Debug)]
pub(super) struct Place<'w> {
    window: &'w Window,
    /// As it was when the request began.
    halved: u64,
}

impl Place<'_> {
    /// WeChat took the request. The limit grows only where it was what held requests back.
    pub(super) fn taken(self) {
        let mut state = self.window.state();
        if !state.has_room() {
            state.limit = (state.limit + 1.0 / state.limit).min(MOST);
        }
    }

    /// WeChat is too busy. Requests that were under way at the last time say nothing new.
    pub(super) fn too_many(self) {
        let mut state = self.window.state();
        if state.halved == self.halved {
            state.limit = (state.limit / 2.0).max(1.0);
            state.halved += 1;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.window.state().under_way -= 1;
        self.window.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    fn filled(window: &Window) -> Vec<Place<'_>> {
        std::iter::from_fn(|| window.place()).collect()
    }

    #[test]
    fn one_wave_of_refusals_halves_once() {
        let window = Window::new();
        let places = filled(&window);
        assert_eq!(places.len(), 50);
        places.into_iter().for_each(Place::too_many);
        assert_eq!(window.limit(), 25.0);
        filled(&window).into_iter().for_each(Place::too_many);
        assert_eq!(window.limit(), 12.5);
    }

    #[test]
    fn a_round_of_successes_makes_room_for_about_one_more() {
        let window = Window::new();
        filled(&window).into_iter().next().map(Place::taken).unwrap();
        assert!(window.limit() > 50.0);
        let idle = Window::new();
        idle.place().unwrap().taken();
        assert_eq!(idle.limit(), 50.0, "one request alone does not show that more could go");
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_one_leaves() {
        let window = Window::new();
        let mut places = filled(&window);
        let mut waits = [Box::pin(window.enter()), Box::pin(window.enter())];
        assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_none()));
        drop(places.split_off(48));
        let [first, second] = waits;
        let both = tokio::join!(first, second);
        assert!(window.place().is_none());
        drop(both);
        assert!(window.place().is_some());
    }

    proptest! {
        #[test]
        fn never_more_under_way_than_the_limit_allowed(steps in prop::collection::vec(0..3, 0..300)) {
            let window = Window::new();
            let mut places = Vec::new();
            for step in steps {
                match step {
                    0 => while let Some(place) = window.place() { places.push(place) },
                    1 => if let Some(place) = places.pop() { place.taken() },
                    _ => if let Some(place) = places.pop() { place.too_many() },
                }
                let (limit, room) = (window.limit(), window.place().is_some());
                prop_assert!((1.0..=MOST).contains(&limit));
                prop_assert_eq!(room, places.len() as f64 + 1.0 <= limit);
            }
        }
    }
}
