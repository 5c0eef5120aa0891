"""Choosing, for each weight of a function, the cheapest way to its kernel.

`plan` finds where the parameters meet data, sorts these uses into weights, and counts
operations. A leaf without a rule is served by its own gradients; for scales, and for
biases that are not added to a weight's output, there is nothing better.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl import jaxpr
from jaxdl.ntk.tape import Tape, Use, whole
from jaxdl.ntk.uses import follow
from jaxdl.types import Array

PRODUCTS_MARGIN = 8  # how much slower an operation of a product is


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
    shapes: list[tuple[int, ...]]  # of all leaves

    @property
    def sizes(self) -> list[int]:
        """Entries of each leaf."""
        return [math.prod(shape) for shape in self.shapes]


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
                equations, arguments(values, x, f), t
            ),
            list(leaves),
            x,
        )
        found, weights = tape.refused, []
        for leaf in followed:
            uses = [i for i, use in enumerate(tape.uses) if use.leaf == leaf]
            sorted_ = _weights(leaf, uses, tape.uses, np.shape(leaves[leaf]))
            if sorted_ is None:
                found.setdefault(leaf, "it is used in slices that overlap in part")
            else:
                weights += sorted_
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
    shapes = [np.shape(leaf) for leaf in leaves]
    return Plan(equations, tape.uses, weights, direct, refused, k, shapes)


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


def method_flops(
    how: Plan, outputs: str, n_pairs: float, n_examples: float
) -> dict[str, float]:
    """Operations of each method, of the matrix products and convolutions in it.

    A pass back through the function, one for each output, is counted like a pass
    forward, and so is a derivative along a direction, twice.

    Args:
        how: The plan.
        outputs: As for `plan`.
        n_pairs: Pairs of examples.
        n_examples: Examples, those of both sides.

    Returns:
        Their number by the name of the method; a multiplication and an addition are
        two.
    """
    k, once = how.n_outputs, jaxpr.flops(how.equations)
    products = k * k if outputs == "full" else k
    served = [*how.direct]
    structured = n_examples * (k + 1) * once + sum(
        weight_flops(weight, how.uses, k, weight.factored, outputs, n_pairs, n_examples)
        for weight in how.weights
    )
    structured += 2.0 * n_pairs * products * sum(how.sizes[leaf] for leaf in served)
    for weight in how.weights:
        served += [weight.leaf] if weight.bias is None else [weight.leaf, weight.bias]
    size = sum(how.sizes[leaf] for leaf in set(served))
    return {
        "structured": float(structured),
        "jacobian": n_examples * (2 * k + 1) * once + 2.0 * n_pairs * products * size,
        "products": n_examples * (k + 1) * once + 3.0 * n_pairs * k * once,
    }


def cheapest(how: Plan, flops: dict[str, float]) -> str:
    """What ``"auto"`` takes.

    Products, which work at vectors and not at matrices, must be far cheaper; and they
    differentiate forward, which a function with a ``custom_vjp`` does not allow.

    Args:
        how: The plan.
        flops: Of `method_flops`.

    Returns:
        ``"structured"`` or ``"products"``.
    """
    forward = "custom_vjp_call" not in jaxpr.primitives(how.equations)
    far = PRODUCTS_MARGIN * flops["products"] < flops["structured"]
    return "products" if far and forward else "structured"


def arguments(leaves: Sequence[Any], x: Any, followed: Collection[int]) -> list[Any]:
    """What `follow` takes.

    Args:
        leaves: All leaves.
        x: One example.
        followed: Numbers of the leaves to be followed.

    Returns:
        A value for each input of the equations.
    """
    values = [whole(a, i) if i in followed else a for i, a in enumerate(leaves)]
    return [*values, *jax.tree.leaves(x)]


def _weights(leaf, numbers, uses, shape):
    """The uses of one leaf, sorted into weights that share no entry, if they can be."""
    if len(numbers) == 1:
        use = uses[numbers[0]]
        size = (use.groups, use.inputs, use.outputs)
        return [Weight(leaf, numbers, [False], size, True, use.bias)]
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
                return None
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
            if owner.setdefault(bias, number) != number:
                loose[bias] = "it is added to the outputs of two weights"
            elif len(biases) > 1 or group_of[bias] != group_of[weight.leaf]:
                loose[bias] = "it is added to what has other uses, or counts apart"
            elif any(use.leaf == bias for use in uses):
                loose[bias] = "it has other uses"
    return loose
