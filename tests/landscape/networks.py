"""Networks that the tests of this folder share, written as pure functions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.landscape import Axis, Group, Symmetry
from jaxdl.nn import Dense


def layers(sizes, use_bias=True, seed=0, dtype=np.float32):
    """A multilayer perceptron with biases that are not zero."""
    rng = np.random.default_rng(seed)
    return tuple(
        Dense(
            (rng.normal(size=(a, b)) / np.sqrt(a)).astype(dtype),
            rng.normal(size=b).astype(dtype) if use_bias else None,
        )
        for a, b in itertools.pairwise(sizes)
    )


def normal(shapes, seed=0, dtype=np.float32):
    """A dict of Gaussian arrays."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=s).astype(dtype) for name, s in shapes.items()}


def residual_params(width=6, hidden=7, blocks=2, seed=0, dtype=np.float32):
    """Input layer, blocks ``h + tanh(h W + b) V``, output layer."""
    shapes = {"in": (4, width), "out": (width, 3)}
    for i in range(blocks):
        shapes |= {
            f"w{i}": (width, hidden),
            f"b{i}": (hidden,),
            f"v{i}": (hidden, width),
        }
    return normal(shapes, seed, dtype)


def residual(params, x):
    h = x @ params["in"]
    for i in range(sum(name.startswith("w") for name in params)):
        h = h + jnp.tanh(h @ params[f"w{i}"] + params[f"b{i}"]) @ params[f"v{i}"]
    return h @ params["out"]


def residual_symmetry(width=6, hidden=7, blocks=2, signs=False):
    """One group for the stream, which all blocks share, one inside each block."""
    groups = {"stream": Group(width, signs=signs)}
    axes = [Axis("in", 1, "stream", 1), Axis("out", 0, "stream", -1)]
    for i in range(blocks):
        groups[f"block{i}"] = Group(hidden, signs=signs)
        axes += [
            Axis(f"w{i}", 0, "stream", -1),
            Axis(f"w{i}", 1, f"block{i}", 1),
            Axis(f"b{i}", 0, f"block{i}", 1),
            Axis(f"v{i}", 0, f"block{i}", -1),
            Axis(f"v{i}", 1, "stream", 1),
        ]
    return Symmetry(groups, axes)


def recurrent_params(width=5, seed=0, dtype=np.float32):
    """A tanh network that is fed four steps; one group acts twice on its kernel."""
    shapes = {"in": (2, width), "w": (width, width), "out": (width, 1)}
    return normal(shapes, seed, dtype)


def recurrent(params, x):
    h = jnp.zeros(params["w"].shape[0])
    for step in x.reshape(-1, 2):
        h = jnp.tanh(h @ params["w"] + step @ params["in"])
    return h @ params["out"]


def recurrent_symmetry(width=5):
    return Symmetry(
        {"h": Group(width, signs=True)},
        [
            Axis("in", 1, "h", 1),
            Axis("w", 0, "h", -1),
            Axis("w", 1, "h", 1),
            Axis("out", 0, "h", -1),
        ],
    )


def conv_params(channels=5, more=6, seed=0, dtype=np.float32):
    """Two convolutions with batch normalization, and a dense layer on 2 x 2 pixels."""
    params = normal(
        {
            "conv0": (3, 3, 1, channels),
            "conv1": (3, 3, channels, more),
            "dense": (4 * more, 3),
        },
        seed,
        dtype,
    )
    rng = np.random.default_rng(seed + 1)
    for i, m in enumerate((channels, more)):
        params[f"bn{i}"] = {
            "gain": rng.uniform(0.5, 1.5, m).astype(dtype),
            "shift": rng.normal(size=m).astype(dtype),
            "mean": rng.normal(size=m).astype(dtype),
            "variance": rng.uniform(0.5, 1.5, m).astype(dtype),
        }
    return params


def _convolve(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def conv(params, x, epsilon=0.0):
    """Of one image ``(8, 8)``, with the statistics in the parameters."""
    h = x[None, :, :, None]
    for i in (0, 1):
        norm = params[f"bn{i}"]
        h = _convolve(h, params[f"conv{i}"], 2)
        h = (h - norm["mean"].reshape(1, 1, 1, -1)) / jnp.sqrt(
            norm["variance"] + epsilon
        ).reshape(1, 1, 1, -1)
        h = jax.nn.relu(
            h * norm["gain"].reshape(1, 1, 1, -1) + norm["shift"].reshape(1, 1, 1, -1)
        )
    return h.reshape(-1) @ params["dense"]


def reestimated(params, x):
    """The same parameters with the statistics of a batch ``(n, 8, 8)``."""
    params, h = dict(params), x[..., None]
    for i in (0, 1):
        h = _convolve(h, params[f"conv{i}"], 2)
        mean, variance = jnp.mean(h, (0, 1, 2)), jnp.var(h, (0, 1, 2))
        norm = params[f"bn{i}"] | {"mean": mean, "variance": variance}
        params[f"bn{i}"] = norm
        h = (h - mean.reshape(1, 1, 1, -1)) / jnp.sqrt(variance).reshape(1, 1, 1, -1)
        h = jax.nn.relu(
            h * norm["gain"].reshape(1, 1, 1, -1) + norm["shift"].reshape(1, 1, 1, -1)
        )
    return params


def conv_symmetry(channels=5, more=6):
    """Permutations of channels, and the scales that normalization removes."""
    groups, axes = {}, []
    for i, m in enumerate((channels, more)):
        unit, scale = f"channels{i}", f"removed{i}"
        groups[unit] = Group(m, scales=True)
        groups[scale] = Group(m, permutes=False, scales=True, follows=unit)
        axes += [
            Axis(f"conv{i}", 3, unit),
            Axis(f"conv{i}", 3, scale, 1),
            Axis(f"bn{i}/mean", 0, unit),
            Axis(f"bn{i}/mean", 0, scale, 1),
            Axis(f"bn{i}/variance", 0, unit),
            Axis(f"bn{i}/variance", 0, scale, 2),
            Axis(f"bn{i}/gain", 0, unit, 1),
            Axis(f"bn{i}/shift", 0, unit, 1),
        ]
    axes += [
        Axis("conv1", 2, "channels0", -1),
        Axis("dense", 0, "channels1", -1, outer=4),
    ]
    statistics = [f"bn{i}/{name}" for i in (0, 1) for name in ("mean", "variance")]
    return Symmetry(groups, axes, statistics)
