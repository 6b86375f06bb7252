"""Settings of all kinds; `make fuzz` tries many more of them, and trains with some."""

import numpy as np
import pytest

from .settings import FUNCTIONS
from .watch import watched

N = 150


@pytest.mark.parametrize("name", FUNCTIONS)
def test_settings_are_used_or_refused_in_our_words(name):
    with watched() as call:
        for number in range(N):
            try:
                FUNCTIONS[name](np.random.default_rng([number, len(name)]), call)
            except BaseException as error:
                raise AssertionError(f"settings {number} of {name}: {error!r}") from error
