"""The opponent: epochs of ClustPy's DEC, through the functions that its `DEC.fit` calls.

Runs in the peers' own environment; nothing here imports JAX.
"""

import contextlib

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # ClustPy imports torchvision for its data sets. The registry's build is made for CUDA and, beside a CPU build of
    # torch, stops for want of two operators that its CUDA library defines. DEC uses neither: naming them will do.
    _names = torch.library.Library("torchvision", "FRAGMENT")
    for _operator in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):
            _names.define(f"{_operator}() -> ()")

from clustpy.deep._data_utils import get_dataloader
from clustpy.deep._utils import mean_squared_error
from clustpy.deep.dec import _DEC_Module
from clustpy.deep.neural_networks import FeedforwardAutoencoder

SGD = {"lr": 0.01, "momentum": 0.9}


class ClustPyEpochs:
    """ClustPy's autoencoder and DEC module, with its own data loader, SGD with momentum, float32.

    Args:
        x: (n, d) samples.
        dims: layer sizes, input first, embedding last.
        batch_size: b.
        n_clusters: k.
    """

    def __init__(self, x: torch.Tensor, dims: list[int], batch_size: int, n_clusters: int) -> None:
        self._x, self._batch_size = x.cpu(), batch_size
        self._device = x.device
        self._network = FeedforwardAutoencoder(dims, activation_fn=torch.nn.ReLU).to(x.device)
        self._module = _DEC_Module(torch.randn(n_clusters, dims[-1]).numpy(), 1.0).to(x.device)
        trained = [*self._network.parameters(), *self._module.parameters()]
        self._optimizer = torch.optim.SGD(trained, **SGD)

    def fine_tuning(self, n_steps: int) -> None:
        """One epoch of pretraining over as many samples as make `n_steps` batches."""
        self._network.fit(1, SGD, dataloader=self._loader(n_steps), optimizer_class=torch.optim.SGD)

    def clustering(self, n_steps: int) -> None:
        """One epoch of clustering over as many samples as make `n_steps` batches."""
        loader = self._loader(n_steps)
        self._module.fit(self._network, loader, 1, self._device, self._optimizer, mean_squared_error, 1.0, 0.0)

    def _loader(self, n_steps: int) -> torch.utils.data.DataLoader:
        return get_dataloader(self._x[: n_steps * self._batch_size], self._batch_size)
