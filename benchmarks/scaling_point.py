"""One point of the scaling benchmark in a process of its own, so that its peak memory is its own."""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import command, memory, phases, synthetic
from benchmarks.command import Record
from benchmarks.matmul_rate import MatmulRate
from benchmarks.phases import Phase
from benchmarks.timing import measure
from benchmarks.workload import Workload

HIDDEN = (500, 500, 2000)
SHORTEST_WINDOW = 200  # steps; the library's own windows of pretraining are no shorter
KMEANS_RESTARTS = 20
KMEANS_ITERATIONS = 10  # the same number at every size; how many it takes to converge does not tell the speed


@dataclass(frozen=True)
class Point:
    """A phase and the sizes it runs at: n samples of d features, k clusters, m dimensions, batches of b."""

    phase: str
    n: int = 20_000
    d: int = 784
    k: int = 10
    m: int = 10
    b: int = 256


def build(point: Point, window: int) -> tuple[Phase, int, int]:
    """The phase, with `window` samples in a run at most; how many samples a step handles; the bytes of all samples."""
    if point.phase == "k-means":
        # Samples without clusters, in which no restart is done before the others.
        z = synthetic.samples(point.n, point.m)
        stopping = {"tolerance": 0, "max_iterations": KMEANS_ITERATIONS}
        return phases.kmeans_restarts(z, point.k, KMEANS_RESTARTS, **stopping), point.n, z.nbytes
    x = synthetic.samples(point.n, point.d)
    work = Workload.of((point.d, *HIDDEN, point.m), x, point.b, point.k)
    longest = max(1, window // point.b)
    if point.phase == "pretraining":
        phase = phases.fine_tuning(work, min(longest, max(work.epoch, SHORTEST_WINDOW)))
    elif point.phase == "clustering":
        phase = phases.clustering_updates(work, min(longest, work.update_interval))
    else:
        return phases.refresh(work), point.n, x.nbytes
    return phase, point.b, x.nbytes


def needed_bytes(point: Point) -> int:
    """An estimate: the samples, q and P where there are any, and the largest intermediate result."""
    if point.phase == "k-means":
        return 4 * point.n * (2 * point.m + 4 * KMEANS_RESTARTS)
    assignments = 0 if point.phase == "pretraining" else 3 * point.n * point.k
    return 4 * (point.n * point.d + assignments + 4 * point.b * max(HIDDEN) + point.b * point.k * point.m)


def main(words: list[str]) -> int:
    """Measures the point that the first word gives as JSON, with the options of the second; prints a JSON record."""
    point, options = Point(**json.loads(words[0])), json.loads(words[1])
    try:
        command.choose_device(options["device"])
        memory.check_fits("it", needed_bytes(point))
        print(json.dumps(measure_point(point, options["window"], options["repeats"])))
    except command.ERRORS as error:
        command.complain(error)
        return 2
    return 0


def measure_point(point: Point, window: int, repeats: int) -> Record:
    """Time a sample, peak memory, and how much of it are the samples."""
    phase, samples_per_step, data_bytes = build(point, window)
    measurement = measure(phase, repeats)
    peaks: dict[str, Any] = {
        "peak_host_bytes": memory.peak_host_bytes(),
        "peak_device_bytes": memory.peak_device_bytes(),
        "data_bytes": data_bytes,
    }
    record = measurement.record(MatmulRate().measure())  # after the peak was read: its factors need memory too
    return asdict(point) | record | {"seconds_per_sample": measurement.seconds_per_step / samples_per_step} | peaks


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
