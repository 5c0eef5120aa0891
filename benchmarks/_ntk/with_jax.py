"""Plain JAX: Jacobians of all examples, and their product, in one compiled function."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._ntk.problem import CASES, load

PACKAGES = ("jax", "jaxlib", "numpy")


def prepare(problem):
    """Networks with their arrays on the device."""
    return {
        name: loaded._replace(
            params={leaf: jnp.asarray(x) for leaf, x in loaded.params.items()},
            x1=jnp.asarray(loaded.x1),
            x2=jnp.asarray(loaded.x2),
        )
        for name, loaded in load(problem).items()
    }


def ladders(row, facts):
    """There is one way."""
    del row, facts
    return {"Jacobian contraction": [{}]}


def kernel(apply, params, x1, x2, outputs):
    """The kernel as a person writes it.

    Args:
        apply: A function of parameters and one example, with outputs ``(k,)``.
        params: A dictionary of arrays.
        x1: ``(n1, ...)`` examples.
        x2: ``(n2, ...)`` examples; None for those of ``x1``.
        outputs: ``"full"`` or ``"trace"``.

    Returns:
        ``(n1, n2, k, k)`` or ``(n1, n2)``.
    """
    jacobian = jax.vmap(jax.jacrev(apply), (None, 0))
    j1 = jacobian(params, x1)
    j2 = j1 if x2 is None else jacobian(params, x2)
    k = jax.tree.leaves(j1)[0].shape[1]
    subscripts = "akp,blp->abkl" if outputs == "full" else "akp,bkp->ab"
    parts = [
        jnp.einsum(
            subscripts, *(j[leaf].reshape(*j[leaf].shape[:2], -1) for j in (j1, j2))
        )
        for leaf in j1
    ]
    total = sum(parts[1:], parts[0])
    return total if outputs == "full" else total / k


def start(row, compute):
    """Set a row up for a tool.

    Args:
        row: Its name.
        compute: As `kernel`, without ``apply`` and ``outputs``, compiled or not.

    Returns:
        What ``ROWS`` of a tool holds.
    """

    def begin(prepared, setting):
        case = CASES[row]
        loaded = prepared[case.network]
        function = compute(loaded.network.apply, case.outputs, setting)
        x2 = None if case.symmetric else loaded.x2

        def work():
            return jax.block_until_ready(function(loaded.params, loaded.x1, x2))

        return work, lambda found: {"kernel": np.asarray(found)}

    return begin


def _compute(apply, outputs, setting):
    del setting
    return jax.jit(partial(kernel, apply, outputs=outputs))


ROWS = {row: start(row, _compute) for row in CASES if row != "mlp-full-symmetric"}
