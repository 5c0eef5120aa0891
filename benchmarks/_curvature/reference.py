"""What is true of the problem, in float64, by other means than the tools'.

Eigenpairs by ARPACK, the trace exactly: the Hessian of an example's loss in one layer's
kernel is the Kronecker product of its inputs' outer product with the Hessian in its
pre-activations, so the trace is a sum of second derivatives in those.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, eigsh

from benchmarks._curvature.with_jax import load, loss

jax.config.update("jax_enable_x64", True)

PACKAGES = ("jax", "scipy", "numpy")


def prepare(problem):
    """Everything in float64, and a compiled product."""
    wide = {
        name: x.astype(np.float64) if x.dtype.kind == "f" else x
        for name, x in problem.items()
    }
    params, batch, vector = load(wide)
    product = _linearized(params, batch)
    return product, params, batch, ravel_pytree(vector)[0]


def ladders(row, facts):
    """There is nothing to choose."""
    del row, facts
    return {"": [{}]}


def _truth(prepared, setting):
    product, params, batch, vector = prepared

    def work():
        def matvec(v):
            return np.asarray(_multiply(product, params, v.ravel()))

        shape, start = (vector.size, vector.size), np.asarray(vector)
        operator: Any = LinearOperator(shape, matvec=matvec, dtype=np.float64)  # pyright: ignore[reportCallIssue]
        values, _ = eigsh(operator, k=6, which="LA", ncv=40, tol=1e-9, v0=start)  # pyright: ignore[reportArgumentType]
        samples = _samples(product, params, jax.random.key(0), setting["probes"])
        return {
            "loss": np.asarray(loss(params, batch)),
            "product": np.asarray(_multiply(product, params, vector)),
            "values": values[::-1],
            "trace": np.asarray(_exact_trace(params, batch)),
            "probe_deviation": np.std(np.asarray(samples), ddof=1),
        }

    return work, lambda found: found


def _residuals(prepared, setting):
    """``|A v - value v|`` and the distance from orthonormality of a tool's pairs."""
    product, params, *_ = prepared

    def work():
        with np.load(setting["file"]) as found:
            values = np.asarray(found["values"], np.float64)
            vectors = np.asarray(found["vectors"], np.float64)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        images = np.stack([_multiply(product, params, v) for v in vectors])
        return {
            "residuals": np.linalg.norm(images - values[:, None] * vectors, axis=1),
            "overlap": abs(vectors @ vectors.T - np.eye(len(vectors))).max(),
        }

    return work, lambda found: found


ROWS = {"truth": _truth, "residuals": _residuals}


@jax.jit
def _linearized(params, batch):
    return jax.linearize(jax.grad(lambda params: loss(params, batch)), params)[1]


@jax.jit
def _multiply(product, params, v):
    return ravel_pytree(product(ravel_pytree(params)[1](v)))[0]


@partial(jax.jit, static_argnums=3)
def _samples(product, params, key, probes):
    flat_params, unravel = ravel_pytree(params)

    def one(key):
        z = jax.random.rademacher(key, flat_params.shape, flat_params.dtype)
        return z @ ravel_pytree(product(unravel(z)))[0]

    return jax.lax.map(one, jax.random.split(key, probes))


@jax.jit
def _exact_trace(params, batch):
    x, labels = batch
    total = 0.0
    for number, (kernel, bias) in enumerate(params):
        z = x @ kernel + bias
        total += _layer_trace(params[number + 1 :], x, z, labels)
        x = jnp.tanh(z)
    return total / len(labels)


def _layer_trace(above, x, z, labels):
    """Sum over examples of ``(|x|^2 + 1) tr(d^2 loss / dz^2)``."""

    def losses(z):
        for kernel, bias in above:
            z = jnp.tanh(z) @ kernel + bias
        return -jnp.sum(jax.nn.log_softmax(z) * labels, axis=1)

    def second(direction):
        def slope(z):
            return jax.jvp(losses, (z,), (jnp.broadcast_to(direction, z.shape),))[1]

        return jax.jvp(slope, (z,), (jnp.broadcast_to(direction, z.shape),))[1]

    traces = jnp.sum(jax.lax.map(second, jnp.eye(z.shape[1], dtype=z.dtype)), axis=0)
    return jnp.sum((jnp.sum(jnp.square(x), axis=1) + 1) * traces)
