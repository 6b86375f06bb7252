"""Arrays of all kinds; `make fuzz` tries many more of them."""

import numpy as np
import pytest

from .arrays import FUNCTIONS
from .watch import watched

N = 400


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_array_is_used_or_refused_in_our_words(name):
    with watched() as call:
        for number in range(N):
            try:
                FUNCTIONS[name](np.random.default_rng([number, len(name)]), call)
            except BaseException as error:
                raise AssertionError(f"array {number} of {name}: {error!r}") from error
