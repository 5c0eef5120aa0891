"""The kernels in float64, and what this machine can do at most.

Jacobian contraction; for the network of dense layers, whose Jacobians have 2e9 entries
a side, from the products of inputs and back-propagated signals of each layer, and by
Jacobian contraction in one corner.
"""

import os
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._ntk import networks, with_jax
from benchmarks._ntk.problem import CASES

PACKAGES = ("jax", "numpy")

_CORNER = 8


def prepare(problem):
    """Everything in float64, from here on."""
    jax.config.update("jax_enable_x64", True)
    return with_jax.prepare({
        name: x.astype(np.float64) if x.dtype.kind == "f" else x
        for name, x in problem.items()
    })


def ladders(row, facts):
    """There is nothing to choose."""
    del row, facts
    return {"": [{}]}


def dense_kernel(params, x1, x2):
    """The full kernel of `networks.mlp`, in NumPy.

    Args:
        params: Of the network.
        x1: ``(n1, d)``.
        x2: ``(n2, d)``.

    Returns:
        ``(n1, n2, k, k)``: the sum over layers of ``(h.h' + 1) delta.delta'``.
    """
    params = {leaf: np.asarray(value) for leaf, value in params.items()}
    sides = [_signals(params, np.asarray(x)) for x in (x1, x2)]
    k = params[f"b{len(params) // 2 - 1}"].size
    total = np.zeros((len(x1), len(x2), k, k))
    for (h1, d1), (h2, d2) in zip(*sides, strict=True):
        n1, k, width = d1.shape
        slopes = d1.reshape(-1, width) @ d2.reshape(-1, width).T
        slopes = slopes.reshape(n1, k, -1, k).transpose(0, 2, 1, 3)
        total += (h1 @ h2.T + 1)[:, :, None, None] * slopes
    return total


def _signals(params, x):
    """For each layer its input (n, d) and the outputs' slopes there (n, k, h)."""
    depth = len(params) // 2
    inputs, active = [x], []
    for number in range(depth):
        z = inputs[-1] @ params[f"w{number}"] + params[f"b{number}"]
        inputs.append(np.maximum(z, 0))
        active.append(z > 0)
    k = params[f"b{depth - 1}"].size
    slopes = [np.broadcast_to(np.eye(k), (len(x), k, k))]
    for number in reversed(range(1, depth)):
        below = slopes[-1] @ params[f"w{number}"].T * active[number - 1][:, None]
        slopes.append(below)
    return list(zip(inputs[:-1], slopes[::-1], strict=True))


def _truth(prepared, setting):
    del setting

    def work():
        kernels = {}
        for row, case in CASES.items():
            twin = row.replace("trace", "full")
            full = kernels.get(twin)
            if full is None:
                full = _full(prepared[case.network], case)
            if case.outputs == "trace":
                full = np.trace(full, axis1=2, axis2=3) / full.shape[-1]
            kernels[row] = full
        return kernels

    return work, lambda found: found


def _full(loaded, case):
    """The full kernel of a case.

    Raises:
        ArithmeticError: If the two ways disagree in the corner.
    """
    x1, x2 = loaded.x1, loaded.x1 if case.symmetric else loaded.x2
    apply = _SLOW_IN_FLOAT64.get(loaded.network.apply, loaded.network.apply)
    if case.network != "mlp":
        return contract(apply, loaded.params, x1, x2)
    found = dense_kernel(loaded.params, x1, x2)
    corner = contract(apply, loaded.params, x1[:_CORNER], x2[:_CORNER])
    if not np.allclose(found[:_CORNER, :_CORNER], corner, rtol=1e-9, atol=1e-9):
        raise ArithmeticError("the two ways to the reference disagree")
    return found


def contract(apply, params, x1, x2):
    """Jacobians a few examples at a time, and their product in NumPy.

    Args:
        apply: Of one example.
        params: A dictionary.
        x1: ``(n1, ...)``.
        x2: ``(n2, ...)``.

    Returns:
        ``(n1, n2, k, k)``.
    """
    compiled = jax.jit(jax.vmap(jax.jacrev(apply), (None, 0)))

    def jacobian(x):
        rows = []
        for begin in range(0, len(x), _CORNER):
            found = compiled(params, x[begin : begin + _CORNER])
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(found)]
            rows += [np.concatenate([j.reshape(*j.shape[:2], -1) for j in leaves], 2)]
        return np.concatenate(rows)

    j1, j2 = jacobian(x1), jacobian(x2)
    return np.einsum("akp,blp->abkl", j1, j2, optimize=True)


def cnn_by_shifts(params, x):
    """`networks.cnn` as products of matrices: XLA convolves slowly in float64.

    Args:
        params: Of the network.
        x: One image.

    Returns:
        Its outputs.
    """
    height, width, _ = x.shape
    for number in range(len(params) // 2 - 1):
        kernel = params[f"w{number}"]
        padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
        shifted = [
            padded[i : i + height, j : j + width] @ kernel[i, j]
            for i in range(3)
            for j in range(3)
        ]
        x = jax.nn.relu(sum(shifted[1:], shifted[0]) + params[f"b{number}"][None, None])
    return jnp.mean(x, axis=(0, 1)) @ params["head_w"] + params["head_b"]


_SLOW_IN_FLOAT64 = {networks.cnn: cnn_by_shifts}


def _rates(prepared, setting):
    """Least times of a product of matrices in float32, and of a copy."""
    del prepared, setting
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    clock = time.process_time if cores == 1 else time.perf_counter

    def least(function, *arrays):
        times = []
        for _ in range(20):
            begin = clock()
            function(*arrays)
            times.append(clock() - begin)
        return min(times[1:])

    def work():
        a = jnp.ones((1024, 1024), np.float32)
        product = jax.jit(lambda a, b: a @ b)
        seconds = least(lambda: jax.block_until_ready(product(a, a)))
        source, target = np.ones(1 << 25, np.float32), np.ones(1 << 25, np.float32)
        copy = least(np.copyto, target, source)
        return {"flops": 2 * 1024**3 / seconds, "bytes": 2 * source.nbytes / copy}

    return work, lambda found: found


ROWS = {"truth": _truth, "rates": _rates}
