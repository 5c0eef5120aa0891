"""Sharpness under a rescaling of layers that leaves the network's function alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from experiments._figures import BLUE, GRAY, VERMILLION, Plot, figure
from experiments._findings import Finding, at_least, at_most, close
from jaxdl import curvature, data, losses, optim, train, tree
from jaxdl.models import mlp


@dataclass(frozen=True)
class Config:
    """A ReLU network with one hidden layer on digits, cross-entropy, float64."""

    n_train: int = 300
    """Training rows."""
    hidden: int = 16
    """Hidden units."""
    steps: int = 150
    """Updates of full-batch Adam at rate 0.01 before the rescaling."""
    largest_factor: float = 20.0
    """The first layer is multiplied by factors from 1 over this to this."""
    factors: int = 9
    """How many, odd: in equal ratios, 1 among them."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name in ("n_train", "hidden", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"rescaling.{name} must be >= 1, got {getattr(self, name)}"
                )
        if not 1 < self.largest_factor <= 1e3:
            raise ValueError(
                "rescaling.largest_factor must lie in (1, 1000], "
                f"got {self.largest_factor}"
            )
        if self.factors < 3 or self.factors % 2 == 0:
            raise ValueError(
                f"rescaling.factors must be odd and >= 3, got {self.factors}"
            )


@dataclass(frozen=True)
class Result:
    """One row a factor."""

    factors: np.ndarray  # (f,)
    output_change: np.ndarray  # (f,) largest, relative to the largest output
    loss: np.ndarray  # (f,)
    sharpness: np.ndarray  # (f,) from Lanczos at the rescaled weights
    transformed: np.ndarray  # (f,) the same from the dense Hessian at factor 1
    bound: np.ndarray  # (f,) factor^2 times the largest eigenvalue of the last layer
    adaptive: np.ndarray  # (f,) largest eigenvalue of |theta| H |theta|
    certified: np.ndarray  # (f,) bool, of both eigenpairs


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 6 + config.n_train * config.hidden * (1e-6 * config.steps + 1e-3)


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """Train, rescale, and measure."""
    factors = np.geomspace(
        1 / config.largest_factor, config.largest_factor, config.factors
    )
    with jax.enable_x64(True):
        batch, params = _trained(config, key)
        matrix = np.asarray(curvature.hessian(_loss, params, batch))
        matrix = (matrix + matrix.T) / 2
        outputs = np.asarray(_outputs(params, batch[0]))
        last = _scales(params, 2.0) < 1  # the kernel that is divided
        block = np.linalg.eigvalsh(matrix[np.ix_(last, last)])[-1]
        rows = []
        for factor in factors:
            rows.append(_measure(params, batch, matrix, outputs, factor, key))
            tick(1 / config.factors)
    return Result(
        factors=factors,
        bound=factors**2 * block,
        **{name: np.array([row[name] for row in rows]) for name in rows[0]},
    )


def rescale(params: mlp.Layers, factor: float) -> mlp.Layers:
    """The same function with the first layer times a factor, the last divided by it.

    ``relu(c z) = c relu(z)`` for ``c > 0``; the last bias stays.

    Args:
        params: Two layers.
        factor: c, ``> 0``.

    Returns:
        Parameters like these.
    """
    first, last = params
    return tree.scale(factor, first), last._replace(kernel=last.kernel / factor)


def _scales(params, factor):
    """What each parameter is multiplied by, ``(p,)``."""
    ones = jax.tree.map(jnp.ones_like, params)
    return np.asarray(ravel_pytree(rescale(ones, factor))[0])


def _loss(params, batch):
    """The mean loss, as `curvature.hvp` takes it."""
    x, y = batch
    return jnp.mean(jax.vmap(losses.cross_entropy)(_outputs(params, x), y))


_supervised = train.supervised(mlp.apply, losses.cross_entropy)


@jax.jit
def _outputs(params, x):
    """Logits of all rows."""
    return jax.vmap(mlp.apply, (None, 0))(params, x)


def _trained(config, key):
    """Rows, pixels in [0, 1], and a network that has learned them in part."""
    row_key, init_key, fit_key = jax.random.split(key, 3)
    table = data.digits()
    order = np.asarray(jax.random.permutation(row_key, len(table.x)))
    rows = order[: config.n_train]
    batch = (jnp.asarray(table.x[rows]), jnp.asarray(table.y[rows].astype(np.int32)))
    params = mlp.init(init_key, (64, config.hidden, 10), dtype=jnp.float64)
    fitted = train.fit(
        fit_key, _supervised, params, optim.adam(0.01), batch, steps=config.steps
    )
    return batch, fitted.params


