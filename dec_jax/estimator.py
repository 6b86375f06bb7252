"""Deep embedded clustering as a scikit-learn estimator."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import ClassifierTags, Tags, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from dec_jax import trained_model
from dec_jax.checkpoints import load_model, save_model
from dec_jax.data import Dataset, from_frame
from dec_jax.data.columns import id_columns
from dec_jax.data.shapes import flatten
from dec_jax.storage import SUFFIX, Store, read_metadata

PARAMETERS = "estimator"  # the entry beside the model
NUMERIC_KINDS = tuple("biuf")
Callback = Callable[[dict[str, Any], np.ndarray], None]


def _has_decoder(estimator: DEC) -> bool:
    return not hasattr(estimator, "model_") or trained_model.has_decoder(estimator.model_)


class DEC(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Deep clustering, as scikit-learn has its clusterers: DEC (Xie et al. 2016), its family, and SCAN.

    One class serves the family: `objective` chooses what clustering minimises. By default the data choose: a partition
    of the graph of neighbours, learnt by a network, which for images goes on by SCAN (Van Gansbeke et al. 2020).

    Samples are arrays (n, d), images (n, h, w) or (n, h, w, channels), sparse matrices, or frames of pandas or polars.
    A frame that holds more than numbers, or ids, is encoded column by column: categories become one-hot, ids are left
    out.

    Args:
        n_clusters: k, between 2 and the number of samples.
        objective: "dec", "idec", "dcn", "dkm", "scan", "imsat", or "package.module:function" for your own; None for
            the preset's.
        preset: where the settings start from, see `dec_jax.runner.presets`; None for "auto", or for "fast" where an
            objective is named.
        hidden: sizes of the layers between input and embedding; None for the preset's.
        bottleneck: m, dimensions of the embedding; None for 10. "auto" has one for each cluster instead.
        settings: any other setting by its full name, such as {"pretraining.batch_size": 128}.
        random_state: fixes the result; an integer, a numpy RandomState, or None for another one every time. The seed
            that is drawn from it is `config_.seed`: with that one the command finds the same clusters.
        verbose: 1 shows progress, and what was decided about the columns of a frame, on stderr.

    Attributes:
        labels_: (n,) int32, the cluster of each sample.
        probabilities_: (n, k) float32, the soft assignment.
        embedding_: (n, m) float32.
        cluster_centers_: (k, m) float32, in the embedding.
        history_: rows of the phases with step, loss and, in clustering, label change.
        n_iter_: updates of the clustering phase, at least 1.
        model_: the `TrainedModel`, for the functions of `dec_jax.trained_model`.
        config_: the configuration, resolved for the data.
        n_features_in_: d, or the number of a frame's columns.
        feature_names_in_: of a frame whose columns are named by strings.
    """

    def __init__(
        self,
        n_clusters: int = 4,  # scikit-learn's checks of an estimator as it comes ask `predict_proba` for four columns
        *,
        objective: str | None = None,
        preset: str | None = None,
        hidden: tuple[int, ...] | None = None,
        bottleneck: int | None = None,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.objective = objective
        self.preset = preset
        self.hidden = hidden
        self.bottleneck = bottleneck
        self.settings = settings
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, callbacks: Sequence[Callback] = ()) -> Self:  # noqa: N803
        """Trains on samples.

        Args:
            X: (n, d) array, frame or sparse matrix of real numbers, images (n, h, w[, channels]), or a frame with
                categories among its columns.
            y: not used.
            callbacks: each is called after each interval of the clustering phase with a row of the history and the
                labels (n,) so far.

        Raises:
            TypeError, ValueError: a parameter is not accepted, or the samples cannot be clustered.
            FloatingPointError: a loss became NaN or infinite.
        """
        from dec_jax.runner import fitting  # the runner, with its presets, only where it is used

        dataset = self._dataset(X)
        config = fitting.configure(self.preset, self.objective, self._values())
        watch = _watch(callbacks) if callbacks else None
        fitted = fitting.fit_model(config, dataset, show=bool(self.verbose), watch=watch)
        self.config_, self.model_ = fitted.config, fitted.model
        self.labels_, self.embedding_ = fitted.outcome.labels["final"], fitted.outcome.z
        self.probabilities_ = np.exp(fitted.outcome.log_q)
        self.cluster_centers_ = np.asarray(fitted.model.centroids)
        self.history_, self.n_iter_ = fitted.outcome.history, max(1, fitted.outcome.steps)
        self._n_features_out = self.embedding_.shape[1]
        return self

    def _values(self) -> dict[str, Any]:
        """The settings that the parameters say, by full name."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        values = {"clustering.n_clusters": self.n_clusters, "seed": seed}
        if self.hidden is not None:
            values["network.hidden"] = tuple(self.hidden)
        if self.bottleneck is not None:
            values["network.bottleneck"] = self.bottleneck
        return values | dict(self.settings or {})

    def _dataset(self, x: Any) -> Dataset:
        """The samples to train on.

        What was decided about the columns of a frame is said where progress is shown; that ids were left out of one of
        numbers alone is a warning.
        """
        is_mixed = _is_mixed(x)
        if not is_mixed and not _has_ids(x):
            x, image_shape = _flat(x)
            return Dataset("X", validate_data(self, x, accept_sparse="csr", ensure_min_samples=2), None, image_shape)
        dataset = from_frame(x, name="X")
        if not is_mixed:
            warnings.warn(f"X: {'; '.join(dataset.notes)}", stacklevel=3)
        self.n_features_in_, self.feature_names_in_ = len(x.columns), np.asarray(list(map(str, x.columns)), object)
        if self.verbose:
            from dec_jax.runner import failures

            for note in dataset.notes:
                failures.say("note", note)
        return dataset

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:  # noqa: N803
        """Trains on samples (n, d) and returns their clusters, (n,) int32."""
        return self.fit(X).labels_

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Returns the clusters (n,) int32 of samples (n, d): the largest soft assignment."""
        return trained_model.assign(self._fitted(), self._checked(X))

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Returns the soft assignment (n, k) float32 of samples (n, d); rows sum to 1."""
        return trained_model.soft_assign(self._fitted(), self._checked(X))

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Returns the embedding (n, m) float32 of samples (n, d)."""
        return trained_model.embed(self._fitted(), self._checked(X))

    @available_if(_has_decoder)
    def inverse_transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Returns the samples (n, d) that embeddings (n, m) stand for, by the decoder as training left it.

        The preset "auto" trains no decoder, and then there is no such method.
        """
        return trained_model.decode(self._fitted(), X)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Returns minus the mean squared distance of embeddings to their nearest centroid: more is better."""
        z = self.transform(X)
        squared = np.square(z[:, None, :] - self.cluster_centers_).sum(axis=-1)
        return -float(squared.min(axis=1).mean())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the parameters and the model to a folder, without pickle.

        Raises:
            OSError: the folder cannot be written.
        """
        save_model(folder, self._fitted())
        names = {} if not hasattr(self, "feature_names_in_") else {"feature_names_in_": list(self.feature_names_in_)}
        saved = {"parameters": _plain(self.get_params()), "n_features_in_": self.n_features_in_, **names}
        Store(folder).put(PARAMETERS, {}, saved)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, own_functions: bool = False) -> DEC:
        """Reads what `save` wrote: it predicts and transforms as before; what was found in training is not kept.

        Args:
            folder: of `save`.
            own_functions: whether its parameters may name functions of your own, package.module:function, which `fit`
                would import: only where you know who wrote the folder.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: it is damaged, or holds something else; or it names functions and `own_functions` is not set.
        """
        model = load_model(folder)
        path = Path(folder) / (PARAMETERS + SUFFIX)
        saved = read_metadata(path)
        try:
            estimator, n_features = cls(**saved["parameters"]), int(saved["n_features_in_"])
            named = [estimator.objective, *(estimator.settings or {}).values()]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} does not hold the parameters of an estimator: {error!r}") from error
        functions = [value for value in named if isinstance(value, str) and ":" in value]
        if functions and not own_functions:
            raise ValueError(
                f"{path} names functions that fit would import ({', '.join(functions)}): "
                "load it with own_functions=True if you know who wrote it"
            )
        estimator.model_, estimator.cluster_centers_ = model, np.asarray(model.centroids)
        estimator.n_features_in_ = n_features
        estimator._n_features_out = model.centroids.shape[1]
        if "feature_names_in_" in saved:
            estimator.feature_names_in_ = np.asarray(saved["feature_names_in_"], object)
        return estimator

    def _fitted(self) -> trained_model.TrainedModel:
        check_is_fitted(self, "model_")
        return self.model_

    def _checked(self, x: Any) -> Any:
        """New samples as the model takes them."""
        if self._fitted().encoding is None:
            return validate_data(self, _flat(x)[0], accept_sparse="csr", reset=False)
        if not hasattr(x, "columns"):
            raise TypeError(f"X must be a frame with the columns of the one trained on, got {type(x).__name__}")
        _check_names(list(map(str, x.columns)), list(self.feature_names_in_))
        return x

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []  # float32, whatever comes
        # scikit-learn's checks ask everything with predict_proba for them.
        tags.classifier_tags = ClassifierTags(multi_class=self.n_clusters > 2)
        return tags


def _check_names(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuses a frame that has other columns than the one trained on."""
    if missing := [name for name in known if name not in names]:
        raise ValueError(f"X must have the columns of the frame trained on, and lacks {', '.join(map(repr, missing))}")
    if new := [name for name in names if name not in known]:
        raise ValueError(f"X must have no more columns than the frame trained on, got {', '.join(map(repr, new))}")


