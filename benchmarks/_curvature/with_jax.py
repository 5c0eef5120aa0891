"""Plain JAX: what a person writes without a library, on a fresh product each time."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks._curvature.problem import flatten, parameters, split

PACKAGES = ("jax", "jaxlib", "numpy")


def loss(params, batch):
    """Mean cross-entropy of a tanh network; the same function for all JAX tools."""
    x, labels = batch
    *hidden, (kernel, bias) = params
    for w, b in hidden:
        x = jnp.tanh(x @ w + b[None])
    logits = jax.nn.log_softmax(x @ kernel + bias[None])
    return -jnp.mean(jnp.sum(logits * labels, axis=1))


def load(problem):
    """Parameters as pairs, the batch with one-hot labels, and the direction."""

    def pairs(arrays):
        arrays = [jnp.asarray(x) for x in arrays]
        return list(zip(arrays[::2], arrays[1::2], strict=True))

    leaves = parameters(problem)
    labels = np.eye(len(leaves[-1]), dtype=leaves[0].dtype)[problem["labels"]]
    batch = jnp.asarray(problem["inputs"]), jnp.asarray(labels)
    return pairs(leaves), batch, pairs(split(problem["vector"], leaves))


def flat(tree):
    """A tree, or a stack of trees, as rows in the problem's order."""
    return flatten([np.asarray(leaf) for leaf in jax.tree.leaves(tree)])


def prepare(problem):
    """Products by ``jvp`` of ``grad``."""
    params, batch, vector = load(problem)

    # Arrays as arguments: closed over, they would be constants that XLA folds.
    return jax.tree_util.Partial(_product, params, batch), params, batch, vector


def ladders(row, facts):
    """Steps of Lanczos, or the probes that Hutchinson's estimator needs."""
    return {
        "hvp": {"": [{}]},
        "eigenpairs": {
            "Lanczos": [{"steps": m, "full": False} for m in range(14, 42, 4)],
            "Lanczos, orthogonalized": [
                {"steps": m, "full": True} for m in lanczos_steps()
            ],
        },
        "trace": {"Hutchinson": [{"probes": facts["probes"]}]},
        "density": {"": [{"steps": 50}]},
    }[row]


def lanczos_steps():
    """What to try, for tools whose number of steps is set by hand."""
    return [*range(14, 42, 2), 45, 50, 55, 60, 70, 80, 100]


def sketch_sizes():
    """What to try, for estimators that split their products."""
    return [10, 14, 20, 28, 40, 56]


def hvp(prepared, setting):
    """One product."""
    del setting
    product, params, batch, vector = prepared
    value = loss(params, batch)

    def work():
        return jax.block_until_ready(_multiply(product, vector))

    return work, lambda found: {"product": flat(found), "loss": np.asarray(value)}


def eigenpairs(prepared, setting):
    """The largest Ritz pairs of so many steps."""
    product, params, _, _ = prepared
    key = jax.random.key(setting["seed"])

    def work():
        found = _top(product, params, key, setting["steps"], setting["full"])
        return jax.block_until_ready(found)

    return work, lambda found: {"values": found[0], "vectors": np.asarray(found[1])}


def trace(prepared, setting):
    """Hutchinson's estimator with so many probes."""
    product, params, _, _ = prepared
    key = jax.random.key(setting["seed"])

    def work():
        return jax.block_until_ready(_trace(product, params, key, setting["probes"]))

    return work, lambda found: {"trace": np.asarray(found)}


def density(prepared, setting):
    """Nodes and weights of one probe."""
    product, params, _, _ = prepared
    key = jax.random.key(setting["seed"])

    def work():
        return jax.block_until_ready(
            _quadrature(product, params, key, setting["steps"])
        )

    return work, lambda found: {"nodes": found[0], "weights": found[1]}


ROWS = {"hvp": hvp, "eigenpairs": eigenpairs, "trace": trace, "density": density}


@jax.jit
def _multiply(product, v):
    return product(v)


def _product(params, batch, v):
    return jax.jvp(jax.grad(lambda params: loss(params, batch)), (params,), (v,))[1]


def _lanczos(product, params, start, steps, full):
    """The three-term recurrence of the textbook; in full, with all rows taken off."""
    _, unravel = ravel_pytree(params)

    def step(number, carry):
        rows, diagonal, off = carry
        row = rows[number]
        image = ravel_pytree(product(unravel(row)))[0]
        image = image - jnp.where(number, off[number - 1], 0) * rows[number - 1]
        diagonal = diagonal.at[number].set(image @ row)
        image = image - diagonal[number] * row
        if full:
            image = image - (rows @ image) @ rows
        off = off.at[number].set(jnp.linalg.norm(image))
        return rows.at[number + 1].set(image / off[number]), diagonal, off

    rows = jnp.zeros((steps + 1, start.size)).at[0].set(start / jnp.linalg.norm(start))
    zeros = jnp.zeros(steps)
    rows, diagonal, off = jax.lax.fori_loop(0, steps, step, (rows, zeros, zeros))
    projected = jnp.diag(diagonal) + jnp.diag(off[:-1], 1) + jnp.diag(off[:-1], -1)
    return rows[:-1], *jnp.linalg.eigh(projected)


def _normal(params, key):
    flat_params, _ = ravel_pytree(params)
    return jax.random.normal(key, flat_params.shape)


@partial(jax.jit, static_argnums=(3, 4))
def _top(product, params, key, steps, full):
    start = _normal(params, key)
    rows, values, rotation = _lanczos(product, params, start, steps, full)
    return values[::-1][:5], rotation[:, ::-1][:, :5].T @ rows


@partial(jax.jit, static_argnums=3)
def _quadrature(product, params, key, steps):
    start = _normal(params, key)
    _, values, rotation = _lanczos(product, params, start, steps, False)
    return values, jnp.square(rotation[0])


@partial(jax.jit, static_argnums=3)
def _trace(product, params, key, probes):
    flat_params, unravel = ravel_pytree(params)

    def one(key):
        z = jax.random.rademacher(key, flat_params.shape, flat_params.dtype)
        return z @ ravel_pytree(product(unravel(z)))[0]

    return jnp.mean(jax.lax.map(one, jax.random.split(key, probes)))