def _measure(params, batch, matrix, outputs, factor, key):
    """One factor: Lanczos at the rescaled weights, LAPACK on what theory makes of H."""
    scaled, scales = rescale(params, factor), _scales(params, factor)
    change = np.max(np.abs(np.asarray(_outputs(scaled, batch[0])) - outputs))
    hessian = curvature.hvp(_loss, scaled, batch)
    plain = curvature.sharpness(hessian, key)
    weighted = curvature.from_matvec(
        Partial(_between, hessian, jax.tree.map(jnp.abs, scaled)), scaled
    )
    adaptive = curvature.sharpness(weighted, key)
    return {
        "output_change": change / np.max(np.abs(outputs)),
        "loss": float(_loss(scaled, batch)),
        "sharpness": float(plain.value),
        # The chain rule: H' = D^-1 H D^-1 for weights theta' = D theta.
        "transformed": np.linalg.eigvalsh(matrix / np.outer(scales, scales))[-1],
        "adaptive": float(adaptive.value),
        "certified": bool(plain.converged & adaptive.converged),
    }


def _between(operator, weights, vector):
    """``W A W v`` with W diagonal."""
    inside = operator.matvec(jax.tree.map(jnp.multiply, weights, vector))
    return jax.tree.map(jnp.multiply, weights, inside)


def check(result: Result) -> list[Finding]:
    """The function stays, the sharpness does not."""
    dinh = {
        "kind": "theorem",
        "source": "Dinh et al. (2017), https://arxiv.org/abs/1703.04933",
    }
    one = len(result.factors) // 2
    return [
        at_most(
            "multiplying one ReLU layer and dividing the next leaves the function "
            "alone: largest change of an output, relative",
            high=1e-12,
            measured=np.max(result.output_change),
            **dinh,
        ),
        at_least(
            "it does not leave the sharpness alone: largest over that of the weights "
            "as trained",
            low=10,
            measured=np.max(result.sharpness) / result.sharpness[one],
            **dinh,
            note=f"{result.sharpness[one]:.4g} as trained, "
            f"{result.sharpness[-1]:.4g} at factor {result.factors[-1]:g}, "
            f"{result.sharpness[0]:.4g} at {result.factors[0]:g}",
        ),
        at_most(
            "Lanczos at the rescaled weights finds the largest eigenvalue of D^-1 H "
            "D^-1: largest relative difference",
            high=1e-9,
            measured=np.max(np.abs(result.sharpness / result.transformed - 1)),
            kind="theorem",
            source="chain rule, theta' = D theta; dense, LAPACK",
        ),
        at_least(
            "the sharpness has no upper bound: least over factor^2 times that of the "
            "last layer alone",
            low=1 - 1e-9,
            measured=np.min(result.sharpness / result.bound),
            kind="theorem",
            source="Cauchy interlacing of a principal block",
        ),
        at_most(
            "relative to the size of each weight it is invariant: spread of the "
            "largest eigenvalue of |theta| H |theta|, relative",
            high=1e-9,
            measured=np.ptp(result.adaptive) / result.adaptive[one],
            kind="theorem",
            source="Kwon et al. (2021), https://arxiv.org/abs/2102.11600, second order",
        ),
        close(
            "eigenpairs whose residual is above the tolerance",
            expected=0,
            measured=int(np.sum(~result.certified)),
            tolerance=0,
            kind="observation",
            source="this study",
        ),
    ]


def plot(result: Result) -> Plot:
    """Sharpness and loss against the factor."""
    drawn, axes = figure()
    axes.loglog(result.factors, result.sharpness, "o-", color=BLUE, label="sharpness")
    axes.loglog(
        result.factors,
        result.bound,
        color=GRAY,
        ls="--",
        lw=0.8,
        label="lower bound, factor² x that of the last layer",
    )
    axes.loglog(
        result.factors,
        result.adaptive,
        "s-",
        color=VERMILLION,
        label="of |theta| H |theta|",
    )
    axes.set(
        xlabel="factor of the first layer, divisor of the last",
        ylabel="largest eigenvalue",
        ylim=(min(result.sharpness.min(), result.adaptive.min()) / 2, None),
    )
    axes.legend()
    return Plot(
        drawn,
        caption="One function, many sharpnesses: the first layer of a ReLU network "
        f"multiplied, the last divided. The loss is {result.loss[0]:.6g} throughout.",
        alt="Largest eigenvalue of the Hessian against the rescaling factor, both "
        f"logarithmic: a valley with its floor near one, rising to "
        f"{result.sharpness[0]:.3g} at {result.factors[0]:.3g} and "
        f"{result.sharpness[-1]:.3g} at {result.factors[-1]:.3g}. Relative to the "
        f"weights it is constant at {result.adaptive[0]:.3g}.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a factor."""
    for row, factor in enumerate(result.factors):
        yield {
            "part": "rescaling",
            "factor": float(factor),
            "loss": float(result.loss[row]),
            "sharpness": float(result.sharpness[row]),
            "adaptive": float(result.adaptive[row]),
        }
