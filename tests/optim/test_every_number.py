"""Each number that each transformation is made from: it maps, and is checked."""

import functools
import inspect
import types
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim
from jaxdl.curvature import hvp
from jaxdl.types import Array

RNG = np.random.default_rng(7)
GRADIENTS = RNG.normal(size=(4, 3)).astype(np.float32)
THETA = jnp.asarray(RNG.normal(size=3).astype(np.float32))


def loss(theta, scales):
    return jnp.sum(scales * jnp.log(jnp.cosh(theta)))


HESSIAN = functools.partial(hvp, loss)
SCALES = jnp.array([3.0, 1.0, 0.5])


def model(theta, x):
    return jnp.tanh(theta * x)


def half_square(z, y):
    return jnp.sum((z - y) ** 2) / 2


def mean_loss(theta, batch):
    x, y = batch
    return jnp.mean(jax.vmap(half_square)(model(theta[None], x), y))


PAIR = (jnp.asarray(GRADIENTS), jnp.asarray(GRADIENTS[::-1]))
KEY = jax.random.key(0)

# --- What they are made from: values that matter, and one out of the domain ----------

RATE = [0.1, 0.0, 0.7], -0.1
DECAY = [0.5, 0.9, 0.0], 1.0
WEIGHT = [0.5, 0.9, 1.0], 1.1
SMALL = [0.1, 1e-3, 0.0], -1e-8
POSITIVE = [0.5, 0.1, 2.0], -1.0
ADAM = {"b1": DECAY, "b2": DECAY, "eps": SMALL, "eps_root": SMALL}
RMS = {"decay": DECAY, "eps": SMALL, "initial_scale": POSITIVE}
ADAGRAD = {"initial_accumulator_value": POSITIVE, "eps": SMALL}
SOLVE = {"damping": POSITIVE, "tol": ([1e-5, 1e-2, 0.5], -1.0)}
BOUND = {"radius": ([0.1, 0.5, 2.0], 0.0)}
ADAPT = {
    "damping": POSITIVE,
    "increase": ([2.0, 5.0, 1.0], 0.5),
    "decrease": ([0.5, 0.1, 1.0], 1.5),
    "min_damping": ([0.0, 0.2, 0.5], -1.0),
    "max_damping": ([1.0, 1.1, 9.0], 0.0),
}

NUMBERS = {
    optim.scale: {"step_size": ([0.5, -1.0, 0.0], np.inf)},
    optim.scale_by_learning_rate: {"learning_rate": RATE},
    optim.sgd: {"learning_rate": RATE},
    optim.add_momentum: {"decay": WEIGHT},
    optim.momentum: {"learning_rate": RATE, "decay": WEIGHT},
    optim.nesterov: {"learning_rate": RATE, "decay": WEIGHT},
    optim.scale_by_rms: RMS,
    optim.rmsprop: RMS | {"learning_rate": RATE, "momentum": WEIGHT},
    optim.scale_by_adagrad: ADAGRAD,
    optim.adagrad: ADAGRAD | {"learning_rate": RATE},
    optim.scale_by_adam: ADAM,
    optim.adam: ADAM | {"learning_rate": RATE},
    optim.adamw: ADAM | {"learning_rate": RATE, "weight_decay": POSITIVE},
    optim.nadam: ADAM | {"learning_rate": RATE},
    optim.scale_by_amsgrad: ADAM,
    optim.amsgrad: ADAM | {"learning_rate": RATE},
    optim.scale_by_lion: {"b1": DECAY, "b2": DECAY},
    optim.lion: {
        "learning_rate": RATE,
        "b1": DECAY,
        "b2": DECAY,
        "weight_decay": POSITIVE,
    },
    optim.sign_sgd: {"learning_rate": RATE},
    optim.clip: {"max_delta": POSITIVE},
    optim.clip_by_global_norm: {"max_norm": POSITIVE},
    optim.add_decayed_weights: {"weight_decay": POSITIVE},
    optim.add_l1_subgradient: {"strength": POSITIVE},
    optim.proximal_l1: {"learning_rate": RATE, "strength": POSITIVE},
    optim.add_noise: {"eta": POSITIVE, "gamma": POSITIVE},
    optim.accumulate: {"every": ([1, 2, 3], 0)},
    optim.apply_if_finite: {"max_consecutive_errors": ([0, 1, 2], -1)},
    optim.polyak_average: {"start": ([0, 1, 3], -1)},
    optim.ema_average: {"decay": DECAY},
    optim.scale_by_inverse_curvature: SOLVE | BOUND,
    optim.newton: SOLVE | BOUND | {"learning_rate": RATE},
    optim.gauss_newton: SOLVE | {"learning_rate": RATE},
    optim.natural_gradient: SOLVE | {"learning_rate": RATE},
    optim.levenberg_marquardt: SOLVE | ADAPT,
    optim.adapt_damping: ADAPT,
    optim.scale_by_inverse_modulus: {"damping": POSITIVE},
    optim.saddle_free_newton: {"damping": POSITIVE, "learning_rate": RATE},
}
# What else they take.
OTHERS = {
    optim.proximal_l1: {"learning_rate": 0.1, "strength": 0.3},
    optim.add_noise: {"key": KEY, "eta": 0.5, "gamma": 0.5},
    optim.accumulate: {"inner": optim.adam(0.1)},
    optim.apply_if_finite: {"inner": optim.adam(0.1)},
    optim.scale_by_inverse_curvature: {"curvature": HESSIAN, "solver": "cg"},
    optim.newton: {"loss": loss, "solver": "cg"},
    optim.gauss_newton: {"apply": model, "loss_of_outputs": half_square},
    optim.natural_gradient: {"apply": model, "log_partition": "normal"},
    optim.levenberg_marquardt: {"apply": model, "loss_of_outputs": half_square},
    optim.adapt_damping: {
        "factory": lambda damping: optim.newton(loss, 1.0, damping, solver="cg"),
        "curvature": HESSIAN,
        "loss": loss,
    },
    optim.scale_by_inverse_modulus: {"curvature": HESSIAN},
    optim.saddle_free_newton: {"loss": loss},
}
DOWNHILL = {
    optim.adapt_damping: jax.grad(loss)(THETA, SCALES),
    optim.levenberg_marquardt: jax.grad(mean_loss)(THETA, PAIR),
}
# Sizes of arrays and loops are not numbers of this kind.
SIZES = {"chunk_size", "depth", "max_iterations"}
CASES = [(make, name) for make, numbers in NUMBERS.items() for name in numbers]
each = pytest.mark.parametrize(
    ("make", "name"), CASES, ids=[f"{make.__name__}-{name}" for make, name in CASES]
)


