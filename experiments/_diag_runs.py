"""Training runs with one fault each, their remedies, and healthy ones."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, diagnostics, losses, nn, optim, train
from jaxdl.models import mlp
from jaxdl.types import Array

FEW = 4
"""Updates of mini-batches a record; full-batch runs record each."""


class Numbers(NamedTuple):
    """What differs between runs of one group; may be traced."""

    rate: float
    momentum: float = 0.0
    decay: float = 1.0  # of the learning rate, over the whole run
    scale: float = 1.0  # what all initial kernels are multiplied by
    bias: float = 0.0  # initial, of hidden units
    spread: float = 1.0  # scale of the largest input over that of the smallest
    noise: float = 0.0  # share of training labels redrawn
    penalty: float = 0.0  # weight of |theta|^2 / 2
    alike: float = 0.0  # 1: all units of a layer start the same
    error: float = 0.0  # 1: the slope of the first layer is missing from the gradient


class Group(NamedTuple):
    """What runs of one compiled program share."""

    activation: str
    batch_size: int | None = None  # rows of a step; all, where None
    adam: bool = False
    by_hand: bool = False  # a hand-written gradient


TANH, RELU = Group("tanh"), Group("relu")
BATCHES, TINY = Group("tanh", batch_size=30), Group("tanh", batch_size=2)
ADAM = Group("relu", batch_size=30, adam=True)
BY_HAND = Group("tanh", by_hand=True)


class Setting(NamedTuple):
    """A kind of run."""

    name: str
    group: Group
    numbers: Numbers
    problem: str = ""  # one of `diagnostics.PROBLEMS`; none: healthy
    remedy: tuple[str, Group, Numbers] | None = None


HEALTHY, GENTLE = Numbers(0.3), Numbers(0.05)
HEAVY = Numbers(0.1, momentum=0.9)
NOISY = Numbers(0.2, noise=0.3)
OVERFIT = Numbers(0.3, momentum=0.9, noise=0.5)
SETTINGS = (
    Setting("healthy: tanh", TANH, HEALTHY),
    Setting("healthy: tanh, momentum", TANH, HEAVY),
    Setting("healthy: tanh, mini-batches", BATCHES, Numbers(0.1)),
    Setting("healthy: ReLU", RELU, Numbers(0.1)),
    Setting("healthy: ReLU, Adam, mini-batches", ADAM, Numbers(0.003)),
    Setting("healthy: gradient by hand", BY_HAND, HEALTHY),
    Setting(
        "gradient lacks a slope",
        BY_HAND,
        HEALTHY._replace(error=1.0),
        "incorrect gradients",
        ("right gradient", BY_HAND, HEALTHY),
    ),
    Setting(
        "rate beyond stability, tanh",
        TANH,
        Numbers(2.0),
        "instability",
        ("rate / 7", TANH, HEALTHY),
    ),
    Setting(
        "rate beyond stability, ReLU",
        RELU,
        Numbers(2.0),
        "instability",
        ("rate / 20", RELU, Numbers(0.1)),
    ),
    Setting(
        "rate at the edge of stability",
        TANH,
        Numbers(1.0),
        "oscillations",
        ("rate / 2", TANH, Numbers(0.5)),
    ),
    Setting(
        "momentum 0.99",
        TANH,
        HEAVY._replace(momentum=0.99),
        "oscillations",
        ("momentum 0.9", TANH, HEAVY),
    ),
    Setting(
        "batches of 2, large rate",
        TINY,
        NOISY,
        "fluctuations",
        ("rate decays to 1 %", TINY, NOISY._replace(decay=0.01)),
    ),
    Setting(
        "rate / 1000",
        TANH,
        Numbers(0.0003),
        "slow progress",
        ("rate x 1000", TANH, HEALTHY),
    ),
    Setting(
        "initial weights / 20",
        TANH,
        HEALTHY._replace(scale=0.05),
        "plateau",
        ("usual weights", TANH, HEALTHY),
    ),
    Setting(
        "hidden biases start at -6",
        RELU,
        Numbers(0.1, bias=-6.0),
        "dead units",
        ("biases start at 0", RELU, Numbers(0.1)),
    ),
    Setting(
        "steps too large for ReLU",
        RELU,
        Numbers(1.0),
        "dead units",
        ("rate / 10", RELU, Numbers(0.1)),
    ),
    Setting(
        "initial weights x 10",
        TANH,
        GENTLE._replace(scale=10.0),
        "saturated units",
        ("usual weights", TANH, GENTLE),
    ),
    Setting(
        "units start alike",
        TANH,
        GENTLE._replace(alike=1.0),
        "symmetries",
        ("random weights", TANH, GENTLE),
    ),
    Setting(
        "inputs of scales 1 to 1/100",
        TANH,
        HEALTHY._replace(spread=100.0),
        "ill-conditioning",
        ("standardized inputs", TANH, HEALTHY),
    ),
    Setting(
        "noisy labels",
        TANH,
        OVERFIT,
        "overfitting",
        ("penalty 0.03 |theta|²", TANH, OVERFIT._replace(penalty=0.06)),
    ),
)
"""Chosen so that each fault is there, by its curve; not by what is reported of it."""


class Problem(NamedTuple):
    """The data of one seed, inputs whitened on the training rows."""

    x: Any  # (n, d)
    y: Any  # (n,)
    x_held_out: Any  # (n, d)
    y_held_out: Any  # (n,)


def problem(key: jax.Array, n: int, d: int) -> Problem:
    """Rows of digits as their d largest principal components, whitened.

    Both are those of the n training rows, so that their condition number is 1.

    Args:
        key: Decides which rows.
        n: Training rows, more than d; as many are held out.
        d: Inputs.

    Returns:
        NumPy arrays.
    """
    table = data.digits()
    rows = np.asarray(jax.random.permutation(key, len(table.x)))[: 2 * n]
    raw, y = table.x[rows], table.y[rows].astype(np.int32)
    mean = raw[:n].mean(0)
    _, singular, directions = np.linalg.svd(raw[:n] - mean, full_matrices=False)
    whiten = directions[:d].T / singular[:d] * np.sqrt(n)
    x = np.asarray((raw - mean) @ whiten, np.float32)
    return Problem(x[:n], y[:n], x[n:], y[n:])


def spread_inputs(numbers: Numbers, problem: Problem) -> Problem:
    """The inputs multiplied by scales from 1 down to 1 / spread, in equal ratios."""
    scales = numbers.spread ** -jnp.linspace(0.0, 1.0, problem.x.shape[1])
    return problem._replace(
        x=problem.x * scales[None], x_held_out=problem.x_held_out * scales[None]
    )


class Run(NamedTuple):
    """What is measured of one run."""

    loss: Array  # (T,) recorded
    validation: Array  # (T,)
    norms: Array  # (T,) of the gradient on all rows
    cosines: Array  # (T - 2,) between successive records' updates
    activations: diagnostics.ActivationStatistics  # after training
    initial: mlp.Layers
    y: Array  # (n,) labels as trained on


@partial(jax.jit, static_argnums=(0, 1, 2))
def train_all(
    group: Group, hidden: int, steps: int, numbers: Numbers, keys, problems: Problem
) -> Run:
    """Train every setting of a group, with every seed.

    Args:
        group: What they share.
        hidden: Units of each of two hidden layers.
        steps: Updates; a multiple of `FEW`.
        numbers: ``(r,)`` leaves.
        keys: ``(s,)``.
        problems: ``(s, ...)`` leaves.

    Returns:
        ``(r, s, ...)`` leaves.
    """

    def of_setting(numbers):
        return jax.vmap(partial(_train, group, hidden, steps, numbers))(keys, problems)

    return jax.lax.map(of_setting, numbers)


def _train(group, hidden, steps, numbers, key, problem):
    """One run."""
    init_key, noise_key, label_key, fit_key = jax.random.split(key, 4)
    problem = spread_inputs(numbers, problem)
    n, d = problem.x.shape
    redraw = jax.random.uniform(noise_key, (n,)) < numbers.noise
    y = jnp.where(redraw, jax.random.randint(label_key, (n,), 0, 10), problem.y)
    batch = problem.x, y
    start = initial(init_key, (d, hidden, hidden, 10), numbers)
    activation = nn.activation(group.activation)
    apply = partial(mlp.apply, activation=activation)
    plain = train.supervised(apply, one_hot_loss)

    def loss(params, state, batch, key):
        value, rest = plain(params, state, batch, key)
        if group.by_hand:
            value = hand_loss(params, batch, numbers.error)
        return value + numbers.penalty * losses.l2_penalty(params), rest

    def evaluate(params, state, held_out):
        gradient = jax.grad(lambda p: loss(p, state, batch, key)[0])(params)
        return {
            "validation": plain(params, state, held_out, key)[0],
            "norm": diagnostics.scaled_norm(gradient),
            "point": jnp.concatenate([
                leaf.ravel() for leaf in jax.tree.leaves(params)
            ]),
        }

    def schedule(step):
        return numbers.rate * numbers.decay ** (step / steps)

    fitted = train.fit(
        fit_key,
        loss,
        start,
        optim.adam(schedule)
        if group.adam
        else optim.momentum(schedule, numbers.momentum),
        batch,
        steps=steps,
        batch_size=group.batch_size,
        record_every=FEW if group.batch_size else 1,
        evaluate=evaluate,
        held_out=(problem.x_held_out, problem.y_held_out),
    )
    units = jax.vmap(
        lambda x: mlp.apply_with_activations(fitted.params, x, activation=activation)[1]
    )(problem.x)
    bounds = (-1.0, 1.0) if group.activation == "tanh" else None
    return Run(
        fitted.history["loss"],
        fitted.history["validation"],
        fitted.history["norm"],
        diagnostics.path(fitted.history["point"]).cosines,
        diagnostics.activation_statistics(units, bounds=bounds),
        start,
        y,
    )


def initial(key: jax.Array, sizes: tuple[int, ...], numbers: Numbers) -> mlp.Layers:
    """First weights, with the faults that the numbers ask for."""
    drawn: Any = mlp.init(key, sizes, initializer=nn.he_normal)
    layers = []
    for number, (kernel, bias) in enumerate(drawn):
        last = number == len(drawn) - 1
        first_unit = jnp.broadcast_to(kernel[:, :1], kernel.shape)
        alike = numbers.alike * (0.0 if last else 1.0)
        kernel = numbers.scale * jnp.where(alike > 0, first_unit, kernel)
        if number:  # a unit that hears the same sum from all, says it to all
            first_row = jnp.broadcast_to(kernel[:1], kernel.shape)
            kernel = jnp.where(numbers.alike > 0, first_row, kernel)
        layers.append(nn.Dense(kernel, bias + (0.0 if last else numbers.bias)))
    return tuple(layers)


def one_hot_loss(outputs: Array, label: Array) -> Array:
    """Half the squared distance of the outputs from the label's unit vector."""
    target = jax.nn.one_hot(label, len(outputs), dtype=outputs.dtype)
    return losses.squared_error(outputs, target)


