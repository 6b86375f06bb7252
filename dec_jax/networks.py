"""Any Flax module with `encode` and `decode` as a network: functions of its parameters.

Parameters are a dict with the entries of the module's collection "params". What the module keeps in other collections,
such as the running means of BatchNorm, lies beside them under one entry; it is carried on by training, and no optimiser
moves it. In training a method that has an argument `train` gets True, and a module that draws, as Dropout does, gets a
key. DEC needs no `decode`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

from dec_jax.samples import CHUNK_BYTES, Samples, map_rows

Params = dict[str, Any]
_COLLECTIONS = "~collections"


class Identity(nn.Module):
    """The encoder of samples that are embeddings already: z = x, without parameters."""

    def encode(self, x: jax.Array) -> jax.Array:
        """Returns x."""
        return x


@dataclass(frozen=True)
class FromNnx:
    """A flax.nnx module as a network.

    Attributes:
        make: nnx.Rngs → the module, which has `encode` (b, d) → (b, m) and `decode` (b, m) → (b, d).
    """

    make: Callable[[nnx.Rngs], nnx.Module]

    def init(self, key: jax.Array, x: jax.Array) -> dict[str, Any]:
        """Variables of a fresh module, as linen's `init` returns them: arrays by their path."""
        return _variables_of(self.make(nnx.Rngs(key)))

    def apply(
        self,
        variables: dict[str, Any],
        x: jax.Array,
        *,
        method: str,
        mutable: Any = (),
        rngs: dict[str, jax.Array] | None = None,
    ) -> Any:
        """Result of a method under the variables, with the changed collections where they are asked for.

        With `rngs`, {"params": key}, the module is in its training mode.
        """
        module = self.make(nnx.Rngs(rngs["params"] if rngs else 0))
        given = {**variables["params"], **variables.get("state", {})}
        for path, variable in nnx.to_flat_state(nnx.state(module)):
            if (name := _name(path)) in given:
                variable.set_value(given[name])
                nnx.update(module, nnx.from_flat_state([(path, variable)]))
        module.train() if rngs else module.eval()
        result = getattr(module, method)(x)
        return (result, {"state": _variables_of(module).get("state", {})}) if mutable else result


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _variables_of(module: nnx.Module) -> dict[str, Any]:
    _, params, _, state = nnx.split(module, nnx.Param, nnx.RngState, ...)
    parts = {"params": params, "state": state}
    flat = {
        kind: {_name(path): leaf.get_value() for path, leaf in nnx.to_flat_state(part)} for kind, part in parts.items()
    }
    return {kind: values for kind, values in flat.items() if values}


@partial(jax.jit, static_argnames=("model", "n_features"))
def init(key: jax.Array, model: Any, n_features: int) -> Params:
    """Fresh parameters of `model` for samples of `n_features` features, float32."""
    x = jnp.zeros((1, n_features), jnp.float32)
    variables = dict(model.init(key, x) if isinstance(model, FromNnx) else model.init(key, x, method=_all_methods))
    params = dict(variables.pop("params", {}))
    return params | {_COLLECTIONS: variables} if variables else params


def _all_methods(module: nn.Module, x: jax.Array) -> jax.Array:
    z = module.encode(x, **_told(module, "encode", False))
    return module.decode(z, **_told(module, "decode", False)) if hasattr(module, "decode") else z


def _told(module: Any, method: str, train: bool) -> dict[str, bool]:
    """The argument `train` for a method that has one."""
    has_one = "train" in inspect.signature(getattr(module, method)).parameters
    return {"train": train} if has_one else {}


def split(params: Params) -> tuple[Params, Params]:
    """What an optimiser moves, and the rest."""
    moving = {name: value for name, value in params.items() if name != _COLLECTIONS}
    return moving, {name: value for name, value in params.items() if name == _COLLECTIONS}


def encode(model: Any, params: Params, x: jax.Array) -> jax.Array:
    """Embedding of x (…, d) under `params`: (…, m). The encoder's parameters suffice."""
    return _apply(model, params, x, "encode")[0]


