"""The networks: pure functions of a dictionary of parameters and ONE example.

They run on any JAX, one definition for all tools, on parameters drawn by NumPy.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Network(NamedTuple):
    """A function, and how to draw what it takes.

    ``init(rng)`` returns parameters, ``shape`` is that of one example, ``n`` how many
    examples a kernel has on each side.
    """

    apply: Callable[[dict[str, Any], Any], Any]
    init: Callable[[np.random.Generator], dict[str, np.ndarray]]
    shape: tuple[int, ...]
    n: int


def mlp(params, x):
    """Dense layers with ReLU between them; ``x`` (d,)."""
    depth = len(params) // 2
    for number in range(depth):
        x = x @ params[f"w{number}"] + params[f"b{number}"]
        if number < depth - 1:
            x = jax.nn.relu(x)
    return x


def cnn(params, x):
    """3x3 SAME convolutions with ReLU, the mean over pixels, a dense layer.

    ``x`` is (height, width, channels).
    """
    x = x[None]
    for number in range(len(params) // 2 - 1):
        x = lax.conv_general_dilated(
            x,
            params[f"w{number}"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(x + params[f"b{number}"][None, None, None])
    return jnp.mean(x[0], axis=(0, 1)) @ params["head_w"] + params["head_b"]


def transformer(params, x, heads=4):
    """One pre-norm block with a norm, the mean over tokens and a dense layer above.

    ``x`` is (tokens, width).
    """
    tokens, width = x.shape

    def dense(name, x):
        return x @ params[f"{name}_w"] + params[f"{name}_b"][None]

    def split(x):
        return jnp.reshape(x, (tokens, heads, width // heads))

    h = _layer_norm(params, "norm_1", x)
    query, key, value = (split(dense(name, h)) for name in ("query", "key", "value"))
    scores = jnp.einsum("qhd,khd->hqk", query, key) / (width // heads) ** 0.5
    mixed = jnp.einsum("hqk,khd->qhd", jax.nn.softmax(scores, axis=-1), value)
    x = x + dense("out", jnp.reshape(mixed, (tokens, width)))
    h = _layer_norm(params, "norm_2", x)
    x = x + dense("down", jax.nn.gelu(dense("up", h)))
    x = jnp.mean(_layer_norm(params, "norm_3", x), axis=0)
    return x @ params["head_w"] + params["head_b"]


def lstm(params, x):
    """The last state of an LSTM, and a dense layer; ``x`` (steps, inputs)."""
    hidden = params["hidden_w"].shape[0]

    def step(carry, x):
        h, c = carry
        gates = x @ params["input_w"] + h @ params["hidden_w"] + params["b"]
        i, f, g, o = jnp.split(gates, 4)
        c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zeros = jnp.zeros(hidden, x.dtype)
    (h, _), _ = lax.scan(step, (zeros, zeros), x)
    return h @ params["head_w"] + params["head_b"]


def networks(scale: str = "full") -> dict[str, Network]:
    """All networks by name.

    Args:
        scale: ``"full"`` or ``"tiny"``, which is for tests.

    Returns:
        The networks; parameters are float32, drawn at widths that keep signals alive.
    """
    full = scale == "full"
    sizes = (784, 512, 512, 10) if full else (7, 6, 5, 3)
    channels = (3, 64, 64, 64) if full else (2, 3, 4)
    side, classes = (32, 10) if full else (5, 3)
    tokens, width = (32, 64) if full else (5, 8)
    steps, inputs, hidden = (32, 32, 64) if full else (6, 3, 4)
    small = 32 if full else 4

    def init_mlp(rng):
        params = {}
        for number, (a, b) in enumerate(pairwise(sizes)):
            params |= _dense(rng, (a, b), (f"w{number}", f"b{number}"), 2)
        return params

    def init_cnn(rng):
        params = {}
        for number, (a, b) in enumerate(pairwise(channels)):
            params |= _dense(rng, (3, 3, a, b), (f"w{number}", f"b{number}"), 2)
        return params | _dense(rng, (channels[-1], classes), ("head_w", "head_b"))

    def init_transformer(rng):
        params = {}
        for name in ("norm_1", "norm_2", "norm_3"):
            params[f"{name}_scale"] = _normal(rng, (width,), 0.1) + np.float32(1)
            params[f"{name}_shift"] = _normal(rng, (width,), 0.1)
        shapes = dict.fromkeys(("query", "key", "value", "out"), (width, width))
        shapes |= {"up": (width, 4 * width), "down": (4 * width, width)}
        for name, shape in (shapes | {"head": (width, classes)}).items():
            params |= _dense(rng, shape, (f"{name}_w", f"{name}_b"))
        return params

    def init_lstm(rng):
        return {
            "input_w": _normal(rng, (inputs, 4 * hidden), inputs**-0.5),
            "hidden_w": _normal(rng, (hidden, 4 * hidden), hidden**-0.5),
            "b": _normal(rng, (4 * hidden,), 0.1),
        } | _dense(rng, (hidden, classes), ("head_w", "head_b"))

    return {
        "mlp": Network(mlp, init_mlp, (sizes[0],), 256 if full else 5),
        "cnn": Network(cnn, init_cnn, (side, side, channels[0]), small),
        "transformer": Network(
            transformer if full else _two_heads,
            init_transformer,
            (tokens, width),
            small,
        ),
        "lstm": Network(lstm, init_lstm, (steps, inputs), small),
    }


def _two_heads(params, x):
    return transformer(params, x, heads=2)


def _layer_norm(params, name, x):
    """Over the width, with scale and shift."""
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    x = x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-5)
    return x * params[f"{name}_scale"][None] + params[f"{name}_shift"][None]


def _normal(rng, shape, scale):
    return (scale * rng.normal(size=shape)).astype(np.float32)


def _dense(rng, shape, names, gain=1):
    """A kernel of variance ``gain / fan_in`` and a small bias."""
    fan_in = int(np.prod(shape[:-1]))
    return {
        names[0]: _normal(rng, shape, (gain / fan_in) ** 0.5),
        names[1]: _normal(rng, shape[-1:], 0.1),
    }
