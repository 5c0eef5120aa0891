"""Optax's own test files, with the functions of jaxdl in place of optax's.

A test file is executed in two parts: its imports, then the rest. In between, each
module of optax that it imported is replaced by a view on that module in which the
functions below are ours. What is not listed there stays optax's, so that the tests
also mix the two.
"""

import ast
import functools
import math
import types
import unittest
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from jaxdl import optim
from jaxdl.interop import to_optax
from jaxdl.types import Scalar, Schedule

ROOT = Path(optax.__file__).parent


def wrapped(factory):
    """A factory of transformations, of optax's type, with the same signature."""

    @functools.wraps(factory)
    def make(*args, **kwargs):
        return to_optax(factory(*args, **kwargs))

    return make


# --- Where the signatures differ -----------------------------------------------------


def sgd(
    learning_rate: Scalar | Schedule,
    momentum=None,
    nesterov=False,
    accumulator_dtype=None,
):
    if momentum is None:
        return optim.sgd(learning_rate)
    make = optim.nesterov if nesterov else optim.momentum
    return make(learning_rate, momentum, accumulator_dtype=accumulator_dtype)


def noisy_sgd(learning_rate: Scalar | Schedule, eta=0.01, gamma=0.55, key=0):
    return optim.chain(add_noise(eta, gamma, key), optim.sgd(learning_rate))


def add_noise(eta, gamma, key):
    return optim.add_noise(jax.random.key(key), eta, gamma)


def scale_by_stddev(decay=0.9, eps=1e-8, initial_scale=0.0):
    return optim.scale_by_rms(decay, eps, initial_scale=initial_scale, centered=True)


def freeze(mask):
    return optim.masked(optim.set_to_zero(), mask)


def selective_transform(optimizer, *, freeze_mask):
    labels = jax.tree.map(lambda m: "freeze" if m else "train", freeze_mask)
    return optim.partition(
        {"train": optimizer, "freeze": optim.set_to_zero()}, lambda _: labels
    )


def partition(transforms, param_labels):
    return optim.partition(transforms, param_labels)


class MultiSteps:
    """The interface of ``optax.MultiSteps`` on `optim.accumulate`."""

    def __init__(
        self, opt, every_k_schedule, use_grad_mean=True, accumulator_dtype=jnp.float32
    ):
        assert accumulator_dtype == jnp.float32
        self.transform = to_optax(
            optim.accumulate(opt, every_k_schedule, mean=use_grad_mean)
        )
        self.init, self.update = self.transform

    def gradient_transformation(self):
        return self.transform

    def has_updated(self, state):
        return (state.mini_step == 0) & (state.gradient_step > 0)


def delayed(schedule, begin):
    """The schedule, ``begin`` steps later."""
    if not begin:
        return schedule
    return optim.join_schedules([lambda _: schedule(jnp.array(0)), schedule], [begin])


def polynomial_schedule(
    init_value, end_value, power, transition_steps, transition_begin=0
):
    schedule = optim.polynomial_decay(init_value, end_value, transition_steps, power)
    return delayed(schedule, transition_begin)


def piecewise_constant_schedule(init_value, boundaries_and_scales):
    values = [init_value]
    for _, factor in sorted(boundaries_and_scales.items()):
        values.append(values[-1] * factor)
    return optim.piecewise_constant(values, sorted(boundaries_and_scales))


def exponential_decay(
    init_value,
    transition_steps,
    decay_rate,
    transition_begin=0,
    staircase=False,
    end_value=None,
):
    if staircase:
        schedule = optim.step_decay(init_value, decay_rate, transition_steps)
    else:
        rate = -math.log(decay_rate) / transition_steps
        schedule = optim.exponential_decay(init_value, rate)
    schedule = delayed(schedule, transition_begin)
    if end_value is None:
        return schedule
    bound = jnp.maximum if decay_rate < 1 else jnp.minimum
    return lambda step: bound(schedule(step), end_value)


def cosine_decay_schedule(init_value, decay_steps, alpha=0.0, exponent=1):
    assert exponent == 1
    return optim.cosine_decay(init_value, decay_steps, alpha * init_value)


def warmup_cosine_decay_schedule(
    init_value, peak_value, warmup_steps, decay_steps, end_value=0.0, exponent=1.0
):
    assert exponent == 1
    fall = optim.cosine_decay(peak_value, decay_steps - warmup_steps, end_value)
    return optim.warmup(fall, warmup_steps, init_value)


def sgdr_schedule(cosine_kwargs):
    ends = [0]
    for kwargs in cosine_kwargs:
        ends.append(ends[-1] + kwargs["decay_steps"])
    schedules = [warmup_cosine_decay_schedule(**kwargs) for kwargs in cosine_kwargs]
    return optim.join_schedules(schedules, ends[1:-1])


# --- What stands for what ------------------------------------------------------------

