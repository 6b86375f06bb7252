"""The loop of clustering, driven by a program of plain Python whose trials follow a script."""

import math
from typing import NamedTuple

import numpy as np
import pytest

from dec_jax import slots
from dec_jax.slots import CONVERGED, EXHAUSTED, FAILED, Course


class Info(NamedTuple):
    loss: float
    label_change: float

    @property
    def is_finite(self):
        return math.isfinite(self.loss)


class Script:
    """Each trial's label changes, one for an interval; NaN is a loss that is not finite."""

    def __init__(self, changes, n_slots):
        self.changes = {trial: list(values) for trial, values in changes.items()}
        self.slots, self.log = [None] * n_slots, []

    def start(self, slot, course):
        self.slots[slot] = course.trial
        self.log.append(("start", slot, course.trial))

    def advance(self, running, n_steps):
        self.log.append(("advance", [self.slots[slot] for slot in np.flatnonzero(running)], n_steps))
        values = [self.changes[self.slots[slot]].pop(0) if on else -1.0 for slot, on in enumerate(running)]
        return Info(np.array(values), np.nan_to_num(np.array(values)))

    def reset(self, slot, reset):
        self.log.append(("reset", self.slots[slot], reset.name))

    def finish(self, slot, course):
        return f"result of {self.slots[slot]}"


class Every:
    """A reset that is due every few steps, and lets a trial stop after some."""

    def __init__(self, name, every, until=0):
        self.name, self.every, self.until = name, every, until

    def is_due(self, before, step, info):
        return step // self.every > before // self.every

    def may_stop(self, step):
        return step >= self.until


def course(trial, update_interval=10, max_steps=100, tolerance=0.05, **others):
    return Course(trial, update_interval, max_steps, tolerance, **others)


def run(changes, courses, n_slots, **options):
    program = Script(changes, n_slots)
    return program, list(slots.run(program, courses, n_slots=n_slots, **options))


def test_a_trial_stops_when_few_labels_change():
    program, [(done, result)] = run({"a": [0.5, 0.05, 0.04, 0.9]}, [course("a")], 1)
    assert (done.stop_reason, done.steps, result) == (CONVERGED, 30, "result of a")
    assert program.log == [("start", 0, "a")] + [("advance", ["a"], 10)] * 3


def test_the_last_interval_is_cut_at_max_steps():
    program, [(done, _)] = run({"a": [0.5, 0.5, 0.5]}, [course("a", max_steps=25)], 1)
    assert (done.stop_reason, done.steps) == (EXHAUSTED, 25)
    assert [entry[2] for entry in program.log[1:]] == [10, 10, 5]


def test_a_tolerance_of_0_never_stops():
    _, [(done, _)] = run({"a": [0.0] * 10}, [course("a", tolerance=0.0)], 1)
    assert (done.stop_reason, done.steps) == (EXHAUSTED, 100)


def test_a_trial_that_is_over_already_trains_nothing():
    program, [(done, result)] = run({}, [course("a", max_steps=20, steps=20)], 1)
    assert (done.stop_reason, result) == (EXHAUSTED, "result of a")
    assert program.log == [("start", 0, "a")]


def test_a_slot_takes_the_next_trial_as_soon_as_its_own_has_stopped():
    changes = {"a": [0.5, 0.0], "b": [0.5] * 4 + [0.0], "c": [0.5, 0.0], "d": [0.0]}
    program, done = run(changes, [course(name) for name in "abcd"], 2)
    assert [(each.trial, result) for each, result in done] == [(name, f"result of {name}") for name in "acdb"]
    assert [entry for entry in program.log if entry[0] == "start"] == [
        ("start", 0, "a"),
        ("start", 1, "b"),
        ("start", 0, "c"),
        ("start", 0, "d"),
    ]
    together = [entry[1] for entry in program.log if entry[0] == "advance"]
    assert together == [["a", "b"]] * 2 + [["c", "b"]] * 2 + [["d", "b"]]


def test_each_trial_has_as_many_intervals_as_alone():
    rng = np.random.default_rng(0)
    changes = {trial: [*rng.uniform(0.1, 1, rng.integers(0, 6)), 0.0] for trial in range(12)}
    for n_slots in (1, 3, 20):
        _, done = run(changes, [course(trial) for trial in changes], n_slots)
        assert {each.trial: each.steps for each, _ in done} == {trial: 10 * len(own) for trial, own in changes.items()}


def test_trials_whose_intervals_differ_in_length_go_in_groups():
    changes = {"a": [0.5] * 9, "b": [0.5] * 9, "c": [0.5] * 9}
    courses = [course("a", 10, 20), course("b", 20, 20), course("c", 10, 15)]
    program, _ = run(changes, courses, 3)
    advances = [entry[1:] for entry in program.log if entry[0] == "advance"]
    assert advances == [(["a", "c"], 10), (["b"], 20), (["a"], 10), (["c"], 5)]


def test_one_failed_trial_costs_the_others_nothing():
    changes = {"a": [0.5, np.nan], "b": [0.5, 0.5, 0.0], "c": [0.0]}
    _, done = run(changes, [course(name) for name in "abc"], 2)
    assert {each.trial: (each.stop_reason, result) for each, result in done} == {
        "a": (FAILED, None),
        "b": (CONVERGED, "result of b"),
        "c": (CONVERGED, "result of c"),
    }


def test_a_reset_that_is_due_is_applied_and_stops_a_trial_from_stopping():
    resets = (Every("often", 10), Every("rarely", 20))
    program, [(done, _)] = run({"a": [0.0] * 3 + [0.5]}, [course("a", max_steps=40, resets=resets)], 1)
    assert (done.stop_reason, done.steps) == (EXHAUSTED, 40)
    applied = [entry[1:] for entry in program.log if entry[0] == "reset"]
    assert applied == [("a", "often"), ("a", "often"), ("a", "rarely"), ("a", "often")]  # and none at the end


def test_the_tolerance_waits_until_every_reset_lets_it_stop():
    resets = (Every("never", 1000, until=25), Every("never", 1000, until=40))
    _, [(done, _)] = run({"a": [0.0] * 9}, [course("a", resets=resets)], 1)
    assert (done.stop_reason, done.steps) == (CONVERGED, 40)


def test_what_is_under_way_goes_on():
    under_way = course("a", steps=30)
    program = Script({"a": [0.0], "b": [0.0]}, 2)
    program.slots[1] = "a"
    done = list(slots.run(program, [course("b")], n_slots=2, slots=[None, under_way]))
    assert program.log[0] == ("start", 0, "b")
    assert {each.trial: each.steps for each, _ in done} == {"a": 40, "b": 10}


def test_on_round_sees_all_slots_before_results_leave():
    seen, own = [], [None, None]

    def on_round():
        seen.append([each and (each.trial, each.steps, each.stop_reason) for each in own])

    run({"a": [0.0], "b": [0.5, 0.0]}, [course("a"), course("b")], 2, slots=own, on_round=on_round)
    assert seen == [[("a", 10, CONVERGED), ("b", 10, None)], [None, ("b", 20, CONVERGED)]]


def test_infos_are_plain_numbers():
    _, [(done, _)] = run({"a": [0.0]}, [course("a")], 1)
    assert type(done.info.loss) is float


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"update_interval": 0}, ValueError, "update_interval must be at least 1, got 0"),
        ({"update_interval": 2.5}, TypeError, "update_interval must be an integer, got 2.5"),
        ({"max_steps": -1}, ValueError, "max_steps must be at least 0, got -1"),
        ({"tolerance": 1.5}, ValueError, "tolerance must be at least 0 and at most 1, got 1.5"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        course("a", **options)
