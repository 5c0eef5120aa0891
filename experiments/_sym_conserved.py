"""What descent conserves, and how much a step of finite length breaks it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments._figures import PALETTE, Plot, figure
from experiments._findings import Finding, at_most, close
from jaxdl import curvature, data, losses, tree
from jaxdl.landscape import (
    Axis,
    Group,
    Symmetry,
    cosines,
    logit_sums,
    mlp_symmetry,
    quantity,
    quantity_change,
    rescaling_form,
    scale_hessian_products,
    scale_tangents,
    softmax_tangents,
)
from jaxdl.models import mlp

LAW = {
    "kind": "theorem",
    "source": "g't = 0 for each tangent t of a symmetry, and one step written out; "
    "Kunin et al. (2021), https://arxiv.org/abs/2012.04728",
}


@dataclass(frozen=True)
class Config:
    """A ReLU network on digits, cross-entropy, full batch, float64."""

    n_train: int = 100
    """Training rows."""
    hidden: tuple[int, ...] = (12, 8)
    """Units of each hidden layer."""
    learning_rates: tuple[float, ...] = (0.02, 0.04, 0.08)
    """Of gradient descent, ascending; each is followed for the same learning rate x
    steps."""
    momentum: float = 0.9
    """Of a run at the smallest rate."""
    weight_decay: float = 0.1
    """Of another one."""
    steps: int = 400
    """Updates at the smallest rate."""
    epsilon: float = 1e-5
    """In the batch normalization whose law it breaks."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        for name in ("n_train", "steps"):
            if getattr(self, name) < 2:
                raise ValueError(
                    f"conserved.{name} must be >= 2, got {getattr(self, name)}"
                )
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"conserved.hidden must be positive, got {self.hidden}")
        rates = self.learning_rates
        if len(rates) < 2 or list(rates) != sorted({*rates}) or rates[0] <= 0:
            raise ValueError(
                "conserved.learning_rates must be two or more, ascending and positive, "
                f"got {rates}"
            )
        if not 0 < self.momentum < 1:
            raise ValueError(
                f"conserved.momentum must lie in (0, 1), got {self.momentum}"
            )
        for name in ("weight_decay", "epsilon"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(
                    f"conserved.{name} must lie in (0, 1), got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Result:
    """One row a run; units of all hidden layers in one axis."""

    names: list[str]  # of the runs
    rates: np.ndarray  # (r,)
    quantities: np.ndarray  # (r, t + 1, m) |w_in|^2 + b^2 - |w_out|^2
    law: np.ndarray  # (r,) largest error of a predicted change, over the largest |Q|
    change: np.ndarray  # (r,) largest change of a step, over the same
    losses: np.ndarray  # (r, t)
    logits: np.ndarray  # (r,) drift of the sums over logits, over the largest
    cosine: float  # largest between gradient and tangents of scales
    hessian: float  # ||H t + D g|| / ||H t||, largest over scales
    softmax: float  # ||H t|| / (||H|| ||t||), largest over shifts of logits
    weight_scales: np.ndarray  # (w,) before batch normalization
    normalized: np.ndarray  # (w, 2) |cos(w, g)|, with epsilon zero and not


def work(config: Config) -> float:
    """Seconds this takes, roughly, on two cores."""
    return 6 + config.steps * config.n_train * 1e-4


def run(config: Config, key: jax.Array, tick: Callable[[float], object]) -> Result:
    """All runs as one program; then the directions at where one of them ended."""
    row_key, init_key = jax.random.split(key)
    table = data.digits()
    order = np.asarray(jax.random.permutation(row_key, len(table.x)))
    rows = order[: config.n_train]
    rates = config.learning_rates
    settings = [(f"GD {rate:g}", rate, 0.0, 0.0) for rate in rates]
    settings += [
        (f"momentum {config.momentum:g}", rates[0], config.momentum, 0.0),
        (f"weight decay {config.weight_decay:g}", rates[0], 0.0, config.weight_decay),
    ]
    with jax.enable_x64(True):
        batch = (
            jnp.asarray(table.x[rows], float),
            jnp.asarray(table.y[rows].astype(np.int32)),
        )
        sizes = (64, *config.hidden, 10)
        params = mlp.init(init_key, sizes, dtype=jnp.float64)
        numbers = np.array([setting[1:] for setting in settings])
        final, followed = _follow(params, batch, numbers, config.steps)
        tick(0.6)
        sums = np.asarray(logit_sums(params)[0]), np.asarray(_sums(final))
        largest = np.max(np.abs(followed["quantity"]), axis=(1, 2))
        last = jax.tree.map(lambda leaf: leaf[0], final)
        directions = _directions(last, batch)
        tick(0.2)
        scales = np.array([1.0, 0.1, 0.01])
        normalized = [
            [_weight_cosine(scale, eps, batch, init_key) for eps in (0, config.epsilon)]
            for scale in scales
        ]
        tick(0.2)
    return Result(
        names=[setting[0] for setting in settings],
        rates=numbers[:, 0],
        quantities=followed["quantity"],
        law=np.max(followed["error"], axis=1) / largest,
        change=np.max(followed["change"], axis=1) / largest,
        losses=followed["loss"],
        logits=np.max(np.abs(sums[1] - sums[0]), axis=1) / np.max(np.abs(sums[0])),
        weight_scales=scales,
        normalized=np.array(normalized),
        **directions,
    )


def _sums(runs):
    """Sums of the last kernel over the classes, of all runs."""
    return jax.vmap(lambda params: logit_sums(params)[0])(runs)


def _loss(params, batch):
    """The mean loss, as `curvature.hvp` takes it."""
    x, y = batch
    outputs = jax.vmap(mlp.apply, (None, 0))(params, x)
    return jnp.mean(jax.vmap(losses.cross_entropy)(outputs, y))


def _follow(params, batch, numbers, steps):
    """Quantities and errors of their predictions along all runs."""
    form = rescaling_form(mlp_symmetry(params, "relu"))

    def flat(values):
        return jnp.concatenate([values[name] for name in sorted(values)])

    def one(numbers):
        rate, beta, decay = numbers

        def step(carry, _):
            params, velocity = carry
            loss, gradient = jax.value_and_grad(_loss)(params, batch)
            predicted = quantity_change(
                form,
                params,
                gradient,
                rate,
                momentum=beta,
                velocity=velocity,
                weight_decay=decay,
            )
            force = tree.add_scaled(gradient, decay, params)
            velocity = tree.add_scaled(force, beta, velocity)
            new = tree.add_scaled(params, -rate, velocity)
            before, after = flat(quantity(form, params)), flat(quantity(form, new))
            record = {
                "quantity": after,
                "error": jnp.max(jnp.abs(after - before - flat(predicted))),
                "change": jnp.max(jnp.abs(after - before)),
                "loss": loss,
            }
            return (new, velocity), record

        start = params, tree.zeros_like(params)
        (final, _), records = jax.lax.scan(step, start, length=steps)
        first = flat(quantity(form, params))
        whole = jnp.concatenate([first[None], records["quantity"]])
        return final, records | {"quantity": whole}

    final, records = jax.jit(jax.vmap(one))(numbers)
    return final, jax.tree.map(np.asarray, records)


def _directions(params, batch):
    """Gradient and Hessian along the tangents of both continuous symmetries."""
    symmetry = mlp_symmetry(params, "relu")
    gradient = jax.grad(_loss)(params, batch)
    hessian = curvature.hvp(_loss, params, batch)
    tangents = scale_tangents(symmetry, params)
    predicted = scale_hessian_products(symmetry, params, gradient)
    norms = jax.vmap(tree.norm)

    def products(vectors):
        return jax.lax.map(hessian.matvec, vectors)

    found = products(tangents)
    off = norms(tree.subtract(found, predicted)) / norms(found)
    shifts = softmax_tangents(params)
    size = jnp.max(norms(found) / norms(tangents))
    return {
        "cosine": float(jnp.max(jnp.abs(cosines(tangents, gradient)))),
        "hessian": float(jnp.nanmax(off)),
        "softmax": float(jnp.max(norms(products(shifts)) / norms(shifts)) / size),
    }


def _weight_cosine(scale, epsilon, batch, key):
    """|cos(w, g)| of weights before batch normalization, the largest of the units."""
    x, y = batch
    names = jax.random.split(key)
    params = {
        "w": scale * jax.random.normal(names[0], (64, 6)) / 8,
        "out": jax.random.normal(names[1], (6, 10)) / 2,
    }
    removed = Symmetry(
        {"h": Group(6, permutes=False, scales=True)}, [Axis("w", 1, "h", 1)]
    )

    def loss(params):
        z = x @ params["w"]
        z = z - jnp.mean(z, 0, keepdims=True)
        z = z / jnp.sqrt(jnp.var(z, 0, keepdims=True) + epsilon)
        outputs = jnp.tanh(z) @ params["out"]
        return jnp.mean(jax.vmap(losses.cross_entropy)(outputs, y))

    gradient = jax.grad(loss)(params)
    w_only = {"w": gradient["w"], "out": jnp.zeros_like(gradient["out"])}
    # Each unit by itself: the gradient of one column is not diluted by the others.
    tangents = scale_tangents(removed, params)
    columns = jnp.sign(jnp.abs(tangents["w"]))
    parts = {
        "w": columns * w_only["w"][None],
        "out": jnp.zeros_like(tangents["out"]),
    }
    sizes = jax.vmap(lambda t, g: cosines(jax.tree.map(lambda a: a[None], t), g)[0])
    return float(jnp.max(jnp.abs(sizes(tangents, parts))))


def drifts(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """How far gradient descent has moved the quantities at one learning rate x steps.

    Args:
        result: Of `run`.

    Returns:
        ``(r,)`` learning rates, and root mean squares over units.
    """
    chosen = [i for i, name in enumerate(result.names) if name.startswith("GD")]
    rates = result.rates[chosen]
    end = result.quantities.shape[1] - 1
    moved = []
    for i, rate in zip(chosen, rates, strict=True):
        step = round(end * rates[0] / rate)
        moved.append(result.quantities[i, step] - result.quantities[i, 0])
    return rates, np.sqrt(np.mean(np.square(moved), axis=1))


def check(result: Result) -> list[Finding]:
    """The laws hold to rounding; without them the quantities would be thought lost."""
    rates, moved = drifts(result)
    slope = np.polyfit(np.log(rates), np.log(moved), 1)[0]
    plain = [i for i, name in enumerate(result.names) if "decay" not in name]
    decayed = result.names[-1]
    shrunk = np.linalg.norm(result.quantities[-1, [0, -1]], axis=1)
    return [
        at_most(
            "every step changes |w_in|^2 + b^2 - |w_out|^2 by what the law says: "
            "largest error over the largest quantity",
            high=1e-13,
            measured=np.max(result.law),
            **LAW,
            note="gradient descent, momentum and weight decay; the largest change of a "
            f"step is {np.max(result.change):.2g} of the same",
        ),
        close(
            "gradient flow would conserve it: at the same learning rate x steps what "
            "is lost is proportional to the learning rate, exponent",
            expected=1,
            measured=slope,
            tolerance=0.1,
            kind="theorem",
            source="sum of eta^2 B(g, g) over T / eta steps",
        ),
        at_most(
            f"{decayed} balances the layers: the quantities' norm at the end over that "
            "at the start",
            high=0.9,
            measured=shrunk[1] / shrunk[0],
            **LAW,
        ),
        at_most(
            "sums of the last kernel over the classes are conserved exactly, without "
            "weight decay: largest drift, relative",
            high=1e-13,
            measured=np.max(result.logits[plain]),
            kind="theorem",
            source="softmax ignores a shift of all logits",
        ),
        at_most(
            "the gradient is orthogonal to each rescaling: largest cosine",
            high=1e-14,
            measured=result.cosine,
            **LAW,
        ),
        at_most(
            "the Hessian takes the tangent of a rescaling to minus the gradient, signs "
            "as the powers: largest relative error",
            high=1e-10,
            measured=result.hessian,
            **LAW,
        ),
        at_most(
            "shifts of the logits are null vectors of the Hessian: largest product, "
            "over that of a rescaling",
            high=1e-13,
            measured=result.softmax,
            kind="theorem",
            source="softmax ignores a shift of all logits",
        ),
        at_most(
            "gradients of weights before batch normalization with epsilon 0 are "
            "orthogonal to them, however small: largest cosine",
            high=1e-12,
            measured=np.max(result.normalized[:, 0]),
            **LAW,
        ),
        Finding(
            claim="with an epsilon they are not, once weights are a hundredth of their "
            "initial size: cosine",
            expected=(1e-2, None),
            measured=float(result.normalized[-1, 1]),
            kind="observation",
            source="this study",
            note="cosine by scale of the weights: "
            + ", ".join(
                f"{value:.2g} at {scale:g}"
                for scale, value in zip(
                    result.weight_scales, result.normalized[:, 1], strict=True
                )
            ),
        ),
    ]


def plot(result: Result) -> Plot:
    """The quantities' distance from the start, and the error of their prediction."""
    drawn, (left, right) = figure(1, 2)
    for i, (name, color) in enumerate(zip(result.names, PALETTE, strict=False)):
        moved = result.quantities[i] - result.quantities[i, :1]
        time = result.rates[i] * np.arange(len(moved))
        shown = time <= result.rates[0] * (len(moved) - 1) * (1 + 1e-9)
        left.plot(
            time[shown],
            np.sqrt(np.mean(moved**2, axis=1))[shown],
            color=color,
            label=name,
        )
        right.bar(i - 0.2, result.change[i], 0.4, color=color)
        right.bar(i + 0.2, max(result.law[i], 1e-18), 0.4, color=color, alpha=0.4)
    left.set(
        xlabel="learning rate x steps",
        ylabel="change of Q, root mean square",
        yscale="log",
    )
    drawn.legend(loc="outside lower center", ncols=len(result.names))
    right.set(
        yscale="log", ylabel="largest of a step, relative", ylim=(1e-18, 1), xticks=[]
    )
    right.set_xlabel("bold: change of Q; pale: error of its prediction")
    return Plot(
        drawn,
        caption="Left: how far descent moves the quantities Q = |w_in|² + b² - "
        "|w_out|² of the units. Right: the largest change that one step makes, and the "
        "largest difference from what the exact law predicts.",
        alt="Left, distance of conserved quantities from their start for several runs "
        "on a logarithmic axis; higher for larger learning rates, highest for weight "
        f"decay and momentum. Right, bars: changes up to {np.max(result.change):.1g}, "
        f"errors of the prediction up to {np.max(result.law):.1g}.",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a run."""
    for row, name in enumerate(result.names):
        yield {
            "part": "conserved",
            "run": name,
            "learning_rate": float(result.rates[row]),
            "largest_change_of_a_step": float(result.change[row]),
            "largest_error_of_the_law": float(result.law[row]),
            "drift_of_logit_sums": float(result.logits[row]),
            "final_loss": float(result.losses[row, -1]),
        }
