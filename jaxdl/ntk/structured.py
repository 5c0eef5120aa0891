"""Kernels from the structure of a function's equations, without its Jacobian."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.ntk import products
from jaxdl.ntk.blocks import in_blocks, in_columns, length
from jaxdl.ntk.contraction import Factored, Features, Part, contract, gradient
from jaxdl.ntk.plan import arguments, method_flops, plan
from jaxdl.ntk.plan import cheapest as cheapest_of
from jaxdl.ntk.rules import Hot
from jaxdl.ntk.symmetry import mirror
from jaxdl.ntk.tape import Tape
from jaxdl.ntk.uses import follow
from jaxdl.types import Array

EXAMPLES_BYTES = 2**26  # of the taps of the examples that are computed at a time
OUTPUTS_BYTES = 2**28  # of those of all examples, where the outputs can be in turn
BLOCK_BYTES = 2**31  # of the features of one block; beyond, they are found again
COLUMNS = 4  # parts of the second examples; features of one at a time are held
TILE_BYTES = 2**27  # of the intermediate results of a pair of tiles


def kernels(
    outputs_of: Callable[[list[Array], Any], Array],
    leaves: list[Array],
    groups: tuple[tuple[int, ...], ...],
    x1: Any,
    x2: Any | None,
    outputs: str,
) -> list[Array]:
    """One tangent kernel for each group of leaves.

    Args:
        outputs_of: From all leaves and one example to ``(k,)``.
        leaves: All leaves.
        groups: The leaves of each kernel; those in none are constants.
        x1: Pytree with n1 examples along the first axes.
        x2: One with n2; None for ``x1``, at half the work.
        outputs: ``"full"``, ``"diagonal"`` or ``"trace"`` (the mean over outputs).

    Returns:
        ``(n1, n2, k, k)``, ``(n1, n2, k)`` or ``(n1, n2)``, one for each group.
    """
    with jax.default_matmul_precision("highest"):
        n1 = length(x1)
        n2 = n1 if x2 is None else length(x2)
        how = _plan(outputs_of, leaves, groups, x1, x2, outputs)
        block_size = _examples_at_once(how, max(n1, n2), outputs)
        if block_size < max(n1, n2):
            again = partial(kernels, outputs_of, leaves, groups, outputs=outputs)
            return in_blocks(lambda a, b: again(a, b), x1, x2, block_size)
        dtype = jnp.result_type(*(leaves[i].dtype for group in groups for i in group))
        dtype = jnp.promote_types(dtype, jnp.float32)
        k = how.n_outputs

        def product(a, b):
            pairs = zip(a, a if b is None else b, strict=True)
            found = [contract(u, v, outputs) for u, v in pairs]
            return [mirror(kernel) for kernel in found] if b is None else found

        tile = partial(_tile, how, n1, n2, outputs=outputs, dtype=dtype)

        def block(basis):
            features = partial(_features, how, leaves, groups)
            a = features(x1, basis, dtype)
            k = len(basis)
            if x2 is None:
                return in_blocks(product, a, None, tile(k, symmetric=True))

            def columns(x2):
                b = features(x2, basis, dtype)
                return in_blocks(product, a, b, tile(k, symmetric=False))

            return in_columns(columns, x2, max(1, math.ceil(n2 / COLUMNS)))

        basis = jnp.eye(k, dtype=how.equations.jaxpr.outvars[0].aval.dtype)
        chunk = _outputs_at_once(how, max(n1, n2), outputs)
        result = _over_outputs(block, basis, chunk, outputs)
        if outputs == "trace":
            return [kernel / k for kernel in result]
        return result


def cheapest(
    outputs_of: Callable[[list[Array], Any], Array],
    leaves: list[Array],
    groups: tuple[tuple[int, ...], ...],
    x1: Any,
    x2: Any | None,
    outputs: str,
) -> list[Array]:
    """What `kernels` gives, by products where these cost far less.

    Args:
        outputs_of: As in `kernels`, as all that follows.
        leaves: All leaves.
        groups: The leaves of each kernel.
        x1: Pytree with n1 examples along the first axes.
        x2: One with n2, or None.
        outputs: ``"full"``, ``"diagonal"`` or ``"trace"``.

    Returns:
        One kernel for each group.
    """
    n_pairs, n_examples = _numbers(x1, x2)
    how = _plan(outputs_of, leaves, groups, x1, x2, outputs)
    flops = method_flops(how, outputs, n_pairs, n_examples)
    way = products.kernels if cheapest_of(how, flops) == "products" else kernels
    return way(outputs_of, leaves, groups, x1, x2, outputs)


def _plan(outputs_of, leaves, groups, x1, x2, outputs):
    n_pairs, n_examples = _numbers(x1, x2)
    example = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), x1
    )
    return plan(
        outputs_of, leaves, groups, example,
        outputs=outputs, n_pairs=n_pairs, n_examples=n_examples,
    )  # fmt: skip


def _numbers(x1, x2):
    """How many pairs there are, and how many examples."""
    n1 = length(x1)
    if x2 is None:
        return n1 * (n1 + 1) / 2, n1
    return n1 * length(x2), n1 + length(x2)


def _features(how, leaves, groups, x, basis, dtype):
    """Features of all examples, one for each group."""
    taps = [
        jnp.zeros((use.groups, use.rows, use.outputs), use.dtype) for use in how.uses
    ]
    direct = [jnp.zeros_like(leaves[i]) for i in how.direct]
    followed = {weight.leaf for weight in how.weights}
    followed |= {weight.bias for weight in how.weights if weight.bias is not None}

    def one(x):
        def tapped(taps, direct):
            values = list(leaves)
            for i, tap in zip(how.direct, direct, strict=True):
                values[i] = values[i] + tap
            tape = Tape(taps)
            (y,) = follow(how.equations, arguments(values, x, followed), tape)
            return y, tape.factors

        _, pull, factors = jax.vjp(tapped, taps, direct, has_aux=True)
        duals, gradients = jax.vmap(pull)(basis)
        gradients = dict(zip(how.direct, gradients, strict=True))
        return [
            _group(how, set(group), len(basis), factors, duals, gradients, dtype)
            for group in groups
        ]

    n = length(x)
    sizes = sum(tap.size for tap in taps) + sum(a.size for a in direct)
    at_once = max(1, EXAMPLES_BYTES // (4 * basis.shape[0] * max(sizes, 1)))
    if at_once >= n:
        return jax.vmap(one)(x)
    return lax.map(one, x, batch_size=at_once)


def _group(how, group, k, factors, duals, gradients, dtype):
    """Features of one example for one group of leaves."""
    flat = [
        gradients[leaf].reshape(k, -1).astype(dtype)
        for leaf in how.direct
        if leaf in group
    ]
    flat = [jnp.concatenate(flat, axis=1)] if flat else []
    factored = []
    for weight in how.weights:
        if weight.leaf not in group:
            continue
        mine = _parts(weight, factors, duals, dtype)
        if weight.factored:
            factored.append(mine)
        else:
            flat.append(_summed(weight, mine).reshape(k, -1))
    if not flat and not factored:  # nothing depends on these leaves
        flat = [jnp.zeros((k, 1), dtype)]
    return Features(flat, factored)


def _parts(weight, factors, duals, dtype):
    """The uses of a weight, those laid out alike joined along their rows."""
    kinds: dict[tuple[bool, bool], list[int]] = {}
    for i, swapped in zip(weight.uses, weight.swapped, strict=True):
        kinds.setdefault((swapped, isinstance(factors[i], Hot)), []).append(i)
    result = Factored([], [])
    for (swapped, _), uses in kinds.items():
        h = jax.tree.map(lambda *a: jnp.concatenate(a, 1), *(factors[i] for i in uses))
        if isinstance(h, Hot):
            h = h._replace(weight=h.weight.astype(dtype))
        else:
            h = h.astype(dtype)
        dy = jnp.concatenate([duals[i] for i in uses], axis=2).astype(dtype)
        (result.swapped if swapped else result.straight).append(Part(h, dy))
    return result


def _summed(weight, parts):
    """The gradient of a weight, ``(k, groups, outputs, inputs)``."""
    _, inputs, width = weight.shape
    terms = [gradient(part, inputs) for part in parts.straight]
    terms += [gradient(part, width).swapaxes(2, 3) for part in parts.swapped]
    return sum(terms[1:], start=terms[0])


def _tile(how, n1, n2, k, *, symmetric, outputs, dtype):
    """Examples of one side at a time, for intermediate results of bounded size."""
    width = k * k if outputs == "full" else k if outputs == "diagonal" else 1
    size = width
    for weight in how.weights:
        if weight.factored:
            n = sum(how.uses[i].rows for i in weight.uses)
            crossed = (
                len(set(weight.swapped)) > 1
            )  # then k is there before it is summed
            size = max(size, weight.shape[0] * n * n * max(width, k if crossed else 1))
    bytes_ = size * jnp.dtype(dtype).itemsize * 2
    tile = max(1, int(math.sqrt(TILE_BYTES / bytes_)))
    if symmetric:
        # Diagonal tiles are computed whole: with m tiles a side, (m + 1) / 2 m.
        tile = min(tile, max(32, math.ceil(n1 / 4)))
    return min(tile, max(n1, n2))


def _held(how):
    """Numbers kept of each example: for each output, and once."""
    sizes = how.sizes
    each = sum(sizes[leaf] for leaf in how.direct)
    once = 0
    for weight in how.weights:
        if not weight.factored:
            each += math.prod(weight.shape)
            continue
        for use in (how.uses[i] for i in weight.uses):
            each += use.groups * use.rows * use.outputs
            once += sum(a.size for a in jax.tree.leaves(use.factor))
    return each, once


def _outputs_at_once(how, n, outputs):
    """So many that the features of all examples have a bounded size."""
    if outputs == "full":
        return how.n_outputs
    each, _ = _held(how)
    return max(1, min(how.n_outputs, OUTPUTS_BYTES // (4 * n * max(each, 1))))


def _examples_at_once(how, n, outputs):
    """So many that a block's features have a bounded size."""
    each, once = _held(how)
    k = _outputs_at_once(how, n, outputs)
    return max(1, BLOCK_BYTES // (4 * (k * each + once + 1)))


def _over_outputs(block, basis, chunk, outputs):
    """Kernels from those of a part of the outputs at a time."""
    k = basis.shape[0]
    if chunk >= k:
        return block(basis)
    chunks = math.ceil(k / chunk)
    padded = jnp.pad(basis, [(0, chunks * chunk - k), (0, 0)])
    padded = padded.reshape(chunks, chunk, k)
    if outputs == "trace":
        shapes = jax.eval_shape(block, padded[0])
        empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        def step(total, part):
            return jax.tree.map(jnp.add, total, block(part)), None

        return lax.scan(step, empty, padded)[0]
    stacked = lax.map(block, padded)  # (chunks, n1, n2, chunk)

    def join(kernel):
        kernel = jnp.moveaxis(kernel, 0, 2)
        return kernel.reshape(*kernel.shape[:2], -1)[:, :, :k]

    return jax.tree.map(join, stacked)
