import math

import pandas as pd
import pytest

from dec_jax.runner.suggestion import over_seeds, suggest_n_clusters, suggestions
from dec_jax.runner.table import to_frame

FIGURE_6 = {5: 0.95, 6: 0.94, 7: 0.94, 8: 0.92, 9: 0.91, 10: 0.75, 11: 0.72, 12: 0.73}
HILL = {5: 0.3, 6: 0.42, 7: 0.5, 8: 0.41, 9: 0.2}


def sweep(curve, criterion, seeds=(0, 1, 2), **values):
    """Trials whose criterion lies on the curve on average over the seeds."""
    middle = sum(seeds) / len(seeds)
    return [
        {"trial": 0, "clustering.n_clusters": k, "seed": seed, criterion: value + 0.01 * (seed - middle), **values}
        for k, value in curve.items()
        for seed in seeds
    ]


def test_generalisability_suggests_the_number_before_its_sharpest_drop():
    k, criterion, curve = suggest_n_clusters(to_frame(sweep(FIGURE_6, "generalisability")), "generalisability")
    assert (k, criterion) == (9, "generalisability")
    assert curve == pytest.approx(FIGURE_6)
    assert [type(number) for number in (k, *curve)] == [int] * 9


def test_silhouette_suggests_its_maximum():
    k, criterion, curve = suggest_n_clusters(to_frame(sweep(HILL, "silhouette")), "silhouette")
    assert (k, criterion) == (7, "silhouette")
    assert curve == pytest.approx(HILL)


def test_the_order_of_rows_does_not_matter():
    rows = sweep(FIGURE_6, "generalisability")
    frame = to_frame(rows[::-1])
    assert list(suggest_n_clusters(frame, "generalisability").curve) == list(FIGURE_6)
    assert suggest_n_clusters(frame, "generalisability").n_clusters == 9


def test_a_plain_frame_will_do():
    frame = pd.DataFrame(sweep(HILL, "silhouette"))
    assert suggest_n_clusters(frame, "silhouette").n_clusters == 7


@pytest.mark.parametrize("missing", [math.nan, None, math.inf])
def test_failed_trials_are_left_out(missing):
    rows = sweep(FIGURE_6, "generalisability", seeds=(1,))
    failed = [row | {"generalisability": missing, "seed": 0, "error": "loss became NaN"} for row in rows]
    suggestion = suggest_n_clusters(to_frame(rows + failed), "generalisability")
    assert suggestion.n_clusters == 9
    assert suggestion.curve == pytest.approx(FIGURE_6)


@pytest.mark.parametrize(("absent", "expected"), [({10}, 9), ({9}, 8), ({9, 10, 11}, 8), ({6, 12}, 9)])
def test_missing_numbers_are_stepped_over(absent, expected):
    curve = {k: value for k, value in FIGURE_6.items() if k not in absent}
    assert suggest_n_clusters(to_frame(sweep(curve, "generalisability")), "generalisability").n_clusters == expected


@pytest.mark.parametrize(
    ("criterion", "curve", "expected"),
    [
        ("silhouette", {10: 0.4}, 10),
        ("generalisability", {10: 0.9}, None),
        ("generalisability", {4: 0.5, 5: 0.6, 6: 0.7}, None),
        ("generalisability", {4: 0.5, 5: 0.5}, None),
        ("silhouette", {4: math.nan, 5: math.nan}, None),
        ("generalisability", {4: math.nan, 5: math.nan}, None),
        ("silhouette", {4: 0.5, 5: 0.5}, 4),
    ],
)
def test_too_little_to_go_by(criterion, curve, expected):
    suggestion = suggest_n_clusters(to_frame(sweep(curve, criterion, seeds=(0,))), criterion)
    assert suggestion.n_clusters == expected
    assert suggestion.curve == {k: value for k, value in curve.items() if not math.isnan(value)}


def test_other_settings_are_pooled_and_a_slice_stands_alone():
    low = sweep({4: 0.1, 5: 0.2, 6: 0.9}, "silhouette", **{"clustering.alpha": 1.0})
    high = sweep({4: 0.8, 5: 0.8, 6: 0.4}, "silhouette", **{"clustering.alpha": 2.0})
    frame = to_frame(low + high)
    assert suggest_n_clusters(frame, "silhouette").curve == pytest.approx({4: 0.45, 5: 0.5, 6: 0.65})
    assert suggest_n_clusters(frame[frame["clustering.alpha"] == 2], "silhouette").n_clusters == 4


def test_labels_suggest_nothing():
    frame = to_frame(sweep(HILL, "nmi"))
    with pytest.raises(ValueError, match=r"unknown criterion 'nmi' \(accepted: generalisability, silhouette\)"):
        suggest_n_clusters(frame, "nmi")


@pytest.mark.parametrize("column", ["clustering.n_clusters", "seed", "silhouette"])
def test_a_table_without_a_column_is_refused(column):
    frame = pd.DataFrame(sweep(HILL, "silhouette")).drop(columns=column)
    with pytest.raises(ValueError, match=f"frame must have the columns {column}, got "):
        suggest_n_clusters(frame, "silhouette")


def test_deviation_is_that_between_seeds():
    """Settings far apart, seeds close: seed 0 has mean 0.50, seed 1 has 0.52."""
    rows = sweep({4: 0.11}, "acc", (0, 1), **{"clustering.alpha": 1.0}) + sweep(
        {4: 0.91}, "acc", (0, 1), **{"clustering.alpha": 2.0}
    )
    for row in rows:
        row["acc"] += 0.01 * (row["seed"] - 0.5)
    curve = over_seeds(to_frame(rows), "clustering.n_clusters", "acc")
    assert curve.index.tolist() == [4]
    assert curve["mean"].tolist() == pytest.approx([0.51])
    assert curve["std"].tolist() == pytest.approx([0.02 / math.sqrt(2)])


def test_one_seed_has_no_deviation():
    assert over_seeds(to_frame(sweep(HILL, "acc", (3,))), "clustering.n_clusters", "acc")["std"].isna().all()


def test_suggestions_leave_out_failed_trials_and_criteria_that_say_nothing():
    rows = sweep(HILL, "silhouette") + sweep({99: 1.0}, "silhouette", error="it failed")
    frame = to_frame(rows)
    assert suggestions(frame, ("clustering.n_clusters", "seed")) == [("silhouette", 7)]
    assert suggestions(frame, ("seed",)) == []