OPTIMIZERS = {
    "adagrad": wrapped(optim.adagrad),
    "adam": wrapped(optim.adam),
    "adamw": wrapped(optim.adamw),
    "amsgrad": wrapped(optim.amsgrad),
    "lion": wrapped(optim.lion),
    "nadam": wrapped(optim.nadam),
    "noisy_sgd": wrapped(noisy_sgd),
    "rmsprop": wrapped(optim.rmsprop),
    "sgd": wrapped(sgd),
    "sign_sgd": wrapped(optim.sign_sgd),
}
BASE = {
    "ScalarOrSchedule": Scalar | Schedule,
    "identity": wrapped(optim.identity),
    "set_to_zero": wrapped(optim.set_to_zero),
    "stateless": wrapped(optim.stateless),
    "EmptyState": optim.EmptyState,
}
MASKING = {
    "masked": wrapped(optim.masked),
    "MaskedNode": optim.MaskedNode,
    "MaskedState": optim.MaskedState,
}
COMBINING = {"chain": wrapped(optim.chain), "partition": wrapped(partition)}
CLIPPING = {
    "clip": wrapped(optim.clip),
    "clip_by_global_norm": wrapped(optim.clip_by_global_norm),
}
ADDING = {
    "add_decayed_weights": wrapped(optim.add_decayed_weights),
    "add_noise": wrapped(add_noise),
}
MOMENTUM = {"trace": wrapped(optim.add_momentum)}
SCALING = {
    "scale": wrapped(optim.scale),
    "scale_by_adam": wrapped(optim.scale_by_adam),
    "scale_by_amsgrad": wrapped(optim.scale_by_amsgrad),
    "scale_by_lion": wrapped(optim.scale_by_lion),
    "scale_by_rms": wrapped(optim.scale_by_rms),
    "scale_by_rss": wrapped(optim.scale_by_adagrad),
    "scale_by_schedule": wrapped(optim.scale_by_schedule),
    "scale_by_stddev": wrapped(scale_by_stddev),
}
INJECTING = {
    "inject_hyperparams": lambda *args, **kwargs: wrapped(
        optim.inject_hyperparams(*args, **kwargs)
    )
}
SCHEDULES = {
    "constant_schedule": optim.constant_schedule,
    "cosine_decay_schedule": cosine_decay_schedule,
    "exponential_decay": exponential_decay,
    "join_schedules": optim.join_schedules,
    "piecewise_constant_schedule": piecewise_constant_schedule,
    "polynomial_schedule": polynomial_schedule,
    "sgdr_schedule": sgdr_schedule,
    "warmup_cosine_decay_schedule": warmup_cosine_decay_schedule,
}
TRANSFORMS = CLIPPING | ADDING | MOMENTUM | MASKING | COMBINING
SUBSTITUTES = {
    "optax._src.alias": OPTIMIZERS,
    "optax._src.base": BASE,
    "optax._src.combine": COMBINING,
    "optax._src.transform": SCALING | ADDING | MOMENTUM,
    "optax._src.update": {"apply_updates": optim.apply_updates},
    "optax._src.wrappers": MASKING,
    "optax.schedules": SCHEDULES | INJECTING,
    "optax.schedules._inject": INJECTING,
    "optax.schedules._join": SCHEDULES,
    "optax.schedules._schedule": SCHEDULES,
    "optax.transforms": TRANSFORMS,
    "optax.transforms._accumulation": MOMENTUM | {"MultiSteps": MultiSteps},
    "optax.transforms._adding": ADDING,
    "optax.transforms._clipping": CLIPPING,
    "optax.transforms._combining": COMBINING,
    "optax.transforms._conditionality": {
        "apply_if_finite": wrapped(optim.apply_if_finite)
    },
    "optax.transforms._freezing": {
        "freeze": wrapped(freeze),
        "selective_transform": wrapped(selective_transform),
    },
    "optax.transforms._masking": MASKING,
}


# --- Loading -------------------------------------------------------------------------


class View(types.ModuleType):
    """A module with some names replaced."""

    def __init__(self, module, names):
        super().__init__(module.__name__)
        self.__dict__.update(names)
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)


def load(name, constants=None, substitutes=SUBSTITUTES):
    """The test classes of one of optax's test files, on ours.

    Args:
        name: Of the file, such as ``"_src.alias_test"``.
        constants: By the name of a constant of the file, what to make of its value;
            also of one it imports by ``module.name``.
        substitutes: By the name of a module, by name, what stands for its members.
    """
    path = ROOT / Path(*name.split(".")).with_suffix(".py")
    body = ast.parse(path.read_text()).body
    imports = [s for s in body if isinstance(s, ast.Import | ast.ImportFrom)]
    module = types.ModuleType(f"{name}_on_jaxdl")
    execute(imports, path, module)
    for key, value in list(vars(module).items()):
        if isinstance(value, types.ModuleType):
            names = dict(substitutes.get(value.__name__, {}))
            for constant, change in (constants or {}).items():
                if constant in vars(value):
                    names[constant] = change(vars(value)[constant])
            setattr(module, key, View(value, names) if names else value)
    for statement in body:
        if statement not in imports:
            execute([statement], path, module)
            for constant in set(constants or {}) & assigned(statement):
                change = constants[constant]
                setattr(module, constant, change(vars(module)[constant]))
    return {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, unittest.TestCase)
    }


def execute(statements, path, module):
    code = compile(ast.Module(statements, []), str(path), "exec")
    exec(code, vars(module))


def assigned(statement):
    """The names that a statement assigns."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}
