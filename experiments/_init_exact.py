"""What holds exactly at initialization: symmetry, zeros, isometry, dead networks."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import PALETTE, Plot, figure
from experiments._findings import Finding, at_least, at_most, close
from jaxdl import data, losses, nn, optim, train
from jaxdl.diagnostics import activation_statistics, gradient_statistics
from jaxdl.models import mlp


@dataclass(frozen=True)
class Config:
    """Small networks; digits where something is learned."""

    hidden: int = 8
    """Units of each of two hidden layers."""
    steps: int = 200
    """Updates of full-batch gradient descent."""
    width: int = 64
    """Of the deep linear networks, and of identity layers."""
    depth: int = 30
    """Layers of all deep networks."""
    narrow: tuple[int, ...] = (2, 3, 4, 5)
    """Widths of ReLU networks that may be dead."""
    networks: int = 2000
    """Draws of each of these."""
    inputs: int = 32
    """Inputs to see whether a network is dead on all of them."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name in ("hidden", "steps", "width", "depth", "networks", "inputs"):
            if getattr(self, name) < 2:
                raise ValueError(
                    f"exact.{name} must be >= 2, got {getattr(self, name)}"
                )
        if not self.narrow or min(self.narrow) < 1:
            raise ValueError(f"exact.narrow must be positive, got {self.narrow}")


@dataclass(frozen=True)
class Result:
    """Widths are rows where there are several."""

    unit_difference: float  # largest between identical units, over all steps
    identical_loss: np.ndarray  # (steps,)
    random_loss: np.ndarray  # (steps,) of units drawn at random
    zero_gradient: float  # largest entry but those of the output bias
    bias_gradient: float  # largest entry of that
    zero_moved: float  # largest weight after training, but the output bias
    bias_moved: float
    bound_ratio: float  # largest Glorot-uniform weight over its bound
    orthogonal: np.ndarray  # (h,) singular values of a deep linear network
    log_gaussian: np.ndarray  # (s,) mean log singular value, Gaussian weights
    log_expected: float
    log_deviation: float  # standard deviation of one, in theory
    identity_error: float  # largest difference from tanh applied again and again
    relu_identity_error: float
    narrow: np.ndarray  # (w,)
    networks: int
    dead_one: np.ndarray  # (w, L) share of networks dead on one input
    dead_all: np.ndarray  # (w, L) share dead on all


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    dead = sum(3e-8 * config.networks * config.depth * w * w for w in config.narrow)
    linear = 2e-9 * config.width**3 * config.depth * _LINEAR
    return 8 + len(config.narrow) + dead * config.inputs / 10 + linear


_LINEAR = 20
"""Draws of deep linear networks."""


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """All parts, the exact ones in float64."""
    keys = jax.random.split(key, 4)
    with jax.enable_x64(True):
        found = _symmetries(config, keys[0])
        tick(0.4)
        found |= _isometry(config, keys[1]) | _identity(config, keys[2])
    tick(0.2)
    one, every = [], []
    for width in config.narrow:
        dead = _dead(config, width, jax.random.fold_in(keys[3], width))
        one.append(np.asarray(dead[0]))
        every.append(np.asarray(dead[1]))
        tick(0.4 / len(config.narrow))
    return Result(
        **found,
        narrow=np.array(config.narrow),
        networks=config.networks,
        dead_one=np.stack(one),
        dead_all=np.stack(every),
    )


def _apply(params, x):
    """Outputs for one example."""
    return mlp.apply(params, x, activation=jnp.tanh)


_supervised = train.supervised(_apply, losses.cross_entropy)


