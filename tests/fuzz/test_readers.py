"""Readers on mutated files; `make fuzz` tries many more of them."""

import numpy as np
import pytest

from .mutation import mutate
from .readers import KINDS, sound
from .watch import watched

N = 60
SLOW = ("sparse.h5ad", "dense.h5ad")  # which a process of their own reads first


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_mutated_file_is_read_or_refused_in_our_words(name, tmp_path):
    kind = KINDS[name]
    content, path = sound(kind, tmp_path)
    kind.read(path)
    rng = np.random.default_rng(sum(map(ord, name)))
    with watched(len(content)) as call:
        for number in range(N // 6 if name in SLOW else N):
            path.write_bytes(mutate(content, rng))
            try:
                call(kind.read, path)
            except BaseException as error:
                raise AssertionError(f"mutation {number} of {name}: {error!r}") from error