def decode(model: Any, params: Params, z: jax.Array) -> jax.Array:
    """Reconstruction of the embedding z (…, m) under `params`: (…, d)."""
    return _apply(model, params, z, "decode")[0]


def reconstruct(model: Any, params: Params, x: jax.Array) -> jax.Array:
    """Reconstruction of x (…, d) under `params`: (…, d)."""
    return decode(model, params, encode(model, params, x))


def encode_in_training(key: jax.Array, model: Any, params: Params, x: jax.Array) -> tuple[jax.Array, Params]:
    """Embedding of x (b, d), and the entries of `params` that change without an optimiser."""
    return _apply(model, params, x, "encode", key)


def decode_in_training(key: jax.Array, model: Any, params: Params, z: jax.Array) -> tuple[jax.Array, Params]:
    """Reconstruction of the embedding z (b, m), and the entries of `params` that change without an optimiser."""
    return _apply(model, params, z, "decode", key)


def reconstruct_in_training(key: jax.Array, model: Any, params: Params, x: jax.Array) -> tuple[jax.Array, Params]:
    """Reconstruction of x (b, d), and the entries of `params` that change without an optimiser."""
    encode_key, decode_key = jax.random.split(key)
    z, encoded = encode_in_training(encode_key, model, params, x)
    y, decoded = decode_in_training(decode_key, model, params | encoded, z)
    return y, encoded | decoded


def _apply(
    model: Any, params: Params, x: jax.Array, method: str, key: jax.Array | None = None
) -> tuple[jax.Array, Params]:
    """Result of a method, and the entries of `params` that it changed: those of training, for which there is a key."""
    moving, rest = split(params)
    collections = rest.get(_COLLECTIONS, {})
    options: dict[str, Any] = {} if isinstance(model, FromNnx) else _told(model, method, key is not None)
    if key is not None:
        options["rngs"] = {"params": key}  # which a module of linen takes for all that it draws
    variables = {"params": moving, **collections}
    if not collections:
        return model.apply(variables, x, method=method, **options), {}
    result, changed = model.apply(variables, x, method=method, mutable=list(collections), **options)
    return result, {} if key is None else {_COLLECTIONS: collections | dict(changed)}


def encoder_entries(model: Any, params: Params, n_features: int) -> list[str]:
    """The entries of `params` that `encode` reads, in the order in which it reads them."""
    jaxpr, names = _trace_encode(model, params, n_features)
    first_use: dict[str, None] = {}
    for variables in (*(equation.invars for equation in jaxpr.eqns), jaxpr.outvars):
        first_use |= dict.fromkeys(names[id(variable)] for variable in variables if id(variable) in names)
    return list(first_use)


def encoder_params(model: Any, params: Params, n_features: int) -> Params:
    """The part of `params` that `encode` reads."""
    return {name: params[name] for name in encoder_entries(model, params, n_features)}


def rows_per_chunk(model: Any, params: Params, n_features: int) -> int:
    """Rows that `encode` takes at a time, so that the widest of its layers stays in the cache."""
    jaxpr, _ = _trace_encode(model, params, n_features)
    outputs = (variable.aval for equation in jaxpr.eqns for variable in equation.outvars)
    widest = max([n_features, *(math.prod(aval.shape) for aval in outputs if aval.shape[:1] == (1,))])
    return max(1, CHUNK_BYTES // (4 * widest))


def _trace_encode(model: Any, params: Params, n_features: int) -> tuple[Any, dict[int, str]]:
    """The program of `encode` for one sample, and which entry of `params` its variables are of."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), leaf.dtype), params)
    x = jax.ShapeDtypeStruct((1, n_features), jnp.float32)
    jaxpr = jax.make_jaxpr(partial(encode, model))(shapes, x).jaxpr
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(shapes)[0]]
    return jaxpr, {id(v): path[0].key for v, path in zip(jaxpr.invars, paths, strict=False)}


@partial(jax.jit, static_argnames="model")
def embed(model: Any, params: Params, x: Samples) -> jax.Array:
    """Embedding (n, m) of all samples x (n, d), a chunk at a time."""
    return map_rows(partial(encode, model, params), x, rows_per_chunk(model, params, x.shape[1]))