def _is_mixed(x: Any) -> bool:
    """Whether `x` is a frame that holds more than numbers."""
    if not hasattr(x, "columns") or not hasattr(x, "dtypes"):
        return False
    return not all(_is_numeric(dtype) for dtype in x.dtypes)


def _has_ids(x: Any) -> bool:
    """Whether `x` is a frame of pandas with a column that looks like ids."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(x, pandas.DataFrame) and len(x) > 0 and bool(id_columns(x))


def _is_numeric(dtype: Any) -> bool:
    """Whether a dtype of pandas or of polars is one of numbers."""
    kind = getattr(dtype, "kind", None)
    return kind in NUMERIC_KINDS if kind else dtype.is_numeric() or str(dtype) == "Boolean"


def _flat(x: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Images as rows, with the shape of one; anything else as it is."""
    if scipy.sparse.issparse(x) or getattr(x, "ndim", 2) < 3:
        return x, None
    flat = flatten(np.asarray(x))
    return flat.x, flat.image_shape


def _watch(callbacks: Sequence[Callback]) -> Callable[[dict[str, Any], np.ndarray], dict[str, Any]]:
    def watch(row: dict[str, Any], labels: np.ndarray) -> dict[str, Any]:
        for callback in callbacks:
            callback(dict(row), labels)
        return {}

    return watch


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as JSON has them; a generator's state is not kept."""
    seed = parameters["random_state"]
    settings = parameters["settings"] and {name: _value(one) for name, one in parameters["settings"].items()}
    kept = {"random_state": seed if seed is None else _value(seed) if np.isscalar(seed) else None, "settings": settings}
    return {name: _value(value) for name, value in parameters.items()} | kept


def _value(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return list(value) if isinstance(value, tuple) else value
