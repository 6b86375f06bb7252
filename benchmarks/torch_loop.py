"""The opponent: DEC as a PyTorch user writes it, a plain loop over batches of one resident tensor.

Runs in the peers' own environment; nothing here imports JAX.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import nn

CHUNK = 4096


class TorchLoop:
    """Encoder, decoder and centroids with one optimiser for each phase, SGD with momentum, float32.

    Args:
        x: (n, d) samples.
        dims: layer sizes, input first, embedding last.
        batch_size: b.
        n_clusters: k.
        compiled: whether the losses go through torch.compile.
    """

    def __init__(
        self, x: torch.Tensor, dims: list[int], batch_size: int, n_clusters: int, *, compiled: bool = False
    ) -> None:
        self._x, self._batch_size = x, batch_size
        self._encoder, self._decoder = layers(dims).to(x.device), layers(dims[::-1]).to(x.device)
        self._centroids = nn.Parameter(torch.randn(n_clusters, dims[-1], device=x.device))
        whole = [*self._encoder.parameters(), *self._decoder.parameters()]
        self._pretraining = torch.optim.SGD(whole, lr=0.01, momentum=0.9)
        refined = [*self._encoder.parameters(), self._centroids]
        self._clustering = torch.optim.SGD(refined, lr=0.01, momentum=0.9)
        compile_: Callable = torch.compile if compiled else lambda function: function
        self._reconstruction_loss = compile_(self._plain_reconstruction_loss)
        self._clustering_loss = compile_(self._plain_clustering_loss)

    def fine_tuning(self, n_steps: int) -> float:
        """Updates encoder and decoder; returns the last loss."""
        for rows in self._batches(n_steps):
            loss = self._reconstruction_loss(self._x[rows])
            self._pretraining.zero_grad()
            loss.backward()
            self._pretraining.step()
        return loss.item()

    def clustering(self, n_steps: int) -> float:
        """Updates encoder and centroids, after P was computed for all samples; returns the last loss."""
        target = self._target()
        for rows in self._batches(n_steps):
            loss = self._clustering_loss(self._x[rows], target[rows])
            self._clustering.zero_grad()
            loss.backward()
            self._clustering.step()
        return loss.item()

    def _batches(self, n_steps: int) -> Iterator[torch.Tensor]:
        """Rows of `n_steps` whole batches, each epoch in a new order."""
        done = 0
        while done < n_steps:
            for rows in torch.randperm(len(self._x), device=self._x.device).split(self._batch_size):
                if done == n_steps or (len(rows) < self._batch_size and len(self._x) > self._batch_size):
                    break
                yield rows
                done += 1

    def _plain_reconstruction_loss(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (self._decoder(self._encoder(x)) - x).square().sum(1).mean()

    def _plain_clustering_loss(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        q = self._soft_assignment(self._encoder(x))
        return nn.functional.kl_div(q.log(), target, reduction="batchmean")

    def _soft_assignment(self, z: torch.Tensor) -> torch.Tensor:
        q = 1 / (1 + (z[:, None] - self._centroids).square().sum(2))
        return q / q.sum(1, keepdim=True)

    @torch.no_grad()
    def _target(self) -> torch.Tensor:
        q = torch.cat([self._soft_assignment(self._encoder(chunk)) for chunk in self._x.split(CHUNK)])
        weight = q.square() / q.sum(0)
        return weight / weight.sum(1, keepdim=True)


def layers(dims: list[int]) -> nn.Sequential:
    """Fully connected layers with ReLU between them."""
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(dims):
        modules += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*modules[:-1])