def _symmetries(config, key):
    """Identical units, zero weights, and random ones, trained alike."""
    draw_key, bound_key = jax.random.split(key)
    table = data.digits()
    batch = jnp.asarray(table.x[:500]), jnp.asarray(table.y[:500].astype(np.int32))
    sizes = (64, config.hidden, config.hidden, 10)
    drawn = mlp.init(draw_key, sizes, initializer=nn.xavier_uniform)
    # All units of a layer copy its first; the outputs may differ.
    first, second, last = drawn
    identical = (
        first._replace(kernel=jnp.tile(first.kernel[:, :1], (1, config.hidden))),
        second._replace(kernel=jnp.full_like(second.kernel, second.kernel[0, 0])),
        last._replace(kernel=jnp.tile(last.kernel[:1], (config.hidden, 1))),
    )
    zero = jax.tree.map(jnp.zeros_like, drawn)

    def fit(params):
        tracker = train.Tracker(_unit_difference)
        run = train.fit(
            key,
            _supervised,
            params,
            optim.sgd(0.5),
            batch,
            steps=config.steps,
            chunk=max(1, config.steps // 20),
            callback=tracker,
        )
        return run, max(float(value) for value in tracker.values)

    same, difference = fit(identical)
    other, _ = fit(drawn)
    still, _ = fit(zero)
    gradient = jax.grad(lambda p: _supervised(p, None, batch, key)[0])(zero)
    named = {
        name: max(abs(float(each.mean)), float(each.norm))
        for name, each in gradient_statistics(gradient).items()
    }
    *inner, outer = jax.tree.leaves(still.params)
    weights = nn.xavier_uniform(bound_key, (400, 300), 400, 300, jnp.float64)
    return {
        "unit_difference": difference,
        "identical_loss": np.asarray(same.history["loss"]),
        "random_loss": np.asarray(other.history["loss"]),
        "zero_gradient": max(v for n, v in named.items() if n != "params[2].bias"),
        "bias_gradient": named["params[2].bias"],
        "zero_moved": max(float(jnp.max(jnp.abs(leaf))) for leaf in inner),
        "bias_moved": float(jnp.max(jnp.abs(outer))),
        "bound_ratio": float(jnp.max(jnp.abs(weights))) / math.sqrt(6 / 700),
    }


@jax.jit
def _unit_difference(params):
    """Largest difference of incoming weights and biases within a hidden layer."""
    return jnp.max(
        jnp.stack([
            jnp.max(jnp.abs(leaf - leaf[..., :1]))
            for layer in params[:-1]
            for leaf in layer
        ])
    )


def _isometry(config, key):
    """Singular values of deep linear networks."""
    h, depth = config.width, config.depth
    keys = jax.random.split(key, (1 + _LINEAR) * depth).reshape(1 + _LINEAR, depth)

    @partial(jax.jit, static_argnums=0)
    def kernels(initializer, keys):
        return jax.vmap(lambda k: initializer(k, (h, h), h, h, jnp.float64))(keys)

    product = np.linalg.multi_dot(list(np.asarray(kernels(nn.orthogonal(), keys[0]))))
    logs = [
        np.linalg.slogdet(np.asarray(kernels(nn.lecun_normal, row)))[1].sum() / h
        for row in keys[1:]
    ]
    # |det G|^2 is a product of independent chi-squared, of 1 to h degrees of freedom.
    halves = np.arange(1, h + 1) / 2
    expected = depth * np.mean(np.log(2 / h) + _digamma(halves)) / 2
    variance = depth * np.sum(_trigamma(halves)) / 4 / h**2
    return {
        "orthogonal": np.linalg.svd(product, compute_uv=False),
        "log_gaussian": np.array(logs),
        "log_expected": float(expected),
        "log_deviation": float(np.sqrt(variance)),
    }


def _digamma(x):
    """At multiples of 1/2: from psi(1/2), psi(1) by psi(x + 1) = psi(x) + 1 / x."""
    values = np.where(x % 1 == 0, 0.0, -2 * np.log(2)) - np.euler_gamma
    steps = np.where(x % 1 == 0, x - 1, x - 0.5).astype(int)
    starts = x - steps
    return values + [
        np.sum(1 / (start + np.arange(n)))
        for start, n in zip(starts, steps, strict=True)
    ]


def _trigamma(x):
    """The same: from psi'(1/2) = pi^2 / 2 and psi'(1) = pi^2 / 6."""
    values = np.where(x % 1 == 0, np.pi**2 / 6, np.pi**2 / 2)
    steps = np.where(x % 1 == 0, x - 1, x - 0.5).astype(int)
    starts = x - steps
    return values - [
        np.sum(1 / (start + np.arange(n)) ** 2)
        for start, n in zip(starts, steps, strict=True)
    ]


def _identity(config, key):
    """Networks of identity layers, against their activation applied entrywise."""
    sizes = (config.width,) * (config.depth + 1)
    x = jax.random.normal(key, (config.width,))
    params = mlp.init(key, (*sizes, 1), initializer=nn.scaled_identity())
    errors = []
    for activation in (jnp.tanh, jax.nn.relu):
        units = mlp.apply_with_activations(params, x, activation=activation)[1][-1]
        expected = np.asarray(x)
        for _ in range(config.depth):
            expected = (
                np.tanh(expected) if activation is jnp.tanh else np.maximum(expected, 0)
            )
        errors.append(float(np.max(np.abs(units - expected))))
    return {"identity_error": errors[0], "relu_identity_error": errors[1]}


@partial(jax.jit, static_argnums=(0, 1))
def _dead(config, width, key):
    """Shares ``(L,)`` of networks that are dead at a layer: on one input, on all."""
    sizes = (width, width)

    def of_network(key):
        input_key, *layer_keys = jax.random.split(key, 1 + config.depth)
        x = jax.random.normal(input_key, (config.inputs, width))

        def layer(x, key):
            (params,) = mlp.init(key, sizes, initializer=nn.he_normal, use_bias=False)
            x = jax.nn.relu(jax.vmap(nn.dense, (None, 0))(params, x))
            one, every = (
                activation_statistics([rows]).dead[0] == 1 for rows in (x[:1], x)
            )
            return x, (one, every)

        return jax.lax.scan(layer, x, jnp.stack(layer_keys))[1]

    one, every = jax.vmap(of_network)(jax.random.split(key, config.networks))
    return jnp.mean(one, 0, dtype=float), jnp.mean(every, 0, dtype=float)


def dead_probability(width: int, depth: int) -> np.ndarray:
    """The chance that a ReLU network without biases is dead on one given input.

    The pre-activations of a layer have independent, symmetric signs whatever the layer
    before says, as long as it says something: ``1 - (1 - 2^-w)^l``. It bounds from
    above the chance to be dead on all inputs.

    Args:
        width: w, units of each layer.
        depth: L.

    Returns:
        ``(L,)``, for l = 1..L.
    """
    return 1 - (1 - 2.0**-width) ** np.arange(1, depth + 1)


def dead_bound(width: int, depth: int) -> np.ndarray:
    """A lower bound on the chance to be dead on all inputs.

    From the second layer on, inputs are not negative: a layer none of whose weights is
    positive is dead, whatever comes: ``1 - (1 - 2^(-w^2))^(l - 1)``.

    Args:
        width: w.
        depth: L.

    Returns:
        ``(L,)``.
    """
    return 1 - (1 - 2.0 ** -(width**2)) ** np.arange(depth)


def check(result: Result) -> list[Finding]:
    """Theorems, each against what was computed."""
    theorem = {"kind": "theorem"}
    depth = result.dead_one.shape[1]
    one = np.stack([dead_probability(w, depth) for w in result.narrow])
    low = np.stack([dead_bound(w, depth) for w in result.narrow])
    error = np.sqrt(one * (1 - one) / result.networks)
    low_error = np.sqrt(low * (1 - low) / result.networks) + 1 / result.networks
    gaussian = result.log_gaussian
    return [
        close(
            "identical units stay identical: largest difference of their weights in "
            f"{len(result.identical_loss)} steps",
            expected=0,
            measured=result.unit_difference,
            tolerance=1e-12,
            source="equal gradients, by symmetry",
            **theorem,
            note="not even by rounding, where all columns are summed in one order",
        ),
        at_least(
            "and the network learns less: its loss over that of random weights, at the "
            "end",
            low=1.1,
            measured=result.identical_loss[-1] / result.random_loss[-1],
            kind="observation",
            source="this study",
        ),
        close(
            "all weights zero, tanh: largest gradient but that of the output bias",
            expected=0,
            measured=result.zero_gradient,
            tolerance=0,
            source="chain rule",
            **theorem,
        ),
        close(
            "and none of them has learned after training: largest entry",
            expected=0,
            measured=result.zero_moved,
            tolerance=0,
            source="chain rule",
            **theorem,
        ),
        at_least(
            "the output bias does learn: largest entry after training",
            low=1e-3,
            measured=result.bias_moved,
            source="its gradient is the mean residual",
            **theorem,
            note=f"norm of its gradient at the start {result.bias_gradient:.3g}",
        ),
        close(
            "Xavier uniform fills its range: largest of 120,000 weights over "
            "sqrt(6 / (fan_in + fan_out))",
            expected=1 - 5e-5,
            measured=result.bound_ratio,
            tolerance=5e-5,
            kind="closed form",
            source="Glorot, Bengio (2010)",
        ),
        at_most(
            f"orthogonal weights keep every length through {depth} linear layers: "
            "largest difference of a singular value from 1",
            high=1e-12,
            measured=np.max(np.abs(result.orthogonal - 1)),
            source="Saxe et al. (2013), https://arxiv.org/abs/1312.6120",
            **theorem,
        ),
        close(
            "Gaussian ones do not: mean logarithm of their singular values",
            expected=result.log_expected,
            measured=gaussian.mean(),
            tolerance=4 * result.log_deviation / math.sqrt(len(gaussian)),
            kind="closed form",
            source="the squared determinant is a product of chi-squared variables",
            note=f"the geometric mean is {math.exp(result.log_expected):.2g}, though "
            "the mean square is 1",
        ),
        close(
            "identity weights with tanh: largest difference from tanh applied to each "
            f"entry {depth} times",
            expected=0,
            measured=result.identity_error,
            tolerance=1e-14,
            source="W = I",
            **theorem,
        ),
        close(
            "identity weights with ReLU: largest difference from max(x, 0)",
            expected=0,
            measured=result.relu_identity_error,
            tolerance=0,
            source="W = I; ReLU is idempotent",
            **theorem,
        ),
        at_most(
            "a ReLU network is dead on a given input with probability 1 - (1 - "
            "2^-width)^depth: largest difference over widths and depths",
            high=4.5,
            measured=np.max(np.abs(result.dead_one - one) / error),
            kind="closed form",
            source="symmetric weights, no biases; derived in this study",
            unit="standard errors",
            note=f"{one.size} points",
        ),
        close(
            "and on all inputs no more often than on one: cases, of widths and depths",
            expected=0,
            measured=int(np.sum(result.dead_all > result.dead_one)),
            tolerance=0,
            source="dead on all is dead on one",
            **theorem,
        ),
        at_most(
            "nor less often than 1 - (1 - 2^(-width^2))^(depth - 1): largest shortfall",
            high=4.5,
            measured=np.max((low - result.dead_all) / low_error),
            source="a layer without a positive weight; derived in this study",
            **theorem,
            unit="standard errors",
        ),
        at_least(
            "deep and narrow networks are born dead, as a rule: share dead on all "
            f"inputs at width {result.narrow[0]} and depth {depth}",
            low=0.5,
            measured=result.dead_all[0, -1],
            kind="published figure",
            source="Lu et al. (2019), https://arxiv.org/abs/1903.06733",
        ),
    ]


def plot(result: Result) -> Plot:
    """Dead networks against depth."""
    drawn, axes = figure(1, 2, sharey=True)
    depth = result.dead_one.shape[1]
    layers = np.arange(1, depth + 1)
    for width, one, every, color in zip(
        result.narrow, result.dead_one, result.dead_all, PALETTE, strict=False
    ):
        axes[0].plot(layers, dead_probability(width, depth), color=color, lw=0.9)
        axes[0].plot(layers[::2], one[::2], "o", color=color, label=f"width {width}")
        axes[1].plot(layers, dead_bound(width, depth), color=color, lw=0.9, ls=":")
        axes[1].plot(layers, dead_probability(width, depth), color=color, lw=0.9)
        axes[1].plot(layers[::2], every[::2], "s", color=color, ms=3)
    axes[0].set(
        xlabel="hidden layers", ylabel="share of dead networks", title="on one input"
    )
    axes[1].set(xlabel="hidden layers", title="on all inputs")
    axes[0].legend(loc="lower right")
    return Plot(
        drawn,
        caption=f"ReLU networks without biases, {result.networks} of each width. "
        "Lines: 1 - (1 - 2^-width)^depth, exact for one input and an upper bound for "
        "all; dotted: the lower bound 1 - (1 - 2^(-width²))^(depth - 1).",
        alt="Share of dead networks against depth, rising to one for narrow networks. "
        f"At depth {depth}, on one input and on all: "
        + ", ".join(
            f"{one:.3f} and {every:.3f} at width {width}"
            for width, one, every in zip(
                result.narrow,
                result.dead_one[:, -1],
                result.dead_all[:, -1],
                strict=True,
            )
        )
        + ".",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a narrow width and depth."""
    for row, width in enumerate(result.narrow):
        exact = dead_probability(int(width), result.dead_one.shape[1])
        for layer, probability in enumerate(exact):
            yield {
                "part": "exact",
                "width": int(width),
                "depth": layer + 1,
                "dead_on_one": float(result.dead_one[row, layer]),
                "probability": float(probability),
                "dead_on_all": float(result.dead_all[row, layer]),
            }
