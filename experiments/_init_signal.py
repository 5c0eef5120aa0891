"""Mean squares of activations and gradients by layer, against their recursions."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import GRAY, PALETTE, Plot, figure
from experiments._findings import Finding, at_most, close
from jaxdl import nn
from jaxdl.diagnostics import activation_gradients, activation_statistics
from jaxdl.types import Array

TANH_VALUES = {1: 0.394, 5: 0.103, 10: 0.052, 30: 0.017}
"""What is handed on as the mean square of tanh units, weights of variance 1 / fan."""


class Case(NamedTuple):
    """An activation function with weights and biases."""

    label: str
    activation: str
    initializer: nn.Initializer
    weight_variance: float  # sigma_w^2: variance times width
    bias_variance: float  # sigma_b^2


CASES = (
    Case("ReLU, He", "relu", nn.he_normal, 2.0, 0.0),
    Case("ReLU, orthogonal x √2", "relu", nn.orthogonal(math.sqrt(2)), 2.0, 0.0),
    Case("ReLU, Xavier", "relu", nn.xavier_normal, 1.0, 0.0),
    Case("tanh, Xavier", "tanh", nn.xavier_normal, 1.0, 0.0),
    Case("tanh, Xavier uniform", "tanh", nn.xavier_uniform, 1.0, 0.0),
    Case("tanh, orthogonal", "tanh", nn.orthogonal(), 1.0, 0.0),
    Case(
        "tanh, variance 2.5 / n, biases 0.05",
        "tanh",
        nn.variance_scaling(2.5, "in", "normal"),
        2.5,
        0.05,
    ),
)


@dataclass(frozen=True)
class Config:
    """Networks as deep as wide layers allow, at initialization, float32."""

    width: int = 64
    """Units of each layer, inputs among them; twice as many in a second set."""
    depth: int = 30
    """Hidden layers, 30 or more."""
    networks: int = 150
    """Draws of weights, each with an input and a gradient of its own."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name, least in (("width", 8), ("depth", max(TANH_VALUES)), ("networks", 2)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"signal.{name} must be >= {least}, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Result:
    """One row a case, one of two widths, then networks and layers."""

    widths: np.ndarray  # (2,)
    squares: np.ndarray  # (c, 2, s, L) mean square of the activations
    gradients: np.ndarray  # (c, 2, s, L) of the gradient of the pre-activations
    theory: np.ndarray  # (c, L) of the squares, at infinite width
    gradient_theory: np.ndarray  # (c, L)
    slopes: np.ndarray  # (c, L) chi: sigma_w^2 E phi'^2


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    draws = 5 * config.width**2 * config.depth * config.networks
    return len(CASES) * (3 + 2.5e-8 * draws)


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Draw all networks of one case and width, and measure them."""
    widths = np.array([config.width, 2 * config.width])
    squares, gradients = [], []
    for number, case in enumerate(CASES):
        found = []
        for width in widths:
            drawn = jax.random.fold_in(jax.random.fold_in(key, number), int(width))
            keys = jax.random.split(drawn, config.networks)
            found.append(_measure(case, int(width), config.depth, keys))
            tick(1 / (2 * len(CASES)))
        squares.append([np.asarray(each[0], np.float64) for each in found])
        gradients.append([np.asarray(each[1], np.float64) for each in found])
    expected = [recursion(case, config.depth) for case in CASES]
    return Result(
        widths,
        np.array(squares),
        np.array(gradients),
        *(np.array([each[i] for each in expected]) for i in range(3)),
    )


def recursion(case: Case, depth: int, nodes: int = 128) -> tuple[np.ndarray, ...]:
    """Mean squares at infinite width, by Gauss-Hermite quadrature.

    With ``v = sigma_w^2 q + sigma_b^2`` the variance of pre-activations and z normal,
    ``q_{l+1} = E phi(sqrt(v_l) z)^2`` from q_0 = 1, and ``s_{l+1} = E phi'(sqrt(v_l)
    z)^2``. A gradient of mean square 1 that enters at the top has ``s_L`` there, and
    below ``g_l = s_l sigma_w^2 g_{l+1}``. An even number of nodes treats the kink of
    ReLU without error, by symmetry; with tanh five digits are right.

    Args:
        case: Activation function, sigma_w^2, sigma_b^2.
        depth: L, layers.
        nodes: Of the quadrature, even.

    Returns:
        q, g and ``chi = sigma_w^2 s``, ``(L,)`` each, for l = 1..L.
    """
    z, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()
    phi, slope = {
        "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0).astype(float)),
        "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    }[case.activation]
    q, squares, slopes = 1.0, [], []
    for _ in range(depth):
        x = np.sqrt(case.weight_variance * q + case.bias_variance) * z
        q = float(weights @ phi(x) ** 2)
        squares.append(q)
        slopes.append(float(weights @ slope(x) ** 2))
    chi = case.weight_variance * np.array(slopes)
    above = np.cumprod(chi[::-1])[::-1]  # chi_l ... chi_L
    return np.array(squares), above / case.weight_variance, chi


class Stack(NamedTuple):
    """A network of L square layers and a linear output."""

    kernels: Array  # (L, h, h)
    biases: Array  # (L, h)
    output: Array  # (h,)


def apply_with_activations(
    params: Stack,
    x: Array,
    *,
    activation: nn.Activation,
    shifts: tuple[Array] | None = None,
) -> tuple[Array, tuple[Array]]:
    """The output for one example, and what the hidden units say: a scan over layers.

    Args:
        params: The network.
        x: ``(h,)``.
        activation: Between layers.
        shifts: One ``(L, h)`` array, added to the pre-activations; None for none.

    Returns:
        ``()``, and one ``(L, h)`` array, as `activation_gradients` takes them.
    """
    (moved,) = (params.biases,) if shifts is None else (params.biases + shifts[0],)

    def layer(x, weights):
        x = activation(nn.dense(nn.Dense(*weights), x))
        return x, x

    x, activations = jax.lax.scan(layer, x, (params.kernels, moved))
    return x @ params.output, (activations,)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _measure(case, width, depth, keys):
    """Mean squares ``(s, L)`` of activations and of gradients, one network a key."""
    activation = nn.activation(case.activation)

    def of_network(key):
        input_key, kernel_key, bias_key, output_key = jax.random.split(key, 4)
        x = jax.random.normal(input_key, (width,))
        x = x / jnp.sqrt(jnp.mean(x**2))
        shape = (width, width)
        params = Stack(
            jax.lax.map(
                lambda key: case.initializer(key, shape, width, width, float),
                jax.random.split(kernel_key, depth),
            ),
            jnp.sqrt(case.bias_variance) * jax.random.normal(bias_key, (depth, width)),
            jax.random.normal(output_key, (width,)),
        )
        apply = partial(apply_with_activations, activation=activation)
        activations = apply(params, x)[1][0]
        (signals,) = activation_gradients(
            apply, lambda output, _: output, params, x[None], jnp.zeros(1)
        )

        def mean_square(layers):
            return jax.vmap(lambda a: activation_statistics([a[None]]).mean_square[0])(
                layers
            )

        return mean_square(activations), mean_square(signals[0])

    return jax.lax.map(of_network, keys)


def at_infinity(values: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, ...]:
    """The mean at infinite width and its standard error, from those at two widths.

    A mean differs from its limit by a / h, up to smaller terms: with h and 2 h the
    limit is twice the one less the other.

    Args:
        values: ``(..., 2, s, L)``, s independent networks.
        widths: ``(2,)``, the second larger.

    Returns:
        Limit and standard error, ``(..., L)`` each.
    """
    ratio = widths[1] / widths[0]
    weights = np.array([-1.0, ratio])[:, None] / (ratio - 1)
    error = values.std(-2, ddof=1) / math.sqrt(values.shape[-2])
    limit = np.sum(weights * values.mean(-2), -2)
    return limit, np.sqrt(np.sum((weights * error) ** 2, -2))


def second_moment(width: int, depth: int) -> np.ndarray:
    """``E q_l^2`` of a ReLU network with He's Gaussian weights and q_0 = 1, exactly.

    Given the layer before, units are independent and the square of one, ``2 q z^2`` or
    0 with even chances, has mean q and variance ``5 q^2``: so ``E q_l^2 = (1 + 5 /
    h)^l``.

    Args:
        width: h.
        depth: L.

    Returns:
        ``(L,)``.
    """
    return (1 + 5 / width) ** np.arange(1, depth + 1)


def deviations(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Largest difference from the recursion over layers, in standard errors.

    ReLU cases, whose means are exact at any width, at the larger width; the others in
    the limit of infinite width.

    Args:
        result: Of `run`.

    Returns:
        Of the squares and of the gradients, ``(c,)`` each.
    """
    pairs = (
        (result.squares, result.theory),
        (result.gradients, result.gradient_theory),
    )
    found = []
    for values, theory in pairs:
        mean, error = at_infinity(values, result.widths)
        for row, case in enumerate(CASES):
            if case.activation == "relu":
                mean[row] = values[row, 1].mean(0)
                error[row] = values[row, 1].std(0, ddof=1) / math.sqrt(values.shape[2])
        found.append(np.max(np.abs(mean - theory) / error, axis=1))
    return found[0], found[1]


