"""All critical points of a linear network, predicted and found."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import BLUE, GRAY, Plot, figure
from experiments._findings import Finding, close
from jaxdl.landscape import find_critical_points, linear_tangents
from jaxdl.nn import Dense
from jaxdl.theory import linear_network_critical_points, linear_network_point


@dataclass(frozen=True)
class Config:
    """Half the squared distance of a product of two matrices from a target."""

    singular: tuple[float, ...] = (3.0, 2.0, 1.0)
    """Singular values of the target, descending; they must differ."""
    hidden: int = 4
    """Width."""
    starts: int = 20
    """A predicted point, beside it; and ten times as many anywhere."""
    noise: float = 0.1
    """Standard deviation of what is added to the weights of those beside."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        values = self.singular
        if len(values) < 2 or list(values) != sorted({*values}, reverse=True):
            raise ValueError(f"linear.singular must descend, got {values}")
        if values[-1] <= 0 or not self.noise > 0:
            raise ValueError("linear.singular and linear.noise must be positive")
        for name in ("hidden", "starts"):
            if getattr(self, name) < 1:
                raise ValueError(f"linear.{name} must be >= 1")


@dataclass(frozen=True)
class Result:
    """Of the two-layer network; the predictions for three layers are checked too."""

    predicted: np.ndarray  # (c, 3) loss, negative and zero eigenvalues of each class
    status: np.ndarray  # (n,)
    losses: np.ndarray  # (n,)
    negative: np.ndarray  # (n,)
    zero: np.ndarray  # (n,)
    explained: np.ndarray  # (n,) zero eigenvalues along changes of basis
    deep: np.ndarray  # (c, 2) negative eigenvalues with three layers: theory, measured


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 8 + config.starts * 0.05


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Search beside each prediction and anywhere; measure exact Hessians."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    k, h = len(config.singular), config.hidden
    u, v = (np.linalg.qr(rng.normal(size=(k, k)))[0] for _ in range(2))
    target = u @ np.diag(config.singular) @ v.T
    classes = linear_network_critical_points(target, [h])
    first, last = [], []
    for point in classes:
        weights = linear_network_point(target, [h], point.modes)
        for _ in range(config.starts):
            moved = [w + config.noise * rng.normal(size=w.shape) for w in weights]
            first.append(moved[0])
            last.append(moved[1])
    for _ in range(10 * config.starts):
        first.append(rng.normal(size=(h, k)))
        last.append(rng.normal(size=(k, h)))

    def loss(params):
        one, two = params
        product = jnp.matmul(one.kernel, two.kernel, precision="highest")
        return jnp.sum((target.T - product) ** 2) / 2

    stacked: list[Any] = [np.stack(ws).transpose(0, 2, 1) for ws in (first, last)]
    starts = tuple(Dense(kernel, None) for kernel in stacked)
    found = find_critical_points(
        loss,
        starts,
        "levenberg_marquardt",
        tangents=lambda params: linear_tangents(params, 0),
    )
    tick(0.6)
    deep = _deep(target, h)
    tick(0.4)
    return Result(
        predicted=np.array([(p.loss, p.negative, p.zero) for p in classes]),
        status=np.asarray(found.status),
        losses=np.asarray(found.loss),
        negative=np.asarray(found.negative),
        zero=np.asarray(found.zero),
        explained=np.asarray(found.explained),
        deep=deep,
    )


def _deep(target, h):
    """Predicted and measured index at the points of a network of three layers."""
    k = len(target)
    sizes = [(h, k), (h, h), (k, h)]
    cuts = np.cumsum([a * b for a, b in sizes])[:-1]

    def loss(flat):
        pieces = jnp.split(flat, cuts)
        one, two, three = (p.reshape(s) for p, s in zip(pieces, sizes, strict=True))
        return jnp.sum((target - three @ two @ one) ** 2) / 2

    rows = []
    with jax.enable_x64(True):
        hessian = jax.jit(jax.hessian(loss))
        for point in linear_network_critical_points(target, [h, h]):
            weights = linear_network_point(target, [h, h], point.modes)
            flat = jnp.asarray(np.concatenate([w.ravel() for w in weights]))
            values = np.linalg.eigvalsh(hessian(flat))
            rows.append((point.negative, int(np.sum(values < -1e-9))))
    return np.array(rows)


def matches(result: Result) -> np.ndarray:
    """Which class each point found belongs to, by its loss.

    Args:
        result: Of `run`.

    Returns:
        ``(n,)`` numbers of classes, -1 where none fits or the point is not critical.
    """
    away = np.abs(result.losses[:, None] - result.predicted[:, 0])
    best = np.argmin(away, axis=1)
    fits = (np.min(away, axis=1) < 1e-8) & (result.status == 0)
    return np.where(fits, best, -1)


def check(result: Result) -> list[Finding]:
    """Everything found was predicted, and everything predicted was found."""
    theory = {
        "kind": "theorem",
        "source": "Baldi, Hornik (1989); counts of the second variation",
    }
    critical = result.status == 0
    number = matches(result)
    of = result.predicted[np.maximum(number, 0)]
    right = (number >= 0) & (result.negative == of[:, 1]) & (result.zero == of[:, 2])
    best = np.argmin(result.predicted[:, 0])
    return [
        close(
            "every critical point of a two-layer linear network is one that is "
            "predicted, with its index and null space: share",
            expected=1,
            measured=np.mean(right[critical]),
            tolerance=0,
            **theory,
            note=f"{int(np.sum(critical))} critical of {len(critical)} starts",
        ),
        close(
            "every predicted class is found: share",
            expected=1,
            measured=len({*number[number >= 0].tolist()}) / len(result.predicted),
            tolerance=0,
            **theory,
        ),
        close(
            "at its minima changes of basis explain the whole null space: unexplained "
            "directions",
            expected=0,
            measured=np.max(
                (result.zero - result.explained)[number == best], initial=0
            ),
            tolerance=0,
            **theory,
        ),
        close(
            "with three layers the index counts the pairs alone: points where it does "
            "not",
            expected=0,
            measured=int(np.sum(result.deep[:, 0] != result.deep[:, 1])),
            tolerance=0,
            **theory,
        ),
    ]


def plot(result: Result) -> Plot:
    """Index against loss, predicted and found."""
    drawn, axes = figure()
    critical = result.status == 0
    axes.plot(
        result.predicted[:, 0],
        result.predicted[:, 1],
        "o",
        ms=10,
        mfc="none",
        color=GRAY,
        label="predicted",
    )
    axes.plot(
        result.losses[critical],
        result.negative[critical],
        ".",
        color=BLUE,
        label="found",
    )
    axes.set(xlabel="loss", ylabel="negative eigenvalues")
    axes.legend()
    return Plot(
        drawn,
        caption="All critical points of a two-layer linear network.",
        alt=f"{len(result.predicted)} circles of predicted loss and index, each with "
        "points found in it; the index rises with the loss.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a class."""
    number = matches(result)
    for i, (loss, negative, zero) in enumerate(result.predicted):
        yield {
            "part": "linear",
            "loss": float(loss),
            "index": int(negative),
            "zero": int(zero),
            "found": int(np.sum(number == i)),
        }
