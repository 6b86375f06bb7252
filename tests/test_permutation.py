import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from dec_jax.permutation import permute, random_words

pytestmark = pytest.mark.slow

KEYS = jax.random.split(jax.random.key(7), 20_000)


def whole(key, n):
    return np.asarray(permute(random_words(key), jnp.arange(n), n))


@pytest.mark.parametrize("n", [1, 2, 3, 31, 32, 33, 64, 65, 1797, 70_000])
def test_every_number_comes_once(n):
    np.testing.assert_array_equal(np.sort(whole(KEYS[0], n)), np.arange(n))


def test_positions_are_independent_of_one_another():
    words = random_words(KEYS[0])
    alone = [int(permute(words, jnp.int32(i), 100)) for i in (99, 0, 57)]
    assert alone == whole(KEYS[0], 100)[[99, 0, 57]].tolist()


def test_each_position_may_have_words_of_its_own():
    words = jnp.stack([random_words(KEYS[i]) for i in range(3)])
    expected = [whole(KEYS[i], 50)[i + 4] for i in range(3)]
    np.testing.assert_array_equal(permute(words, jnp.arange(3) + 4, 50), expected)


def test_under_vmap_it_is_the_same():
    words = jax.vmap(random_words)(KEYS[:4])
    many = jax.vmap(lambda each: permute(each, jnp.arange(30), 30))(words)
    np.testing.assert_array_equal(many, [whole(key, 30) for key in KEYS[:4]])


@pytest.mark.parametrize("n", [3, 7, 40])
def test_all_images_and_all_pairs_of_images_are_equally_frequent(n):
    words = jax.vmap(random_words)(KEYS)
    images = np.asarray(jax.vmap(lambda each: permute(each, jnp.arange(n), n))(words))
    assert chisquare(np.bincount(images[:, 0], minlength=n)).pvalue > 1e-4
    pairs = np.bincount(n * images[:, 0] + images[:, 1], minlength=n * n).reshape(n, n)
    assert not np.diag(pairs).any()
    assert chisquare(pairs[~np.eye(n, dtype=bool)]).pvalue > 1e-4


def test_neighbours_and_places_tell_nothing_of_an_image():
    images = whole(KEYS[1], 70_000)
    limit = 5 / np.sqrt(len(images))
    assert abs(np.corrcoef(images, np.arange(len(images)))[0, 1]) < limit
    assert abs(np.corrcoef(images[1:], images[:-1])[0, 1]) < limit
    assert chisquare(np.bincount((np.diff(images) % 70_000) // 700, minlength=100)).pvalue > 1e-4


def test_keys_differ():
    assert not np.array_equal(whole(KEYS[0], 100), whole(KEYS[1], 100))