def check(result: Result) -> list[Finding]:
    """Every case against its recursion, and what is known of some of them."""
    findings, depth = [], result.theory.shape[1]
    for row, (case, q, g) in enumerate(zip(CASES, *deviations(result), strict=True)):
        exact = case.activation == "relu"
        source = (
            "exact at any width: weights are symmetric"
            if exact
            else "Schoenholz et al. (2016), https://arxiv.org/abs/1611.01232; "
            "extrapolated to infinite width"
        )
        for name, worst, theory in (
            ("activations", q, result.theory),
            ("gradients", g, result.gradient_theory),
        ):
            findings.append(
                at_most(
                    f"{case.label}: mean squares of {name} follow the recursion: "
                    f"largest difference in {depth} layers",
                    high=4.0,
                    measured=worst,
                    kind="closed form",
                    source=source,
                    unit="standard errors",
                    note=f"recursion: {theory[row, 0]:.4g} in the first layer, "
                    f"{theory[row, -1]:.4g} in the last",
                )
            )
    tanh = [case.label for case in CASES].index("tanh, Xavier")
    q, step = result.theory[tanh], np.diff(1 / result.theory[tanh])[-1]
    return [
        *findings,
        close(
            "tanh, Xavier: the recursion gives "
            + ", ".join(f"{v:.3f} at {n}" for n, v in TANH_VALUES.items())
            + " layers: largest difference",
            expected=0.0,
            measured=max(abs(q[n - 1] - v) for n, v in TANH_VALUES.items()),
            tolerance=0.0005,
            kind="published figure",
            source="values in use in courses, to three decimals",
            note=", ".join(f"{q[n - 1]:.5f} at {n}" for n in TANH_VALUES),
        ),
        close(
            "tanh, Xavier decays as 1 / (2 l): what 1 / q gains in the last layer",
            expected=2 - 5 / 3 * q[-2] + 6 * q[-2] ** 2,
            measured=step,
            tolerance=100 * q[-2] ** 3,
            kind="closed form",
            source="series of tanh: q_{l+1} = q - 2 q^2 + 17/3 q^3 - 62/3 q^4 + ...",
        ),
        *_fluctuations(result),
    ]


