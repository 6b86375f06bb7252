import numpy as np
import pytest

from dec_jax.data.sentinels import find_sentinels

X = np.random.default_rng(0).normal(50.0, 3.0, (100, 3))


@pytest.mark.parametrize("value", [-999, 999999, -99, 9999.0, -999999])
def test_a_far_number_of_nines_is_named(value):
    x = X.copy()
    x[[3, 8], 1] = value
    (note,) = find_sentinels(x, ("age", "income", "size"))
    assert f"{value:.0f} in 'income' (2 times)" in note
    assert "missing_values" in note
    assert f"{value:.0f} in column 1" in find_sentinels(x)[0]


@pytest.mark.parametrize("value", [99, 998, 1e6, 0])
def test_other_numbers_are_not(value):
    x = X.copy()
    x[3, 1] = value
    assert find_sentinels(x) == ()


def test_nines_among_their_like_are_not():
    assert find_sentinels(np.linspace(0, 999, 1000)[:, None]) == ()
    assert find_sentinels(np.full((10, 1), 999.0)) == ()
    assert find_sentinels(np.full((10, 1), 99, np.uint8)) == ()


@pytest.mark.parametrize(("value", "shown"), [(-999.25, "-999.25"), (-32768, "-32768"), (9.969209968386869e36, "e+36")])
def test_sentinels_of_instruments_and_formats(value, shown):
    x = np.random.default_rng(0).normal(size=(50, 2))
    x[7, 1] = value
    (warning,) = find_sentinels(x)
    assert shown in warning
