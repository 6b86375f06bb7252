"""Deep embedded clustering as a scikit-learn estimator."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import ClassifierTags, Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from dec_jax import trained_model
from dec_jax.checkpoints import load_model, save_model
from dec_jax.data import Dataset
from dec_jax.storage import SUFFIX, Store, read_metadata

PARAMETERS = "estimator"  # the entry beside the model


class DEC(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Deep embedded clustering (Xie et al. 2016) and its family, as scikit-learn has its clusterers.

    One class serves the family: `objective` chooses what clustering minimises.

    Args:
        n_clusters: k, between 2 and the number of samples.
        objective: "dec", "idec", "dcn", "dkm", or "package.module:function" for your own.
        preset: where the settings start from; see `dec_jax.runner.presets`.
        hidden: sizes of the layers between input and embedding; None for the preset's.
        bottleneck: m, dimensions of the embedding.
        settings: any other setting by its full name, such as {"pretraining.learning_rate": 0.01}.
        random_state: fixes the result; an integer, a numpy RandomState, or None for another one every time.
        verbose: 1 shows progress on stderr.

    Attributes:
        labels_: (n,) int32, the cluster of each sample.
        probabilities_: (n, k) float32, the soft assignment.
        embedding_: (n, m) float32.
        cluster_centers_: (k, m) float32, in the embedding.
        history_: rows of the phases with step, loss and, in clustering, label change.
        n_iter_: updates of the clustering phase.
        model_: the `TrainedModel`, for the functions of `dec_jax.trained_model`.
        config_: the configuration, resolved for the data.
        n_features_in_: d.
        feature_names_in_: (d,) of a frame with names.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        objective: str = "dec",
        preset: str = "fast",
        hidden: tuple[int, ...] | None = None,
        bottleneck: int = 10,
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

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Trains on samples.

        Args:
            X: (n, d) array, frame or sparse matrix of real numbers.
            y: not used.

        Raises:
            TypeError, ValueError: a parameter is not accepted, or the samples cannot be clustered.
            FloatingPointError: a loss became NaN or infinite.
        """
        from dec_jax.runner.fitting import fit_model  # the runner, with its presets, only where it is used

        x = validate_data(self, X, accept_sparse="csr", ensure_min_samples=2)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        values = {} if self.hidden is None else {"network.hidden": tuple(self.hidden)}
        values |= {"network.bottleneck": self.bottleneck, "clustering.n_clusters": self.n_clusters, "seed": seed}
        fitted = fit_model(
            Dataset("X", x), self.preset, self.objective, values | dict(self.settings or {}), show=bool(self.verbose)
        )
        self.config_, self.model_ = fitted.config, fitted.model
        self.labels_, self.embedding_ = fitted.outcome.labels["final"], fitted.outcome.z
        self.probabilities_ = np.exp(fitted.outcome.log_q)
        self.cluster_centers_ = fitted.outcome.centroids
        self.history_, self.n_iter_ = fitted.outcome.history, max(1, fitted.outcome.steps)
        self._n_features_out = self.embedding_.shape[1]
        return self

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

    def inverse_transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Returns the samples (n, d) that embeddings (n, m) stand for, by the decoder as training left it."""
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
        Store(folder).put(PARAMETERS, {}, {"parameters": _plain(self.get_params()), **names})

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
            estimator = cls(**saved["parameters"])
            named = [estimator.objective, *(estimator.settings or {}).values()]
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} does not hold the parameters of an estimator: {error!r}") from error
        functions = [value for value in named if isinstance(value, str) and ":" in value]
        if functions and not own_functions:
            raise ValueError(
                f"{path} names functions that fit would import ({', '.join(functions)}): "
                "load it with own_functions=True if you know who wrote it"
            )
        estimator.model_, estimator.cluster_centers_ = model, np.asarray(model.centroids)
        estimator.n_features_in_ = model.model.dims[0]
        estimator._n_features_out = model.centroids.shape[1]
        if "feature_names_in_" in saved:
            estimator.feature_names_in_ = np.asarray(saved["feature_names_in_"], object)
        return estimator

    def _fitted(self) -> trained_model.TrainedModel:
        check_is_fitted(self, "model_")
        return self.model_

    def _checked(self, x: Any) -> Any:
        return validate_data(self, x, accept_sparse="csr", reset=False)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = []  # float32, whatever comes
        tags.classifier_tags = ClassifierTags()  # scikit-learn's checks ask everything with predict_proba for them
        return tags


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
