"""What the structured method does with a function, parameter by parameter."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.diagnostics.leaves import leaf_names
from jaxdl.ntk import plan as plans
from jaxdl.ntk.blocks import length
from jaxdl.ntk.problem import pose
from jaxdl.ntk.uses import NATURAL
from jaxdl.types import Params


@dataclass(frozen=True)
class Service:
    """How one parameter, or a slice of it, is served."""

    name: str  # path in the tree of parameters
    shape: tuple[int, ...]
    uses: tuple[str, ...]  # the rule of each, with lengths for one example
    rule: str  # "factors", "gradients", "bias of ...", "own gradient" or "none"
    flops: float  # for all examples, passes through the function not counted
    fell_back: bool  # a matrix-like use without a rule
    reason: str  # why it has its own gradient; or ""


@dataclass(frozen=True)
class Explanation:
    """How a kernel is computed, and what each way of computing it costs.

    ``print`` it for a table.
    """

    services: tuple[Service, ...]
    n_outputs: int
    n_examples: int
    outputs: str
    flops: dict[str, float]  # by method, with the passes through the function
    method: str  # what "auto" takes

    def __str__(self) -> str:
        """A line for each parameter, and the costs."""
        header = ("parameter", "shape", "served by", "flops", "uses")
        rows = [
            (
                s.name,
                "x".join(map(str, s.shape)) or "()",
                s.rule + (" (fell back)" if s.fell_back else ""),
                f"{s.flops:.2g}",
                "; ".join(s.uses) or s.reason,
            )
            for s in self.services
        ]
        widths = [
            max(len(row[i]) for row in (header, *rows)) for i in range(len(header))
        ]
        lines = [
            "  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True))
            for row in (header, *rows)
        ]
        costs = ", ".join(f"{name} {n:.2g}" for name, n in self.flops.items())
        lines.append(
            f"{self.n_examples} examples with themselves, {self.n_outputs} outputs, "
            f"{self.outputs}; flops: {costs}; auto takes {self.method}"
        )
        return "\n".join(line.rstrip() for line in lines)


def explain(
    apply: Callable[[Params, Any], Any],
    params: Params,
    x: Any,
    *,
    outputs: str = "full",
    where: Any = None,
) -> Explanation:
    """Which rule serves each use of each parameter, at what cost, and what has none.

    Nothing is computed. "factors" multiplies inner products of what goes into a
    weight and of what comes back to it; "gradients" forms the gradient of each
    example; "own gradient" is what any parameter can have, and what scales and
    shifts are served by; "none" means that no output depends on it.

    Args:
        apply: ``apply(params, x)`` for ONE example, as in `empirical_ntk`.
        params: Pytree of arrays.
        x: ``(n, ...)``, or a pytree of such arrays; only shapes are used.
        outputs: ``"full"``, ``"diagonal"`` or ``"trace"``: the choice depends on it.
        where: None, or which parameters count.

    Returns:
        A table as data.

    Raises:
        ValueError: As in `empirical_ntk`.

    Examples:
        >>> import jax.numpy as jnp
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["w"] + params["b"]) * params["scale"]
        >>> params = {"w": jnp.ones((3, 4)), "b": jnp.ones(4), "scale": jnp.ones(4)}
        >>> for service in explain(apply, params, jnp.ones((5, 3))).services:
        ...     print(service.name, "-", service.rule)
        params['b'] - bias of params['w']
        params['scale'] - own gradient
        params['w'] - factors
    """  # noqa: DOC502 - the functions it calls raise it
    x = jax.tree.map(_shaped, x)
    problem = pose(apply, params, x, None, outputs, None, where)
    n = length(x)
    n_pairs = n * (n + 1) / 2
    example = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), x)
    how = plans.plan(
        problem.outputs_of, problem.leaves, [problem.selected], example,
        outputs=outputs, n_pairs=n_pairs, n_examples=n,
    )  # fmt: skip
    names = leaf_names(params)
    services = [
        service
        for leaf in problem.selected
        for service in _services(how, leaf, names, outputs, n_pairs, n)
    ]
    costs = plans.method_flops(how, outputs, n_pairs, n)
    return Explanation(
        tuple(services), how.n_outputs, n, outputs, costs, plans.cheapest(how, costs)
    )


def _shaped(leaf):
    """What JAX would make of an array, without its numbers."""
    dtype = jax.dtypes.canonicalize_dtype(jnp.result_type(leaf))
    return jax.ShapeDtypeStruct(jnp.shape(leaf), dtype)


def _services(how, leaf, names, outputs, n_pairs, n):
    """What there is to say of one leaf."""
    name, shape = names[leaf], tuple(how.shapes[leaf])
    if leaf in how.direct:
        products = how.n_outputs ** (2 if outputs == "full" else 1)
        reason = how.refused[leaf]
        natural = (
            len(shape) < 2 or reason == NATURAL or reason.startswith("it is added")
        )
        flops = 2.0 * n_pairs * products * how.sizes[leaf]
        return [Service(name, shape, (), "own gradient", flops, not natural, reason)]
    hosts = [weight for weight in how.weights if weight.bias == leaf]
    if hosts:
        return [
            Service(name, shape, (), f"bias of {names[hosts[0].leaf]}", 0, False, "")
        ]
    weights = [weight for weight in how.weights if weight.leaf == leaf]
    if not weights:
        return [Service(name, shape, (), "none", 0, False, "no output depends on it")]
    return [
        Service(
            name,
            shape,
            tuple(_described(how.uses[i]) for i in weight.uses),
            "factors" if weight.factored else "gradients",
            plans.weight_flops(
                weight, how.uses, how.n_outputs, weight.factored, outputs, n_pairs, n
            ),
            False,
            "",
        )
        for weight in weights
    ]


def _described(use):
    groups = f"{use.groups} x " if use.groups > 1 else ""
    return f"{use.rule} {groups}{use.rows} x {use.inputs} -> {use.outputs}"
