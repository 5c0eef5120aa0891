"""Reading a function's equations: the one file that touches `jax.extend.core`.

`trace` gives the equations of a function, `evaluate` runs them again one by one and
lets the caller stand in for any of them. What JAX has changed between the supported
versions (closed and open jaxprs, how a scan counts its arguments) is settled here.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal

CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}


class Equations(NamedTuple):
    """A traced function: what it takes, does and gives."""

    jaxpr: Any  # open: invars, constvars, eqns, outvars
    consts: Sequence[Any]  # values of jaxpr.constvars


class Scan(NamedTuple):
    """A scan, taken apart; its arguments are constants, then carry, then rows."""

    body: Equations
    n_consts: int
    n_carry: int
    length: int
    reverse: bool


def trace(function: Callable[..., Any], *args: Any) -> Equations:
    """The equations of a function of arrays (or pytrees of arrays).

    Args:
        function: To be traced with `jax.make_jaxpr`.
        *args: Its arguments; arrays or ``jax.ShapeDtypeStruct``.

    Returns:
        Equations whose inputs are the leaves of ``args`` and whose outputs are the
        leaves of the result.
    """
    return closed(jax.make_jaxpr(function)(*args))


def closed(jaxpr: Any) -> Equations:
    """A jaxpr as found in the parameters of an equation, closed or not."""
    if hasattr(jaxpr, "jaxpr"):
        return Equations(jaxpr.jaxpr, jaxpr.consts)
    return Equations(jaxpr, ())


def evaluate(
    equations: Equations,
    args: Sequence[Any],
    perform: Callable[[Any, list[Any]], Sequence[Any]],
) -> list[Any]:
    """Run the equations in turn, each by ``perform``.

    Args:
        equations: What to run.
        args: One value for each input: arrays, or anything ``perform`` understands.
        perform: From an equation and the values of its inputs to those of its
            outputs; `bind` is what JAX itself would do.

    Returns:
        The values of the outputs.
    """
    jaxpr, consts = equations
    values: dict[Any, Any] = {}
    values.update(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))

    def read(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        outputs = perform(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def bind(equation: Any, values: Sequence[Any]) -> Sequence[Any]:
    """What JAX does for an equation, custom derivatives included."""
    primitive = equation.primitive
    with equation.ctx.manager:  # as it was traced: x64 mode and the like
        result = primitive.bind(*values, **primitive.get_bind_params(equation.params))
    return result if primitive.multiple_results else [result]


def callee(equation: Any) -> Equations | None:
    """The function that an equation merely calls: ``jit``, ``checkpoint``; or None.

    Functions with derivatives of their own are not among them.
    """
    name = CALLS.get(equation.primitive.name)
    return None if name is None else closed(equation.params[name])


def scan(equation: Any) -> Scan:
    """Take a scan apart.

    How many arguments are constants and how many are carried is read off the shapes:
    a row has one axis less inside the body than outside.
    """
    body = closed(equation.params["jaxpr"])
    n_carry = _alike(equation.outvars, body.jaxpr.outvars)
    n_fixed = _alike(equation.invars, body.jaxpr.invars)
    return Scan(
        body=body,
        n_consts=n_fixed - n_carry,
        n_carry=n_carry,
        length=equation.params["length"],
        reverse=equation.params["reverse"],
    )


def branches(equation: Any) -> list[Equations]:
    """The branches of a ``cond``; its first input says which is taken."""
    return [closed(branch) for branch in equation.params["branches"]]


def flops(equations: Equations) -> int:
    """Floating point operations of the matrix products and convolutions.

    A multiplication and an addition count as two. Both sides of a ``cond`` count as
    the dearer one, the body of a ``while`` as if it ran once.
    """
    return sum(_flops(equation) for equation in equations.jaxpr.eqns)


def _flops(equation: Any) -> int:
    name = equation.primitive.name
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        inner = math.prod(shape[axis] for axis in contracted)
        return 2 * inner * math.prod(equation.outvars[0].aval.shape)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        n_out = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        inner = math.prod(kernel) // n_out
        return 2 * inner * math.prod(equation.outvars[0].aval.shape)
    if name == "scan":
        return equation.params["length"] * flops(closed(equation.params["jaxpr"]))
    if name == "cond":
        return max(flops(branch) for branch in branches(equation))
    return sum(flops(inner) for inner in _inner(equation.params.values()))


def _inner(values: Iterable[Any]) -> list[Equations]:
    """The jaxprs among the parameters of an equation."""
    return [
        closed(value)
        for value in values
        if hasattr(value, "eqns") or hasattr(value, "jaxpr")
    ]


def _alike(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    """How many variables have as many axes outside a scan's body as inside."""
    pairs = zip(outside, inside, strict=True)
    return sum(a.aval.ndim == b.aval.ndim for a, b in pairs)
