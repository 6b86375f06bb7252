"""Wall clocks that jump."""

import os
import time

DAY, YEAR = 86_400.0, 365 * 86_400.0
# (the real time, how often it was asked) → what the clock says after its jump
CLOCKS = {
    "set back by a day": lambda now, _: now - DAY,
    "forward by a year": lambda now, _: now + YEAR,
    "running backwards": lambda now, n_asked: now - 3600.0 * n_asked,
    "set back to 1970": lambda now, _: now % DAY,
}


class Clock:
    """A wall clock that jumps once.

    Args:
        kind: what happens to it, of CLOCKS.
        after: how often it ticks before.
    """

    def __init__(self, kind, after):
        self._say, self._ticks_left, self._n_asked, self._real = CLOCKS[kind], after, 0, time.time

    def wear(self):
        """Takes the place of the clock of this process, for good."""
        time.time, time.time_ns = self.now, lambda: int(1e9 * self.now())

    def tick(self):
        self._ticks_left -= 1

    def now(self):
        if self._ticks_left > 0:
            return self._real()
        self._n_asked += 1
        return self._say(self._real(), self._n_asked)


def dated(folder, seconds):
    """Lets all files below a folder be of another time: so many seconds from now."""
    at = time.time() + seconds
    for path in folder.rglob("*"):
        os.utime(path, (at, at))