def _fluctuations(result):
    """What the mean does not tell: the second moment of one network's squares."""
    he, orthogonal = 0, 1
    squares = result.squares[he, 1] ** 2
    few = min(squares.shape[1], int(result.widths[1]) // 16)  # then tails are light
    squares = squares[:, :few]
    expected = second_moment(int(result.widths[1]), few)
    error = squares.std(0, ddof=1) / math.sqrt(len(squares))
    spreads = result.squares[..., -1].std(2, ddof=1)
    return [
        at_most(
            "ReLU, He: the second moment over networks is (1 + 5 / width)^layer: "
            f"largest difference in {few} layers",
            high=4.0,
            measured=np.max(np.abs(squares.mean(0) - expected) / error),
            kind="closed form",
            source="derived in this study; Hanin, Rolnick (2018), "
            "https://arxiv.org/abs/1803.01719, has the exponential growth",
            unit="standard errors",
            note=f"expected {expected[-1]:.3f} in the last of them, found "
            f"{squares.mean(0)[-1]:.3f} ± {error[-1]:.3f}",
        ),
        at_most(
            "ReLU: one network strays less from the mean with orthogonal weights: its "
            "standard deviation in the last layer over that of Gaussian ones",
            high=0.9,
            measured=spreads[orthogonal, 1] / spreads[he, 1],
            kind="observation",
            source="this study",
        ),
    ]


def plot(result: Result) -> dict[str, Plot]:
    """Squares and gradients by layer."""
    drawn, axes = figure(1, 2, height=3.4)
    layers = np.arange(1, result.theory.shape[1] + 1)
    for panel, values, theory, label in zip(
        axes,
        (result.squares, result.gradients),
        (result.theory, result.gradient_theory),
        ("mean square of activations", "mean square of gradients"),
        strict=True,
    ):
        for row, (case, color) in enumerate(zip(CASES, PALETTE, strict=True)):
            panel.semilogy(layers, theory[row], color=color, lw=0.9)
            panel.semilogy(
                layers[row % 3 :: 3],
                values[row, 1].mean(0)[row % 3 :: 3],
                "os^Dv<>"[row],
                color=color,
                ms=3.5,
                label=case.label,
            )
        panel.set(xlabel="hidden layer", ylabel=label)
    drawn.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3
    )
    width, networks = result.widths[1], result.squares.shape[2]
    return {
        "signal": Plot(
            drawn,
            caption=f"Markers: mean over {networks} networks of width {width}; lines: "
            "the recursions at infinite width, by quadrature. Right: of the gradient "
            "of the pre-activations, when one of mean square 1 enters at the top.",
            alt="Mean square by layer on logarithmic axes. In the last layer, by the "
            "recursion and as measured: "
            + "; ".join(
                f"{case.label} {result.theory[row, -1]:.3g} and "
                f"{result.squares[row, 1, :, -1].mean():.3g}"
                for row, case in enumerate(CASES)
            )
            + ".",
        ),
        "fluctuations": _plot_fluctuations(result),
    }


