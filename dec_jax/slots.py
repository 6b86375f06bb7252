"""The loop of the clustering phase, for one trial and for a thousand.

Trials run side by side in slots. A slot whose trial has stopped takes the next one, so that none waits for another. All
that the host decides is here: how many steps come next, which reset is due, what has converged. What a slot computes is
the business of a `Program`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import numpy as np

from dec_jax.validation import check_integer, check_number

FAILED = "failed"
CONVERGED = "tolerance"
EXHAUSTED = "max_steps"


class Reset(Protocol):
    """What may change the state of a trial between two intervals."""

    def is_due(self, before: int, step: int, info: Any) -> bool:
        """Whether it happens after the interval from step `before` to `step`."""

    def may_stop(self, step: int) -> bool:
        """Whether the tolerance may stop a trial after so many steps."""

    def __call__(self, key: jax.Array, recipe: Any, state: Any, x: Any) -> Any:
        """The state to go on with: pure, and compiled."""


@dataclass
class Course:
    """Where a trial stands.

    Attributes:
        trial: what the program knows it by.
        update_interval: λ, steps between two target distributions, at least 1.
        max_steps: its last step at the latest.
        tolerance: it stops when a smaller fraction of the samples changes its cluster.
        resets: what may change its state between two intervals.
        steps: done so far.
        stop_reason: why it stopped: "tolerance", "max_steps" or "failed" (a number was not finite); None before.
        info: what its last interval told.
    """

    trial: Any
    update_interval: int
    max_steps: int
    tolerance: float
    resets: tuple[Reset, ...] = ()
    steps: int = 0
    stop_reason: str | None = None
    info: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_integer("update_interval", self.update_interval, 1)
        check_integer("max_steps", self.max_steps, 0)
        check_number("tolerance", self.tolerance, 0, 1)
        if self.stop_reason is None and self.steps >= self.max_steps:
            self.stop_reason = EXHAUSTED

    @property
    def n_steps(self) -> int:
        """Steps of the next interval."""
        return min(self.update_interval, self.max_steps - self.steps)

    def note(self, n_steps: int, info: Any) -> list[Reset]:
        """Takes in what an interval told, and returns the resets that are due after it."""
        before, self.steps, self.info = self.steps, self.steps + n_steps, info
        if not info.is_finite:
            self.stop_reason = FAILED
            return []
        if self.steps >= self.max_steps:  # a run does not end on a state that was not trained since its reset
            self.stop_reason = EXHAUSTED if info.label_change >= self.tolerance else CONVERGED
            return []
        due = [reset for reset in self.resets if reset.is_due(before, self.steps, info)]
        converged = info.label_change < self.tolerance and not due
        if converged and all(reset.may_stop(self.steps) for reset in self.resets):
            self.stop_reason = CONVERGED
        return due


class Program(Protocol):
    """What computes, for all slots side by side."""

    def start(self, slot: int, course: Course) -> None:
        """Puts the first state of a trial into a slot."""

    def advance(self, running: np.ndarray, n_steps: int) -> Any:
        """Trains an interval in the slots that `running` (n_slots,) marks; returns infos with leaves (n_slots,)."""

    def reset(self, slot: int, reset: Reset) -> None:
        """Changes the state of a slot."""

    def finish(self, slot: int, course: Course) -> Any:
        """The result of the trial in a slot."""


def run(
    program: Program,
    waiting: Iterable[Course],
    *,
    n_slots: int,
    slots: list[Course | None] | None = None,
    on_round: Callable[[], None] | None = None,
) -> Iterator[tuple[Course, Any]]:
    """Each trial with its result, in the order in which they stop; None is the result of one that failed.

    Args:
        program: what computes.
        waiting: trials that have not begun, in their order.
        n_slots: trials side by side.
        slots: what is under way already, (n_slots,); it is kept up to date, for `on_round` to read.
        on_round: called after each interval of all slots, before the results of those that stopped.
    """
    waiting = iter(waiting)
    slots = [None] * n_slots if slots is None else slots
    while True:
        _fill(program, slots, waiting)
        running = [(slot, course) for slot, course in enumerate(slots) if course is not None]
        if not running:
            return
        _advance(program, slots, running)
        if on_round and any(course.info is not None for _, course in running):
            on_round()
        for slot, course in running:
            if course.stop_reason:
                slots[slot] = None
                yield course, None if course.stop_reason == FAILED else program.finish(slot, course)


def _fill(program: Program, slots: list[Course | None], waiting: Iterator[Course]) -> None:
    for slot, course in enumerate(slots):
        if course is None and (course := next(waiting, None)) is not None:
            slots[slot] = course
            program.start(slot, course)


def _advance(program: Program, slots: list[Course | None], running: list[tuple[int, Course]]) -> None:
    """One interval of every trial that goes on; those whose next intervals are equally long go together."""
    lengths: dict[int, list[int]] = {}
    for slot, course in running:
        if course.stop_reason is None:
            lengths.setdefault(course.n_steps, []).append(slot)
    for n_steps, group in lengths.items():
        infos = program.advance(np.isin(np.arange(len(slots)), group), n_steps)
        for slot in group:
            info = jax.tree.map(lambda leaf, slot=slot: leaf[slot].item(), infos)
            for reset in slots[slot].note(n_steps, info):
                program.reset(slot, reset)
