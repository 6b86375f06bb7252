"""The clusterings of trials: those of one program in slots, from their start to their outcome."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from dec_jax import clustering, finite, padding, slots
from dec_jax.identity import identity
from dec_jax.networks import Params
from dec_jax.runner import build, interruption, partitions, remarks
from dec_jax.runner.checkpoint import Checkpoint
from dec_jax.runner.clustering_slots import ClusteringSlots
from dec_jax.runner.config import GRAPH_STARTS, Config, rate_of
from dec_jax.runner.programs import Sizes, template_of
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.work import (
    Clock,
    Outcome,
    Row,
    Trial,
    Workshop,
    fitting_slots,
    found_pretrained,
    groups,
)
from dec_jax.slots import Course, Reset

ADVICE = f"lower {rate_of('clustering')}, or scale the data"


def clustering_groups(trials: Iterable[Trial], sizes: Sizes) -> list[tuple[tuple[Config, int], list[Trial]]]:
    """The trials by the template of their program, and by λ: those side by side have intervals of one length."""

    def key(trial: Trial) -> tuple[Config, int]:
        return template_of(trial.config, "clustering", sizes), trial.config.clustering.update_interval

    return groups(trials, key)


class Clustering:
    """The clusterings of one program; a `slots.Program`.

    Args:
        shop: what they are trained with.
        template: of the program.
        sizes: of the whole sweep.
        trials: at least one.
    """

    def __init__(self, shop: Workshop, template: Config, sizes: Sizes, trials: Sequence[Trial]) -> None:
        self.shop, self.trials = shop, trials
        what = {"split": shop.split, "compiled": shop.compiled, "template": template, "sizes": sizes}
        params = self._padded(template, trials[0].config, found_pretrained(shop, trials[0].config)[0])
        wanted = sizes.clusterings[template, trials[0].config.clustering.update_interval]
        trains = any(trial.config.clustering.max_steps for trial in trials)
        n_slots = fitting_slots(
            shop, wanted, lambda n_slots: ClusteringSlots(params, n_slots=n_slots, **what), trains=trains
        )
        self.program = ClusteringSlots(params, n_slots=n_slots, **what)
        self.slots: list[Course | None] = [None] * n_slots
        self.clocks: dict[str, Clock] = {}
        self.alone = n_slots == len(trials) == 1
        self.phases = shop.progress if self.alone else PhaseProgress(silent=True)  # of one trial each is shown
        # Not by the trials: when it goes on, fewer of them are left.
        group = {"template": template, "interval": trials[0].config.clustering.update_interval, "slots": n_slots}
        self.checkpoint = Checkpoint(shop.unfinished, f"clustering-{identity(**group)[:12]}")

    def run(self) -> Iterator[Outcome]:
        """Outcomes, as trials finish."""
        self.program.allocate()
        self._resume()
        under_way = {course.trial.trial.id for course in self.slots if course}
        # One after the other: who holds them all holds the outcomes of those that are done.
        waiting = (self._course(trial) for trial in self.trials if trial.id not in under_way)
        if not self.alone:
            self.shop.progress.start("trials", len(self.trials))
        for course in filter(None, self.slots):
            self.phases.start("clustering", course.max_steps, course.steps)
        done = 0
        loop = slots.run(
            self, waiting, n_slots=self.program.n_slots, slots=self.slots, on_round=lambda: self._on_round(done)
        )
        with interruption.until_saved():
            for course, outcome in loop:
                done += 1
                yield self._failed(course) if outcome is None else outcome
                if not self.alone:  # that of one trial alone is needed until its result is written
                    self._partition(course.trial.trial).remove()
        if not self.alone:
            self.shop.progress.finish(f"{done} trials")
            self.checkpoint.remove()

    def _course(self, trial: Trial, steps: int = 0, stop_reason: str | None = None) -> Course:
        one = trial.config.clustering
        resets = build.resets(trial.config, self.shop.split.train.x.shape[0])
        outcome = Outcome(trial)
        return Course(outcome, one.update_interval, one.max_steps, one.tolerance, resets, steps, stop_reason)

    def _padded(self, template: Config, config: Config, params: Params) -> Params:
        """The parameters of a trial's network, padded to the program's bottleneck."""
        return padding.pad(self.shop.split.network(config), params, template.network.bottleneck)

    # what `slots.run` calls

    def start(self, slot: int, course: Course) -> None:
        """k-means on the embedding, or a partition, starts a trial in a slot."""
        outcome: Outcome = course.trial
        config = outcome.trial.config
        params, kept = found_pretrained(self.shop, config)
        params = self._padded(self.program.template, config, params)
        outcome.history += kept["history"]
        outcome.remarks += kept["remarks"]
        outcome.seconds["pretraining"] = kept["seconds"]
        outcome.from_cache = kept["run"] != self.shop.name
        if not outcome.from_cache:
            outcome.rates["pretraining"] = kept["rate"]
        self.program.set_numbers(slot, config)
        if config.start.kind in GRAPH_STARTS:
            self.program.start_from_kmeans(slot, params)  # whose centroids are not computed
        else:
            self._note_kmeans(slot, outcome, params)
        if config.start.kind != "kmeans":
            self._start_from_partition(slot, outcome)
        self.phases.start("clustering", course.max_steps)
        self.clocks[outcome.trial.id] = Clock()

    def advance(self, running: np.ndarray, n_steps: int) -> Any:
        """Trains an interval."""
        return self.program.advance(running, n_steps)

    def reset(self, slot: int, reset: Reset) -> None:
        """Changes the state of a slot."""
        self.program.reset_slot(slot, reset)

    def finish(self, slot: int, course: Course) -> Outcome:
        """The outcome of a trial that has stopped."""
        outcome: Outcome = course.trial
        config, split = outcome.trial.config, self.shop.split
        outcome.seconds["clustering"] = self.clocks[outcome.trial.id].seconds
        outcome.rates["clustering"] = self.clocks.pop(outcome.trial.id).rate()
        outcome.steps, outcome.stop_reason = course.steps, course.stop_reason
        outcome.pretrained, _ = found_pretrained(self.shop, config)
        padded = self._padded(self.program.template, config, outcome.pretrained)
        params, centroids, train, rest = self.program.results_of(slot, padded)
        z, log_q = (split.joined(part, None if rest is None else rest[i]) for i, part in enumerate(train))
        k, m = config.clustering.n_clusters, config.network.bottleneck
        outcome.z, outcome.log_q, outcome.centroids = z[:, :m], log_q[:, :k], centroids[:k, :m]
        if not np.isfinite(outcome.z).all() or np.isnan(outcome.log_q).any():  # a loss is of the steps before the last
            return self._failed(course, finite.failure("clustering", course.steps, "the embedding", ADVICE))
        outcome.params = padding.trim(split.network(config), params)
        outcome.labels["final"] = outcome.log_q.argmax(axis=1).astype(np.int32)
        outcome.remarks += remarks.on_clusters(outcome.labels["final"], k, split.whole.x)
        self.phases.finish(f"{course.steps:,} steps, stopped by {course.stop_reason}")
        self.shop.profiler.stop()
        return outcome

    def _failed(self, course: Course, error: str | None = None) -> Outcome:
        outcome: Outcome = course.trial
        outcome.steps, outcome.stop_reason = course.steps, slots.FAILED
        outcome.error = error or clustering.failure(build.objective(outcome.trial.config), course.info, ADVICE)
        return outcome

    def _note_kmeans(self, slot: int, outcome: Outcome, params: Params) -> None:
        """Starts from k-means on the embedding, and notes its clusters."""
        clock = Clock()
        self.phases.start("k-means on embedding", 1)
        outcome.labels["autoencoder_kmeans"] = self.program.start_from_kmeans(slot, params)
        outcome.seconds["autoencoder_kmeans"] = clock.seconds
        self.phases.advance(1)
        self.phases.finish()

    def _start_from_partition(self, slot: int, outcome: Outcome) -> None:
        """Lets the trial learn a partition, of the graph of the samples' neighbours or of its embedding."""
        trial, checkpoint = outcome.trial, self._partition(outcome.trial)
        method = "graph" if trial.config.start.kind in GRAPH_STARTS else "n2d"
        if method == "graph":
            interval = trial.config.clustering.update_interval
            loss_from = partial(self.program.loss_from_labels, slot, interval=interval)
            found = partitions.of_graph(trial, self.shop.split, loss_from, checkpoint, self.phases)
            outcome.remarks += remarks.on_starts(found.losses, is_mixture=found.is_mixture)
        else:
            z = self.program.embedding_of(slot)[:, : trial.config.network.bottleneck]
            found = partitions.of_embedding(trial, z, checkpoint, self.phases)
        self.phases.start("learning the partition", 1)
        learning = Clock()
        self.program.start_from_labels(slot, found.labels)
        self.phases.advance(1)
        self.phases.finish()
        outcome.labels[method], outcome.seconds[method] = found.labels, found.seconds + learning.seconds

    def _partition(self, trial: Trial) -> Checkpoint:
        """What is kept of a trial's partition until the trial ends."""
        return Checkpoint(self.shop.unfinished, f"partition-{trial.id}")

    # after every interval

    def _on_round(self, done: int) -> None:
        for slot, course in enumerate(self.slots):
            if course is None or course.info is None:
                continue
            outcome: Outcome = course.trial
            outcome.history.append(self._row(slot, course))
            self.clocks[outcome.trial.id].note("clustering", course.steps)
            self.shop.profiler.window_ended("clustering")
        if self.alone:
            info = self.slots[0].info
            self.shop.progress.advance(self.slots[0].steps, loss=info.loss, label_change=info.label_change)
        else:
            running = sum(course is not None for course in self.slots)
            self.shop.progress.advance(done, running=running, waiting=len(self.trials) - done - running)
        if self.checkpoint.is_due():
            self._save()

    def _row(self, slot: int, course: Course) -> Row:
        info = course.info
        row: Row = {"phase": "clustering", "step": course.steps, "loss": info.loss}
        row |= {"label_change": info.label_change, "smallest_cluster": int(info.smallest_cluster)}
        row |= {f"term_{name}": value for name, value in info.terms.items()}
        watch = self.shop.watch
        return row if watch is None else row | watch(row, self.program.labels_of(slot))

    def _save(self) -> None:
        labels = {str(slot): course.trial.labels for slot, course in enumerate(self.slots) if course}
        courses = [
            course
            and {
                "id": course.trial.trial.id,
                "steps": course.steps,
                "stop_reason": course.stop_reason,
                "methods": list(course.trial.labels),
                "remarks": course.trial.remarks,
                "history": course.trial.history,
                "rates": course.trial.rates,
                "from_cache": course.trial.from_cache,
                "seconds": course.trial.seconds | {"clustering": self.clocks[course.trial.trial.id].seconds},
            }
            for course in self.slots
        ]
        self.checkpoint.save({"states": self.program.states, "labels": labels}, {"courses": courses})

    def _resume(self) -> None:
        """Puts trials that were under way back into their slots; those that have finished since stay out."""
        saved = self.checkpoint.metadata()
        if saved is None:
            return
        labels = {str(slot): dict.fromkeys(old["methods"], 0) for slot, old in enumerate(saved["courses"]) if old}
        found = self.checkpoint.load({"states": self.program.states, "labels": labels})
        if found is None:
            return
        self.program.states = self.program.put(found[0]["states"])
        trials = {trial.id: trial for trial in self.trials}
        for slot, old in enumerate(saved["courses"]):
            if old is not None and old["id"] in trials:
                self.slots[slot] = self._resumed(trials[old["id"]], old, found[0]["labels"][str(slot)])
                self.program.set_numbers(slot, trials[old["id"]].config)

    def _resumed(self, trial: Trial, old: Row, labels: dict[str, np.ndarray]) -> Course:
        course = self._course(trial, old["steps"], old["stop_reason"])
        outcome: Outcome = course.trial
        outcome.labels, outcome.history, outcome.rates = labels, old["history"], old["rates"]
        outcome.remarks = old["remarks"]
        outcome.seconds, outcome.from_cache = old["seconds"], old["from_cache"]
        self.clocks[trial.id] = Clock(outcome.seconds.pop("clustering"))
        return course
