"""neural-tangents: `stax` for kernels, `predict` for the flow."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from functools import partial

import jax
import jax.numpy as jnp
import neural_tangents as nt
from jax.experimental import enable_x64
from neural_tangents import stax

from benchmarks._ntk_infinite.problem import B_STD, NETWORKS, W_STD, named

PACKAGES = ("neural-tangents", "jax", "jaxlib", "numpy")

_LAYERS = {
    "dense": lambda: stax.Dense(1, W_std=W_STD, b_std=B_STD),
    "conv": lambda: stax.Conv(1, (3, 3), padding="SAME", W_std=W_STD, b_std=B_STD),
    "relu": stax.Relu,
    "flatten": stax.Flatten,
    "pool": stax.GlobalAvgPool,
}


def prepare(problem):
    """Arrays on the device."""
    return {name: jnp.asarray(x) for name, x in problem.items()}


def ladders(row, facts):
    """The flow also as its documentation has it, not compiled as a whole."""
    del facts
    ways = {"compiled": [{"compiled": True}]}
    return ways | {"eager": [{"compiled": False}]} if row.startswith("flow") else ways


def _kernels(row, prepared, setting):
    del setting
    layers = [_LAYERS[name]() for name in NETWORKS[row]]
    kernel = stax.serial(*layers)[2]
    function = jax.jit(lambda x: tuple(kernel(x, None, ("nngp", "ntk"))))

    def work():
        return jax.block_until_ready(function(prepared[row]))

    return work, lambda found: named(found, "nngp", "ntk")


def _flow(double, prepared, setting):
    def predict(kernel, kernel_test, y, f, f_test, times):
        # Its loss is a mean over outputs, too.
        rate = float(y.shape[1])
        predictor = nt.predict.gradient_descent_mse(kernel, y, learning_rate=rate)
        return predictor(times, f, f_test, kernel_test)

    function = jax.jit(predict) if setting["compiled"] else predict
    names = ("kernel", "kernel_test", "y", "f", "f_test", "times")
    with enable_x64(double):
        dtype = jnp.float64 if double else jnp.float32
        arrays = [jnp.asarray(prepared[name], dtype) for name in names]

    def work():
        with enable_x64(double):
            return jax.block_until_ready(function(*arrays))

    return work, lambda found: named(found, "train", "test")


ROWS = {row: partial(_kernels, row) for row in NETWORKS}
ROWS |= {"flow": partial(_flow, False), "flow-float64": partial(_flow, True)}
