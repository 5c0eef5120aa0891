"""Kernels from Jacobians: reverse mode an example, contracted leaf by leaf."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.ntk.symmetry import in_strips
from jaxdl.types import Array

HELD = 2**26
"""Entries of Jacobians held at a time, where the outputs can be taken in turn."""


def kernels(
    outputs_of: Callable[[list[Array], Any], Array],
    leaves: list[Array],
    groups: Sequence[Sequence[int]],
    x1: Any,
    x2: Any,
    outputs: str,
) -> list[Array]:
    """Kernels of groups of parameters.

    With the Jacobian J of an example, ``(k, p)`` for the p parameters of a group, the
    kernel is ``J1 J2^T``. All Jacobians of both batches are held at once if
    ``outputs`` is full; else the outputs are taken some at a time.

    Args:
        outputs_of: ``outputs_of(leaves, x)``, the ``(k,)`` outputs of one example.
        leaves: All parameters.
        groups: Positions of leaves, one group a kernel; the others are constants.
        x1: Pytree of arrays with n1 examples along the first axis.
        x2: The same with n2, or None for ``x1``.
        outputs: full, diagonal or trace.

    Returns:
        One kernel a group: ``(n1, n2, k, k)``, ``(n1, n2, k)`` or ``(n1, n2)``.
    """
    wanted = sorted({i for group in groups for i in group})
    places = [[wanted.index(i) for i in group] for group in groups]
    out = jax.eval_shape(outputs_of, leaves, jax.tree.map(lambda a: a[0], x1))
    k, dtype = out.size, jnp.promote_types(out.dtype, jnp.float32)

    def of_outputs(chosen):
        """Kernels of the outputs at some positions; a position beyond k gives 0."""
        basis = (chosen[:, None] == jnp.arange(k)[None, :]).astype(out.dtype)

        def jacobians(x):
            found = _jacobians(outputs_of, leaves, wanted, x, basis)
            return [j.reshape(*j.shape[:2], -1).astype(dtype) for j in found]

        contract = partial(_CONTRACT[outputs], places)
        if x2 is None:
            return in_strips(contract, jacobians(x1))
        return contract(jacobians(x1), jacobians(x2))

    with jax.default_matmul_precision("highest"):
        if outputs == "full":
            return of_outputs(jnp.arange(k))
        n1, n2 = (0 if x is None else _length(x) for x in (x1, x2))
        size = (n1 + n2) * sum(leaves[i].size for i in wanted)
        chunks = min(k, -(-k * size // HELD))
        chunk = -(-k // chunks)
        chunks = -(-k // chunk)
        positions = jnp.arange(chunks * chunk).reshape(chunks, chunk)
        if outputs == "trace":
            return [total / k for total in _summed(of_outputs, positions)]
        if chunks == 1:
            return of_outputs(positions[0])
        return [
            jnp.moveaxis(part, 0, 2).reshape(*part.shape[1:3], -1)[..., :k]
            for part in jax.lax.map(of_outputs, positions)
        ]


def _jacobians(outputs_of, leaves, wanted, x, basis):
    """Rows of each example's Jacobian by leaf, ``(n, rows, *shape)``."""

    def of_example(x):
        def outputs(selected):
            mixed = list(leaves)
            for i, leaf in zip(wanted, selected, strict=True):
                mixed[i] = leaf
            return outputs_of(mixed, x)

        _, pull = jax.vjp(outputs, [leaves[i] for i in wanted])
        return jax.vmap(lambda row: pull(row)[0])(basis)

    return jax.vmap(of_example)(x)


def _summed(function, inputs):
    """The sum of a function's values over the first axis of its inputs."""
    if inputs.shape[0] == 1:
        return function(inputs[0])

    def add(totals, chosen):
        return [a + b for a, b in zip(totals, function(chosen), strict=True)], None

    return jax.lax.scan(add, function(inputs[0]), inputs[1:])[0]


def _full(places, a, b):
    """``(n1, n2, k, k)`` each."""
    grams = [_gram(x.reshape(-1, x.shape[2]), y) for x, y in _flat(a, b)]
    n1, n2, k = a[0].shape[0], b[0].shape[0], a[0].shape[1]
    totals = _totals(places, grams)
    return [t.reshape(n1, k, n2, k).transpose(0, 2, 1, 3) for t in totals]


def _flat(a, b):
    """Pairs, the second with examples and outputs in one axis."""
    return [(x, y.reshape(-1, y.shape[2])) for x, y in zip(a, b, strict=True)]


def _diagonal(places, a, b):
    """``(n1, n2, rows)`` each."""
    grams = [jnp.einsum("iap,jap->ija", x, y) for x, y in zip(a, b, strict=True)]
    return _totals(places, grams)


def _trace(places, a, b):
    """``(n1, n2)`` each: sums, not yet means."""
    grams = [
        _gram(x.reshape(x.shape[0], -1), y.reshape(y.shape[0], -1))
        for x, y in zip(a, b, strict=True)
    ]
    return _totals(places, grams)


def _gram(a, b):
    """``a b^T``."""
    return jnp.einsum("ip,jp->ij", a, b)


def _totals(places, grams):
    """The sum over each group."""
    return [reduce(jnp.add, [grams[i] for i in group]) for group in places]


def _length(x):
    """How many examples there are."""
    return jax.tree.leaves(x)[0].shape[0]


_CONTRACT = {"full": _full, "diagonal": _diagonal, "trace": _trace}
