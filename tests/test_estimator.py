import importlib
import pickle
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.metrics import silhouette_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dec_jax import metrics, networks
from dec_jax.estimator import DEC
from dec_jax.runner import command, fitting

TINY = {"pretraining.fine_tuning_steps": 200, "clustering.max_steps": 40, "start.kmeans_restarts": 2}
X, Y = make_blobs(120, 4, centers=3, cluster_std=0.5, random_state=0)
IMAGES = X[:, :1, None] * np.ones((1, 6, 6)) + np.arange(36).reshape(6, 6)
MIXED = pd.DataFrame(X, columns=list("abcd")).assign(color=np.array(["red", "green", "blue"])[Y])


def make(n_clusters=3, **changes):
    given = {"hidden": (8,), "bottleneck": 2, "settings": TINY, "preset": "fast", "random_state": 0} | changes
    return DEC(n_clusters, **given)


def by_default():
    return DEC(3, settings={"start.steps": 20, "clustering.max_steps": 10}, random_state=0)


@pytest.fixture(scope="module")
def fitted():
    return make().fit(X)


@pytest.fixture(scope="module")
def fitted_to_frame():
    return make().fit(MIXED)


def test_planted_clusters_are_found_and_described(fitted):
    assert metrics.accuracy(Y, fitted.labels_) == 1
    assert fitted.embedding_.shape == (120, 2)
    assert fitted.cluster_centers_.shape == (3, 2)
    np.testing.assert_allclose(fitted.probabilities_.sum(axis=1), 1, rtol=1e-5)
    assert fitted.probabilities_.argmax(axis=1).tolist() == fitted.labels_.tolist()
    assert fitted.n_iter_ == fitted.history_[-1]["step"]


def test_samples_that_were_trained_on_are_assigned_as_in_training(fitted):
    np.testing.assert_array_equal(fitted.predict(X), fitted.labels_)
    np.testing.assert_allclose(fitted.transform(X), fitted.embedding_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fitted.predict_proba(X), fitted.probabilities_, rtol=1e-3, atol=1e-5)


def test_a_sample_gets_the_same_numbers_whoever_stands_beside_it(fitted):
    whole = fitted.transform(X)
    np.testing.assert_array_equal(np.concatenate([fitted.transform(row[None]) for row in X[:5]]), whole[:5])
    np.testing.assert_array_equal(fitted.transform(X[::-1])[::-1], whole)


def test_embeddings_are_decoded_and_unscaled(fitted):
    z = fitted.transform(X)
    model = fitted.model_
    scaled = np.asarray(networks.decode(model.model, model.params, z), np.float64)
    expected = scaled / model.scaling.scale + model.scaling.shift
    np.testing.assert_allclose(fitted.inverse_transform(z), expected, rtol=1e-5, atol=1e-5)
    assert np.mean((expected - X) ** 2) < 0.8 * np.mean((X - X.mean(axis=0)) ** 2)


def test_score_is_minus_the_mean_squared_distance_to_the_nearest_centroid(fitted):
    z = fitted.transform(X).astype(np.float64)
    squared = ((z[:, None] - fitted.cluster_centers_) ** 2).sum(axis=-1)
    assert fitted.score(X) == pytest.approx(-squared.min(axis=1).mean(), rel=1e-5)


def test_one_seed_gives_one_result_and_shapes_compile_once(fitted):
    before = fitting.COMPILED.count
    np.testing.assert_array_equal(make().fit(X).probabilities_, fitted.probabilities_)
    assert fitting.COMPILED.count == before


@pytest.mark.slow
def test_the_command_finds_the_same_clusters_with_the_seed_that_was_drawn(fitted, tmp_path):
    np.save(tmp_path / "x.npy", X)
    changed = [f"{name}={value}" for name, value in fitted.settings.items()]
    sizes = [f"network.hidden={','.join(map(str, fitted.config_.network.hidden))}", f"bottleneck={fitted.bottleneck}"]
    words = ["--data", str(tmp_path / "x.npy"), "--n-clusters", "3", "--preset", "fast", "--set", *changed, *sizes]
    out, seed = tmp_path / "run", str(fitted.config_.seed)
    assert command.main(["run", *words, "--seed", seed, "--out", str(out), "--no-report"]) == 0
    with np.load(out / "assignments.npz") as found:
        np.testing.assert_array_equal(found["labels"], fitted.labels_)


