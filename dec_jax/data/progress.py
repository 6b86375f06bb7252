"""Progress of long work: a bar in a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import track

LINES = 5


def in_batches(total: int, size: int, description: str) -> Iterator[range]:
    """Yields range(total) in ranges of `size` and shows on stderr how many are done.

    Args:
        total: number of items.
        size: items in a range; the last one may hold fewer.
        description: what is being done.
    """
    batches = [range(start, min(start + size, total)) for start in range(0, total, size)]
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(batches, description, console=console)
        return
    for done, batch in enumerate(batches, start=1):
        yield batch
        if done * LINES // len(batches) > (done - 1) * LINES // len(batches):
            print(f"{description}: {batch.stop:,} of {total:,}", file=sys.stderr, flush=True)
