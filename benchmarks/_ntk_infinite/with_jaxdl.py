"""jaxdl itself."""

from functools import partial

import jax
import jax.numpy as jnp

from benchmarks._ntk_infinite.problem import B_STD, NETWORKS, W_STD, named
from jaxdl.ntk import gradient_flow_mse, infinite

PACKAGES = ("jaxdl-experiments", "jax", "jaxlib", "numpy")

_LAYERS = {
    "dense": lambda: infinite.dense(1, w_std=W_STD, b_std=B_STD),
    "conv": lambda: infinite.conv(1, (3, 3), w_std=W_STD, b_std=B_STD),
    "relu": infinite.relu,
    "flatten": infinite.flatten,
    "pool": infinite.global_avg_pool,
}


def prepare(problem):
    """Arrays on the device."""
    return {name: jnp.asarray(x) for name, x in problem.items()}


def ladders(row, facts):
    """There is one way; the flow's eigenvectors can also be had before compiling."""
    del facts
    ways = {"": [{"compiled": True}]}
    return ways | {"eager": [{"compiled": False}]} if row.startswith("flow") else ways


def _kernels(row, prepared, setting):
    del setting
    kernel = infinite.serial(*(_LAYERS[name]() for name in NETWORKS[row])).kernel
    function = jax.jit(lambda x: tuple(kernel(x)))

    def work():
        return jax.block_until_ready(function(prepared[row]))

    return work, lambda found: named(found, "nngp", "ntk")


def _flow(double, prepared, setting):
    def predict(kernel, kernel_test, y, f, f_test, times):
        return gradient_flow_mse(kernel, y)(times, f, f_test, kernel_test)

    function = jax.jit(predict) if setting["compiled"] else predict
    names = ("kernel", "kernel_test", "y", "f", "f_test", "times")
    with jax.enable_x64(double):
        dtype = jnp.float64 if double else jnp.float32
        arrays = [jnp.asarray(prepared[name], dtype) for name in names]

    def work():
        with jax.enable_x64(double):
            return jax.block_until_ready(function(*arrays))

    return work, lambda found: named(found, "train", "test")


ROWS = {row: partial(_kernels, row) for row in NETWORKS}
ROWS |= {"flow": partial(_flow, False), "flow-float64": partial(_flow, True)}
