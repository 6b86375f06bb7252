"""How fast the phases of a trial were, and how much of what the device can do that is."""

import scipy.sparse

from benchmarks import flops
from benchmarks.matmul_rate import MatmulRate
from dec_jax.autoencoder import Autoencoder
from experiments import plan
from experiments.trial import Trial

Speeds = dict[str, dict[str, float | None]]


def speeds(trial: Trial) -> Speeds:
    """Steps a second of each phase, and the fraction of the device's rate of matrix products.

    Seconds are those of the whole phase: compilation, refreshes of P and waiting for the host are in them.

    Args:
        trial: a finished one.

    Returns:
        For "pretraining" and "clustering", `steps_per_second` and `fraction`: the floating-point operations a second
        over those of the best large float32 product, which is measured here; None where operations are not counted,
        which is where the network is no dense one, the samples are sparse, or only the centroids move.
    """
    settings = trial.settings
    layers = len(settings.hidden) + 1 if settings.network == "dense" else 0
    steps = {"pretraining": layers * settings.layer_wise_steps + settings.fine_tuning_steps, "clustering": trial.steps}
    operations = _operations(trial)
    rate = MatmulRate().measure() if operations else 1.0
    return {
        phase: {
            "steps_per_second": n / trial.seconds[phase],
            "fraction": operations[phase] / trial.seconds[phase] / rate if phase in operations else None,
        }
        for phase, n in steps.items()
    }


def _operations(trial: Trial) -> dict[str, int]:
    """Floating-point operations of whole phases."""
    settings, model, (n, _) = trial.settings, trial.trained.model, trial.samples.shape
    if not isinstance(model, Autoencoder) or scipy.sparse.issparse(trial.samples):
        return {}
    batch, dims, k = settings.batch_size, model.dims, settings.n_clusters
    pairs = sum(flops.layer_pair_step(batch, *dims[layer : layer + 2]) for layer in range(len(dims) - 1))
    fine_tuning = flops.fine_tuning_step(batch, dims)
    found = {"pretraining": settings.layer_wise_steps * pairs + settings.fine_tuning_steps * fine_tuning}
    if settings.train_encoder:
        step = flops.clustering_step(batch, dims, k)
        if plan.objective(settings).needs("reconstruction"):
            step += fine_tuning - flops.clustering_step(batch, dims, 0)
        refreshes = sum(row["phase"] == "clustering" for row in trial.history)
        found["clustering"] = trial.steps * step + refreshes * flops.refresh(n, dims, k)
    return found