@jax.custom_vjp
def hand_loss(params: mlp.Layers, batch: tuple[Array, Array], error: Array) -> Array:
    """The mean loss of a tanh network, whose gradient is written by hand."""
    del error
    x, y = batch
    outputs = jax.vmap(partial(mlp.apply, activation=jnp.tanh), (None, 0))(params, x)
    return jnp.mean(jax.vmap(one_hot_loss)(outputs, y))


def hand_gradient(params: Any, batch: Any, error: Any) -> mlp.Layers:
    """Back-propagation through two hidden layers.

    Args:
        params: Three layers.
        batch: Inputs ``(n, d)`` and labels ``(n,)``.
        error: 1 to leave out the slope of the first hidden layer, else 0.

    Returns:
        A tree like ``params``.
    """
    x, y = batch
    (w1, b1), (w2, b2), (w3, b3) = params
    a1 = jnp.tanh(x @ w1 + b1[None])
    a2 = jnp.tanh(a1 @ w2 + b2[None])
    d3 = a2 @ w3 + b3[None] - jax.nn.one_hot(y, len(b3), dtype=x.dtype)
    d3 = d3 / len(x)
    d2 = d3 @ w3.T * (1 - a2**2)
    d1 = d2 @ w2.T * (1 - (1 - error) * a1**2)
    return tuple(
        nn.Dense(a.T @ delta, delta.sum(0))
        for a, delta in ((x, d1), (a1, d2), (a2, d3))
    )


def _forward(params, batch, error):
    """The loss, and what the gradient needs."""
    return hand_loss(params, batch, error), (params, batch, error)


def _backward(saved, cotangent):
    """The gradient by hand; inputs get none."""
    gradient = hand_gradient(*saved)
    scaled = jax.tree.map(lambda g: cotangent * g, gradient)
    return scaled, (jnp.zeros_like(saved[1][0]), None), jnp.zeros_like(saved[2])


hand_loss.defvjp(_forward, _backward)
_jitted_loss, _jitted_gradient = jax.jit(hand_loss), jax.jit(hand_gradient)


def check(params: mlp.Layers, batch, error: float, key) -> diagnostics.GradientCheck:
    """The hand-written gradient against finite differences, in float64."""
    with jax.enable_x64(True):
        x, y = np.asarray(batch[0], np.float64), np.asarray(batch[1], np.int32)
        return diagnostics.check_gradient(
            lambda p: _jitted_loss(p, (x, y), error),
            jax.tree.map(np.asarray, params),
            key=key,
            gradient=lambda p: _jitted_gradient(p, (x, y), error),
            directions=2,
        )
