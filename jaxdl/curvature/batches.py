"""Operators that belong to a model's parameters and a batch of examples."""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl.curvature.operators import LinearOperator, Rule, not_a_space, on_space_of
from jaxdl.types import Params


class BatchRule(Protocol):
    """A hashable rule whose matrix is a mean over the examples of a batch."""

    def linearize(self, params: Params, batch: Any) -> Any:
        """The data of the operator: all that does not depend on the vector."""
        ...

    def product(self, data: Any, vector: Params) -> Params:
        """As in `Rule`."""
        ...

    def form(self, data: Any, vector: Params) -> jax.Array:
        """As in `Rule`."""
        ...


def misfit(params: Params, batch: Any, chunk_size: int | None) -> str:
    """What to say of parameters or a batch that make no operator.

    Args:
        params: Parameters.
        batch: With ``chunk_size``, a pytree of arrays with the examples first.
        chunk_size: Examples at a time.

    Returns:
        A message; empty where all is well.
    """
    if message := not_a_space(params=params):
        return message
    if chunk_size is None:
        return ""
    if not isinstance(chunk_size, int) or chunk_size < 1:
        return f"chunk_size must be a positive integer, got {chunk_size!r}"
    return not_examples(batch)


def not_examples(batch: Any) -> str:
    """What to say of a batch without one number of examples along the first axis.

    Args:
        batch: The batch.

    Returns:
        A message; empty where all is well.
    """
    lengths = _lengths(batch)
    if len(lengths) == 1 and not lengths & {(), (0,)}:
        return ""
    return (
        "batch must hold arrays with the same number of examples, at least one, "
        f"along their first axis; got lengths {sorted(lengths)}"
    )


def batch_operator(
    rule: Any, params: Params, batch: Any, chunk_size: int | None
) -> LinearOperator:
    """The operator that a rule makes of parameters and a batch.

    Args:
        rule: A `Rule` that is a `BatchRule`.
        params: Parameters.
        batch: What the rule takes.
        chunk_size: Examples at a time; None for all at once, linearized here.

    Returns:
        The operator.
    """
    params = jax.tree.map(jnp.asarray, params)
    if chunk_size is None:
        data = linearized(rule, params, batch)
        return on_space_of(params, data, rule)
    ((n,),) = _lengths(batch)
    return on_space_of(params, (params, batch), _Chunks(rule, n, chunk_size))


# What it returns is a pytree whose code is that of the cached trace, so the programs
# compiled for one linearization serve the next at the same shapes.
@jax.jit(static_argnums=0)
def linearized(rule: BatchRule, params: Params, batch: Any) -> Any:
    """The data of an operator, computed in full precision.

    Args:
        rule: The rule.
        params: Parameters.
        batch: What the rule takes.

    Returns:
        Pytree of arrays and code.
    """
    with jax.default_matmul_precision("highest"):
        return rule.linearize(params, batch)


@dataclass(frozen=True)
class _Chunks(Rule):
    """The mean over chunks of a batch; the data are the parameters and the batch."""

    rule: BatchRule
    n: int
    chunk_size: int

    def product(self, data, vector):
        zero = tree.zeros_like(vector)
        return self._mean(data, lambda chunk: self.rule.product(chunk, vector), zero)

    def form(self, data, vector):
        zero = jnp.zeros((), jnp.result_type(*jax.tree.leaves(vector)))
        return self._mean(data, lambda chunk: self.rule.form(chunk, vector), zero)

    def _mean(self, data, value, total):
        """The mean of a value of the chunks, each counted by its length."""
        params, batch = data
        whole, rest = divmod(self.n, self.chunk_size)

        def accumulate(total, start, length):
            def cut(x):
                return jax.lax.dynamic_slice_in_dim(x, start, length)

            chunk = linearized(self.rule, params, jax.tree.map(cut, batch))
            return tree.add_scaled(total, length / self.n, value(chunk))

        def whole_chunk(total, number):
            start = number * self.chunk_size
            return accumulate(total, start, self.chunk_size), None

        if whole:
            numbers = jnp.arange(whole, dtype=jnp.int32)
            total, _ = jax.lax.scan(whole_chunk, total, numbers)
        return accumulate(total, self.n - rest, rest) if rest else total


def _lengths(batch):
    """The lengths of the first axes."""
    return {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}