def _plot_fluctuations(result):
    """The spread of single networks."""
    drawn, axes = figure(1, 2, sharey=True)
    layers = np.arange(1, result.theory.shape[1] + 1)
    for panel, row in zip(axes, (0, 1), strict=True):
        values = result.squares[row, 1]
        panel.semilogy(layers, values[:25].T, color=GRAY, lw=0.5, alpha=0.6)
        panel.semilogy(
            layers, np.quantile(values, (0.1, 0.9), 0).T, color=PALETTE[row], ls="--"
        )
        panel.semilogy(layers, values.mean(0), color=PALETTE[row])
        panel.set(xlabel="hidden layer", title=CASES[row].label)
    axes[0].set_ylabel("mean square of activations")
    spreads = result.squares[:2, 1, :, -1].std(1, ddof=1)
    return Plot(
        drawn,
        caption=f"Single networks of width {result.widths[1]} (gray), their mean "
        "(line) and their tenth and ninetieth percentiles (dashed). The mean is 1 in "
        "both.",
        alt="Mean square by layer of single ReLU networks, which fan out around 1; "
        f"standard deviation in the last layer {spreads[0]:.2f} with Gaussian and "
        f"{spreads[1]:.2f} with orthogonal weights.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a case, width and layer."""
    for row, case in enumerate(CASES):
        for i, width in enumerate(result.widths):
            for layer in range(result.theory.shape[1]):
                yield {
                    "part": "signal",
                    "case": case.label,
                    "width": int(width),
                    "layer": layer + 1,
                    "mean_square": float(result.squares[row, i, :, layer].mean()),
                    "recursion": float(result.theory[row, layer]),
                    "gradient": float(result.gradients[row, i, :, layer].mean()),
                    "gradient_recursion": float(result.gradient_theory[row, layer]),
                    "chi": float(result.slopes[row, layer]),
                }
