import numpy as np
import pytest
import scipy.sparse

from dec_jax.data import Dataset
from dec_jax.runner.webpage import cards

from ..tiny_page import EVIL, LABELS, K, N, images, run_of, soft, table


def test_a_card_has_its_surest_and_its_least_sure_samples():
    q = soft(LABELS)
    for card in cards.of_run(run_of(table())):
        members = np.flatnonzero(card["cluster"] == LABELS)  # surer from sample to sample
        expected = {"top": members[::-1][: cards.MAX_ROWS], "doubtful": members[: cards.MAX_ROWS]}
        for end, rows in expected.items():
            assert [sample["name"] for sample in card[end]] == [f"<b>row {row}</b>" for row in rows]
            assert [sample["confidence"] for sample in card[end]] == q[rows, card["cluster"]].tolist()
            assert {sample["class"] for sample in card[end]} == {(EVIL, "b", "c")[card["cluster"]]}


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_the_feature_that_sets_a_cluster_apart_comes_first(kind):
    data = table()
    data = Dataset("x", kind(data.x))
    for card in cards.of_run(run_of(data)):
        first = card["features"][0]
        assert first["name"] == f"feature {card['cluster']}"
        assert first["difference"] > 3
        assert first["mean"] > first["rest"] + 5
        for sample in (*card["top"], *card["doubtful"]):
            assert sample["values"][0] == table().x[int(sample["name"]), card["cluster"]]


@pytest.mark.parametrize(("shape", "ink"), [((6, 5), True), ((6, 5, 1), True), ((4, 5, 3), False)])
def test_images_are_shown_as_images(shape, ink):
    for card in cards.of_run(run_of(images(shape))):
        assert card["ink"] == ink
        assert len(card["top"]) == cards.MAX_IMAGES
        every = [card["mean"], card["apart"], *(sample["image"] for sample in card["top"])]
        assert all(image.startswith("data:image/png;base64,") for image in every)


def test_a_small_cluster_shows_no_sample_twice_and_an_empty_one_has_no_card():
    labels = np.array([0] * (N - 3) + [2] * 3)
    found = cards.of_run(run_of(table(), labels))
    assert [card["cluster"] for card in found] == [0, 2]
    names = [sample["name"] for sample in (*found[1]["top"], *found[1]["doubtful"])]
    assert len(names) == len(set(names)) == 3


def test_many_clusters_have_room_in_a_page(monkeypatch):
    monkeypatch.setattr(cards, "MAX_CARDS", 2)
    labels = np.array([0] * 10 + [1] * 20 + [2] * 30)
    assert [card["cluster"] for card in cards.of_run(run_of(table(), labels))] == [1, 2]
    assert cards._n_images((28, 28), 10) == cards.MAX_IMAGES
    n = cards._n_images((96, 96, 3), 30)
    assert 1 <= n < cards.MAX_IMAGES
    assert 2 * 30 * n * 32 * 32 * 3 <= cards.BYTES_OF_IMAGES


def test_one_cluster_of_all_samples_has_a_card():
    (card,) = cards.of_run(run_of(table(), np.zeros(N, int), K))
    assert card["cluster"] == 0