@pytest.mark.slow
def test_a_pickle_a_clone_and_a_saved_folder_are_the_same_estimator(fitted, tmp_path):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.labels_)
    assert clone(fitted).get_params() == fitted.get_params()
    fitted.save(tmp_path / "model")
    np.save(tmp_path / "x.npy", X)
    code = (
        "import numpy as np; from dec_jax import DEC; "
        "np.save('q.npy', DEC.load('model').predict_proba(np.load('x.npy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "q.npy"), fitted.predict_proba(X))


@pytest.mark.parametrize(
    "convert",
    [
        pd.DataFrame,
        lambda x: pl.DataFrame(x, schema=["a", "b", "c", "d"]),
        scipy.sparse.csr_matrix,
        np.asfortranarray,
        lambda x: x.tolist(),
        jnp.asarray,
    ],
    ids=["pandas", "polars", "sparse", "Fortran", "lists", "jax"],
)
def test_samples_of_any_kind_are_assigned_alike(fitted, convert):
    x = convert(X)
    if isinstance(x, pd.DataFrame):
        x.columns = list("abcd")
    np.testing.assert_array_equal(DEC.predict(fitted, x), fitted.labels_)


def test_ids_of_a_frame_of_numbers_are_left_out():
    frame = pd.DataFrame(X, columns=list("abcd"))
    with pytest.warns(UserWarning, match="X: 'customer_id' looks like the id of a sample: left out"):
        estimator = make().fit(frame.assign(customer_id=np.random.default_rng(0).permutation(len(X))))
    assert estimator.model_.encoding.feature_names == tuple("abcd")
    np.testing.assert_array_equal(estimator.labels_, make().fit(frame).labels_)


def test_names_of_a_frame_are_kept_and_asked_for():
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator = make().set_output(transform="pandas").fit(frame)
    assert estimator.feature_names_in_.tolist() == list("abcd")
    assert estimator.transform(frame).columns.tolist() == ["dec0", "dec1"]
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(frame.rename(columns={"a": "z"}))


@pytest.mark.slow
def test_it_works_in_a_pipeline_and_in_a_search():
    pipeline = make_pipeline(StandardScaler(), make())
    assert metrics.accuracy(Y, pipeline.fit_predict(X)) == 1

    def silhouette(estimator, x, y=None):
        return silhouette_score(x, estimator.predict(x))

    search = GridSearchCV(make(), {"bottleneck": [2]}, cv=2, scoring=silhouette).fit(X)
    assert search.best_score_ > 0.5
    assert search.best_params_ == {"bottleneck": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_clusters": 0}, "n_clusters must be at least 1, got 0"),
        ({"n_clusters": 121}, "n_clusters must be between 1 and 120"),
        ({"objective": "dce"}, "unknown clustering.objective 'dce'; did you mean 'dec'"),
        ({"preset": "fastest"}, "unknown preset 'fastest'"),
        ({"settings": {"learning": 1}}, "unknown setting 'learning'"),
    ],
)
def test_a_parameter_that_is_not_accepted_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes).fit(X)


def test_an_estimator_that_is_not_fitted_says_so():
    with pytest.raises(NotFittedError):
        make().predict(X)


@pytest.mark.slow
def test_the_data_choose_by_default():
    estimator = by_default().fit(IMAGES)
    assert (estimator.config_.preset, estimator.config_.clustering.objective) == ("auto", "scan")
    assert estimator.n_features_in_ == 36
    assert estimator.config_.augmentation.rotation > 0
    np.testing.assert_array_equal(estimator.predict(IMAGES), estimator.labels_)
    members = [estimator.embedding_[estimator.labels_ == j] for j in np.unique(estimator.labels_)]
    found = estimator.cluster_centers_[np.unique(estimator.labels_)]
    np.testing.assert_allclose(found, [z.mean(axis=0) for z in members], rtol=1e-4, atol=1e-5)
    assert not hasattr(estimator, "inverse_transform")
    assert DEC(3, objective="idec")._values().keys() == {"clustering.n_clusters", "seed"}
    assert fitting.configure(None, "idec", {}).preset == "fast"


@pytest.mark.slow
@pytest.mark.parametrize("convert", [lambda frame: frame, pl.from_pandas], ids=["pandas", "polars"])
def test_categories_of_a_frame_are_encoded_alike_in_training_and_later(convert, tmp_path):
    estimator = make().fit(convert(MIXED))
    assert metrics.accuracy(Y, estimator.labels_) == 1
    assert estimator.model_.encoding.feature_names[4:] == ("color=blue", "color=green", "color=red")
    np.testing.assert_array_equal(estimator.predict(convert(MIXED[::-1]))[::-1], estimator.labels_)
    estimator.save(tmp_path)
    np.testing.assert_array_equal(DEC.load(tmp_path).predict(convert(MIXED)), estimator.labels_)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="b"), "lacks 'b'"),
        (lambda frame: frame.assign(z=1), "no more columns than the frame trained on, got 'z'"),
        (lambda frame: frame.assign(a="high"), "column 'a' must hold numbers, as before .*'high'"),
        (lambda frame: frame.assign(color=1.5), "column 'color' must hold categories as before"),
        (lambda frame: pd.concat([frame, frame[["a"]]], axis=1), "a name of its own for each column, got 'a' 2 times"),
    ],
    ids=["missing", "added", "text", "numbers", "twice"],
)
def test_a_frame_of_other_columns_is_refused_by_name(fitted_to_frame, change, message):
    with pytest.raises(ValueError, match=message):
        fitted_to_frame.predict(change(MIXED))


def test_callbacks_see_each_interval():
    seen = []
    estimator = make().fit(X, callbacks=[lambda row, labels: seen.append((row["step"], labels))])
    assert [step for step, _ in seen] == [row["step"] for row in estimator.history_ if row["phase"] == "clustering"]
    np.testing.assert_array_equal(seen[-1][1], estimator.labels_)


@pytest.mark.slow
def test_images_of_another_shape_are_compiled_anew():
    by_default().fit(IMAGES)
    count = fitting.COMPILED.count
    by_default().fit(IMAGES)
    assert fitting.COMPILED.count == count
    by_default().fit(IMAGES.reshape(-1, 4, 9))
    assert fitting.COMPILED.count > count


@pytest.mark.slow
def test_functions_that_are_loaded_again_are_compiled_anew(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = "import jax.numpy as jnp\n\n\ndef pulled(inputs):\n    return {} * jnp.mean(inputs.z**2)\n"
    losses = []
    for weight in (1, 3):
        (tmp_path / "pulled_losses.py").write_text(source.format(weight))
        module = importlib.import_module("pulled_losses")
        importlib.invalidate_caches()
        importlib.reload(module)
        losses.append(make(objective="pulled_losses:pulled").fit(X).history_[-1]["loss"])
    assert losses[1] > losses[0]
