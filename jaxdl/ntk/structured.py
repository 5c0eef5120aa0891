"""Kernels from the structure of a function's equations, without its Jacobian.

`plan` finds where the parameters meet data and decides, for each weight, what is
cheapest by counted operations. A leaf without a rule is served by its own gradients;
for biases and scales, that is the rule.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdl import jaxpr
from jaxdl.ntk.contraction import (
    Factored,
    Features,
    Part,
    contract,
    gradient,
    pairwise,
)
from jaxdl.ntk.rules import Hot
from jaxdl.ntk.uses import Tape, Use, follow, whole
from jaxdl.types import Array

FEATURE_BYTES = 2**26  # of the examples whose features are computed at a time
TILE_BYTES = 2**27  # of the intermediate results of one tile


class Weight(NamedTuple):
    """Uses of one weight, all or a slice of a leaf, that are summed up."""

    leaf: int
    uses: list[int]  # numbers in the plan
    swapped: list[bool]  # laid out with inputs and outputs exchanged
    shape: tuple[int, int, int]  # groups, inputs, outputs of those not swapped
    factored: bool  # products of factors, or gradients
    bias: int | None = None  # the leaf that is added to its outputs


class Plan(NamedTuple):
    """How the kernel of a function is computed."""

    equations: jaxpr.Equations
    uses: list[Use]
    weights: list[Weight]
    direct: list[int]  # leaves served by their own gradients
    refused: dict[int, str]  # for each of these, why
    n_outputs: int


def plan(
    outputs_of: Callable[[list[Array], Any], Array],
    leaves: Sequence[Any],
    groups: Sequence[Sequence[int]],
    x: Any,
    *,
    outputs: str,
    n_pairs: float,
    n_examples: float,
) -> Plan:
    """Choose how each leaf is served.

    Args:
        outputs_of: From all leaves and one example to ``(k,)``.
        leaves: All leaves, or their shapes and dtypes.
        groups: As for `kernels`.
        x: One example, or its shapes and dtypes.
        outputs: As for `kernels`.
        n_pairs: Pairs of examples.
        n_examples: Examples, those of both sides.

    Returns:
        A plan.
    """
    equations = jaxpr.trace(outputs_of, list(leaves), x)
    (result,) = equations.jaxpr.outvars
    k = result.aval.shape[0]
    selected = [leaf for group in groups for leaf in group]
    refused: dict[int, str] = {}
    while True:
        followed = [leaf for leaf in selected if leaf not in refused]
        tape = Tape()
        jax.eval_shape(
            lambda values, x, t=tape, f=followed: follow(
                equations, _arguments(values, x, f), t
            ),
            list(leaves),
            x,
        )
        found, weights = tape.refused, []
        for leaf in followed:
            uses = [i for i, use in enumerate(tape.uses) if use.leaf == leaf]
            try:
                weights += _weights(leaf, uses, tape.uses, np.shape(leaves[leaf]))
            except _OverlapError:
                found.setdefault(leaf, "it is used in slices that overlap in part")
        found |= _loose_biases(tape.uses, weights, groups)
        if not found:
            break
        refused |= found
    costs = [
        {
            factored: weight_flops(
                weight, tape.uses, k, factored, outputs, n_pairs, n_examples
            )
            for factored in (True, False)
        }
        for weight in weights
    ]
    weights = [
        weight._replace(factored=cost[True] <= cost[False])
        for weight, cost in zip(weights, costs, strict=True)
    ]
    direct = [leaf for leaf in selected if leaf in refused]
    return Plan(equations, tape.uses, weights, direct, refused, k)


def weight_flops(
    weight: Weight,
    uses: Sequence[Use],
    k: int,
    factored: bool,
    outputs: str,
    n_pairs: float,
    n_examples: float,
) -> float:
    """Operations for the kernel of one weight, its factors being there.

    Args:
        weight: The weight.
        uses: All uses of the plan.
        k: Outputs.
        factored: By products of factors, or by gradients.
        outputs: As for `kernels`.
        n_pairs: Pairs of examples.
        n_examples: Examples, those of both sides.

    Returns:
        Their number; a multiplication and an addition are two.
    """
    groups, inputs, width = weight.shape
    inputs += weight.bias is not None
    products = k * k if outputs == "full" else k
    if not factored:
        rows = sum(uses[i].rows for i in weight.uses if uses[i].rule != "lookup")
        size = groups * inputs * width
        return 2.0 * size * (n_examples * k * rows + n_pairs * products)
    total = 0.0
    for i in weight.uses:
        for j in weight.uses:
            pairs = groups * uses[i].rows * uses[j].rows
            hot = uses[i].rule == "lookup" or uses[j].rule == "lookup"
            h = 1 if hot else 2 * inputs
            total += pairs * (h + products * (2 * width + 2))
    return n_pairs * total


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
        n1 = jax.tree.leaves(x1)[0].shape[0]
        n2 = n1 if x2 is None else jax.tree.leaves(x2)[0].shape[0]
        example = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), x1
        )
        how = plan(
            outputs_of, leaves, groups, example,
            outputs=outputs,
            n_pairs=n1 * (n1 + 1) / 2 if x2 is None else n1 * n2,
            n_examples=n1 if x2 is None else n1 + n2,
        )  # fmt: skip
        dtype = jnp.result_type(*(leaves[i].dtype for group in groups for i in group))
        k = how.n_outputs

        def block(basis):
            a = _features(how, leaves, groups, x1, basis, dtype)
            b = None if x2 is None else _features(how, leaves, groups, x2, basis, dtype)
            return pairwise(
                lambda p, q: [
                    contract(u, v, outputs) for u, v in zip(p, q, strict=True)
                ],
                a, b, _tile(how, n1, n2, basis.shape[0], x2 is None, outputs, dtype),
            )  # fmt: skip

        basis = jnp.eye(k, dtype=how.equations.jaxpr.outvars[0].aval.dtype)
        chunk = _chunk(how, leaves, max(n1, n2), outputs, dtype)
        result = _over_outputs(block, basis, chunk, outputs)
        if outputs == "trace":
            return [kernel / k for kernel in result]
        return result


class _OverlapError(Exception):
    """Two uses share some entries of a leaf in a way that has no rule."""


def _arguments(leaves, x, followed):
    chosen = set(followed)
    values = [whole(a, i) if i in chosen else a for i, a in enumerate(leaves)]
    return [*values, *jax.tree.leaves(x)]


def _weights(leaf, numbers, uses, shape):
    """The uses of one leaf, sorted into weights that share no entry."""
    if len(numbers) == 1:
        use = uses[numbers[0]]
        size = (use.groups, use.inputs, use.outputs)
        bias = None if use.bias is None else use.bias.leaf
        return [Weight(leaf, numbers, [False], size, True, bias)]
    entries = np.arange(math.prod(shape)).reshape(shape)
    sorted_: list[tuple[np.ndarray, Weight]] = []
    for i in numbers:
        mine = uses[i].view(entries)
        for theirs, weight in sorted_:
            if np.array_equal(mine, theirs):
                weight.uses.append(i)
                weight.swapped.append(False)
                break
            if np.array_equal(mine.swapaxes(1, 2), theirs):
                weight.uses.append(i)
                weight.swapped.append(True)
                break
            if np.intersect1d(mine, theirs).size:
                raise _OverlapError
        else:
            sorted_.append((mine, Weight(leaf, [i], [False], mine.shape, True)))
    return [weight for _, weight in sorted_]


def _loose_biases(uses, weights, groups):
    """Biases that do not go with one weight in all their uses, and why."""
    loose, owner = {}, {}
    group_of = {leaf: i for i, group in enumerate(groups) for leaf in group}
    for number, weight in enumerate(weights):
        biases = [uses[i].bias for i in weight.uses]
        for bias in biases:
            if bias is None:
                continue
            if owner.setdefault(bias.leaf, number) != number:
                loose[bias.leaf] = "it is added to the outputs of two weights"
            elif len(biases) > 1 or group_of[bias.leaf] != group_of[weight.leaf]:
                loose[bias.leaf] = "its weight has other uses, or counts elsewhere"
            elif any(use.leaf == bias.leaf for use in uses):
                loose[bias.leaf] = "it has other uses"
    return loose


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
            (y,) = follow(how.equations, _arguments(values, x, followed), tape)
            return y, tape.factors

        _, pull, factors = jax.vjp(tapped, taps, direct, has_aux=True)
        duals, gradients = jax.vmap(pull)(basis)
        gradients = dict(zip(how.direct, gradients, strict=True))
        return [
            _group(how, set(group), factors, duals, gradients, dtype)
            for group in groups
        ]

    n = jax.tree.leaves(x)[0].shape[0]
    sizes = sum(tap.size for tap in taps) + sum(a.size for a in direct)
    at_once = max(1, FEATURE_BYTES // (4 * basis.shape[0] * max(sizes, 1)))
    if at_once >= n:
        return jax.vmap(one)(x)
    return lax.map(one, x, batch_size=at_once)


def _group(how, group, factors, duals, gradients, dtype):
    """Features of one example for one group of leaves."""
    k = jax.tree.leaves((duals, list(gradients.values())))[0].shape[0]
    flat = [
        gradients[leaf].reshape(k, -1).astype(dtype)
        for leaf in how.direct
        if leaf in group
    ]
    factored = []
    for weight in how.weights:
        if weight.leaf not in group:
            continue
        mine = _parts(how, weight, factors, duals, dtype)
        if weight.factored:
            factored.append(mine)
        else:
            flat.append(_summed(weight, mine).reshape(k, -1))
    return Features(jnp.concatenate(flat, axis=1) if flat else None, factored)


def _parts(how, weight, factors, duals, dtype):
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
    """The gradient of a weight, ``(k, groups, inputs, outputs)``."""
    _, inputs, width = weight.shape
    terms = [gradient(part, inputs) for part in parts.straight]
    terms += [gradient(part, width).swapaxes(2, 3) for part in parts.swapped]
    return sum(terms[1:], start=terms[0])


def _tile(how, n1, n2, k, symmetric, outputs, dtype):
    """Examples of one side at a time, for intermediate results of bounded size."""
    width = k * k if outputs == "full" else k if outputs == "diagonal" else 1
    rows = 1
    for weight in how.weights:
        if weight.factored:
            n = sum(how.uses[i].rows for i in weight.uses)
            rows = max(rows, weight.shape[0] * n * n)
    bytes_ = rows * width * jnp.dtype(dtype).itemsize * 2
    tile = max(1, int(math.sqrt(TILE_BYTES / bytes_)))
    if symmetric:
        # Diagonal tiles are computed whole: with m tiles a side, (m + 1) / 2 m.
        tile = min(tile, max(32, math.ceil(n1 / 4)))
    return min(tile, max(n1, n2))


def _chunk(how, leaves, n, outputs, dtype):
    """Outputs at a time, so that features of all examples have a bounded size."""
    del leaves, dtype
    if outputs == "full":
        return how.n_outputs
    sizes = sum(use.groups * use.rows * use.outputs for use in how.uses)
    return max(1, min(how.n_outputs, 2**28 // (4 * n * max(sizes, 1))))


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