def made(make, **numbers):
    """A transformation; what is neither given nor has a default is the first listed."""
    others = dict(OTHERS.get(make, {}))
    for name, parameter in inspect.signature(make).parameters.items():
        if parameter.default is inspect.Parameter.empty and name in NUMBERS[make]:
            others.setdefault(name, NUMBERS[make][name][0][0])
    return make(**(others | numbers))


def trail(make, **numbers):
    """All that four updates and the state after them hold, as one vector."""
    transform = optim.with_extra_args(made(make, **numbers))
    gradients = GRADIENTS
    if make is optim.apply_if_finite:
        gradients = gradients * np.array([[1], [np.nan], [np.nan], [1]], np.float32)
    pair = {optim.gauss_newton, optim.natural_gradient, optim.levenberg_marquardt}
    batch = PAIR if make in pair else SCALES
    if make in DOWNHILL:  # steps of which some are taken and some are not
        gradient = DOWNHILL[make]
        gradients = np.stack([gradient, -gradient, -gradient, gradient])
    state, seen = transform.init(THETA), []
    for gradient in jnp.asarray(gradients):
        updates, state = transform.update(gradient, state, THETA, batch=batch)
        seen.append(updates)
    leaves = jax.tree.leaves((seen, state))
    return jnp.concatenate([jnp.ravel(leaf).astype(float) for leaf in leaves])


@each
def test_vmap_equals_a_loop(make, name):
    values = NUMBERS[make][name][0]
    loop = np.stack([trail(make, **{name: value}) for value in values])
    got = jax.vmap(lambda value: trail(make, **{name: value}))(jnp.array(values))
    np.testing.assert_allclose(got, loop, rtol=2e-3, atol=1e-6)
    assert any(not np.array_equal(row, loop[0], equal_nan=True) for row in loop)


@each
def test_a_python_number_out_of_its_domain_raises(make, name):
    for wrong in (NUMBERS[make][name][1], np.nan):
        with pytest.raises(ValueError, match=rf"\b{name} must be .*got {wrong}"):
            made(make, **{name: wrong})


def test_none_is_left_out():
    def takes_numbers(annotation):
        union = isinstance(annotation, types.UnionType)
        kinds = typing.get_args(annotation) if union else [annotation]
        return int in kinds or Array in kinds

    expected = {}
    for name in optim.__all__:
        make = getattr(optim, name)
        signature = inspect.signature(make)
        if signature.return_annotation is not optim.GradientTransformation:
            continue
        names = {
            name
            for name, parameter in signature.parameters.items()
            if takes_numbers(parameter.annotation) and name not in SIZES | {"key"}
        }
        if names:
            expected[make] = names
    assert {make: set(numbers) for make, numbers in NUMBERS.items()} == expected
