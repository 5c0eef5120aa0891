"""Declared symmetries against the function, and wrong ones."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments._figures import BLUE, GRAY, VERMILLION, Plot, figure
from experiments._findings import Finding, at_least, at_most, close
from jaxdl import losses, tree
from jaxdl.landscape import (
    Symmetry,
    act,
    check_symmetry,
    group_order,
    mlp_symmetry,
    random_element,
)
from jaxdl.models import mlp
from jaxdl.nn import ACTIVATIONS

EXACT = {"kind": "theorem", "source": "chain rule; by construction"}


@dataclass(frozen=True)
class Config:
    """Random networks with four inputs and three outputs, of each activation."""

    activations: tuple[str, ...] = ("relu", "tanh", "gelu", "threshold", "identity")
    """Names of activation functions."""
    hidden: tuple[int, ...] = (9, 7)
    """Units of each hidden layer."""
    examples: int = 20
    """Inputs, standard normal, at which functions are compared."""
    draws: int = 4
    """Random elements of each symmetry."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        if not self.activations or not {*self.activations} <= {*ACTIVATIONS}:
            raise ValueError(
                f"actions.activations must be among {[*ACTIVATIONS]}, "
                f"got {self.activations}"
            )
        if not self.hidden or min(self.hidden) < 2:
            raise ValueError(f"actions.hidden must be >= 2, got {self.hidden}")
        for name in ("examples", "draws"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"actions.{name} must be >= 1, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Result:
    """One entry an activation."""

    activations: tuple[str, ...]
    single: np.ndarray  # (a,) error in float32
    double: np.ndarray  # (a,) and in float64
    tolerance: float  # of float32
    wrong: np.ndarray  # (a, w) error in float32 with one axis forgotten
    order: np.ndarray  # (a,) log10 of the discrete order
    dimension: np.ndarray  # (a,) of the continuous part
    gradient: np.ndarray  # (a,) gradient at the moved point against the gradient moved
    spectrum: float  # eigenvalues of the Hessian at a permuted tanh network


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 3 * len(config.activations) * (0.5 + 0.5 * len(config.hidden))


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Check every declaration, and every one with an axis missing."""
    init_key, x_key, check_key = jax.random.split(key, 3)
    sizes = (4, *config.hidden, 3)
    params = mlp.init(init_key, sizes)
    x = jax.random.normal(x_key, (config.examples, 4))
    wide_params, wide_x = (
        jax.tree.map(lambda w: np.asarray(w, np.float64), leaves)
        for leaves in (params, x)
    )
    found = {name: [] for name in ("single", "double", "wrong", "gradient")}
    orders, tolerance = [], 0.0
    for name in config.activations:
        symmetry = mlp_symmetry(params, name)
        apply = partial(mlp.apply, activation=ACTIVATIONS[name])
        check = partial(check_symmetry, apply, draws=config.draws)
        right = check(params, symmetry, x, check_key)
        tolerance = float(right.tolerance)
        found["single"].append(float(right.error))
        found["wrong"].append([
            float(check(params, wrong, x, check_key).error)
            for wrong in one_axis_missing(symmetry)
        ])
        with jax.enable_x64(True):
            double = check(wide_params, symmetry, wide_x, check_key)
            found["double"].append(float(double.error))
            found["gradient"].append(
                _gradient_error(apply, wide_params, wide_x, symmetry, check_key)
            )
        orders.append(group_order(symmetry))
        tick(1 / len(config.activations))
    with jax.enable_x64(True):
        spectrum = _spectrum_error(wide_params, wide_x, check_key)
    return Result(
        activations=config.activations,
        tolerance=tolerance,
        order=np.array([math.log10(order.discrete) for order in orders]),
        dimension=np.array([order.continuous for order in orders]),
        spectrum=spectrum,
        **{name: np.array(values) for name, values in found.items()},
    )


def one_axis_missing(symmetry: Symmetry) -> list[Symmetry]:
    """All declarations with one axis less.

    Args:
        symmetry: What is right.

    Returns:
        One for each axis.
    """
    axes = symmetry.axes
    return [
        Symmetry(symmetry.groups, [*axes[:i], *axes[i + 1 :]]) for i in range(len(axes))
    ]


def _loss(apply, params, x):
    """Cross-entropy of a label that depends on the input."""
    z = jax.vmap(apply, (None, 0))(params, x)
    labels = (x[:, 0] > 0).astype(int)
    return jnp.mean(jax.vmap(losses.cross_entropy)(z, labels))


def _gradient_error(apply, params, x, symmetry, key):
    """Largest difference of ``g(moved theta)`` and moved g, over the largest."""
    gradient = jax.grad(partial(_loss, apply))
    element = random_element(key, symmetry)
    got = ravel_pytree(gradient(act(symmetry, element, params), x))[0]
    # What multiplies a parameter divides its gradient.
    inverted = [replace(axis, power=-axis.power) for axis in symmetry.axes]
    dual = Symmetry(symmetry.groups, inverted)
    expected = ravel_pytree(act(dual, element, gradient(params, x)))[0]
    size = float(jnp.max(jnp.abs(expected)))
    return float(jnp.max(jnp.abs(got - expected))) / size if size else 0.0


def _spectrum_error(params, x, key):
    """Eigenvalues at a permuted and sign-flipped tanh network, over the largest."""
    apply = partial(mlp.apply, activation=jnp.tanh)
    symmetry = mlp_symmetry(params, "tanh")
    moved = act(symmetry, random_element(key, symmetry), params)
    values = []
    for point in (params, moved):
        flat, unravel = ravel_pytree(point)

        def of_vector(v, unravel=unravel):
            return _loss(apply, unravel(v), x)

        values.append(np.linalg.eigvalsh(jax.jit(jax.hessian(of_vector))(flat)))
    assert tree.size(params) == len(values[0])
    return float(np.max(np.abs(values[1] - values[0])) / np.max(np.abs(values[0])))


def check(result: Result) -> list[Finding]:
    """Functions stay; wrong declarations are noticed."""
    missed = int(np.sum(~(result.wrong > result.tolerance)))
    return [
        at_most(
            "random permutations, signs and scales leave the outputs alone: largest "
            "change over the largest output, float64",
            high=1e-13,
            measured=np.max(result.double),
            **EXACT,
        ),
        at_most(
            "the same in float32",
            high=2e-5,
            measured=np.max(result.single),
            **EXACT,
            note=", ".join(
                f"{name} {error:.1e}"
                for name, error in zip(result.activations, result.single, strict=True)
            ),
        ),
        close(
            "declarations with one axis missing that pass the check",
            expected=0,
            measured=missed,
            tolerance=0,
            kind="observation",
            source="this study",
            note=f"{result.wrong.size} declarations; the smallest error is "
            f"{np.min(result.wrong):.2g}",
        ),
        at_least(
            "a wrong axis stands out: the smallest error over the tolerance",
            low=10,
            measured=np.min(result.wrong) / result.tolerance,
            kind="observation",
            source="this study",
        ),
        at_most(
            "the gradient moves along: largest relative difference, float64",
            high=1e-12,
            measured=np.max(result.gradient),
            **EXACT,
        ),
        at_most(
            "the Hessian of a tanh network has the same eigenvalues at a permuted and "
            "sign-flipped point: largest difference over the largest",
            high=1e-12,
            measured=result.spectrum,
            **EXACT,
        ),
    ]


def plot(result: Result) -> Plot:
    """Errors of right and wrong declarations, one column an activation."""
    drawn, axes = figure()
    columns = np.arange(len(result.activations))
    for i, wrong in enumerate(result.wrong):
        label = "one axis missing" if i == 0 else None
        axes.semilogy([i] * len(wrong), wrong, "x", color=VERMILLION, ms=5, label=label)
    floor = 1e-18  # an error of zero has no logarithm
    axes.semilogy(
        columns, np.maximum(result.single, floor), "o", color=BLUE, label="float32"
    )
    axes.semilogy(
        columns, np.maximum(result.double, floor), "s", color=GRAY, label="float64"
    )
    axes.axhline(result.tolerance, color=GRAY, lw=0.8, ls="--", label="tolerance")
    axes.set_xticks(columns, result.activations)
    axes.set(ylabel="change of outputs, relative", ylim=(1e-18, 1e2))
    drawn.legend(loc="outside lower center", ncols=4)
    return Plot(
        drawn,
        caption="Random elements of the symmetry of each activation function: the "
        "largest change of an output, over the largest output. Crosses are the same "
        "declarations with one axis of one parameter missing, in float32.",
        alt="Errors on a logarithmic axis, by activation function. Right declarations "
        f"are below {np.max(result.single):.1e}, wrong ones above "
        f"{np.min(result.wrong):.1e}.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row an activation."""
    for row, name in enumerate(result.activations):
        yield {
            "part": "actions",
            "activation": name,
            "log10_discrete_order": float(result.order[row]),
            "continuous_dimension": int(result.dimension[row]),
            "error_float32": float(result.single[row]),
            "error_float64": float(result.double[row]),
            "least_error_one_axis_missing": float(np.min(result.wrong[row])),
        }
