"""What is noted on the way of parameters through a function: weights, uses, taps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl.ntk import rules
from jaxdl.types import Array

View = Callable[[np.ndarray], np.ndarray]


class Use(NamedTuple):
    """One use of one parameter; lengths are those of one example.

    With a bias, h has one more input, which is constant: W and b are one weight.
    """

    leaf: int
    rule: str
    groups: int
    rows: int
    inputs: int
    outputs: int
    view: View  # like the leaf -> (groups, inputs, outputs); moves entries only
    factor: Any  # shapes and dtypes of h, of (groups, rows, ...)
    dtype: Any  # of the tap, which is (groups, rows, outputs)
    bias: int | None = None  # a leaf added to each row of the output


@dataclass(frozen=True)
class Weight:
    """A value that is a rearranged part of one leaf, times a number."""

    value: Array
    leaf: int
    view: View
    scale: Array | None = None


@dataclass
class Sum:
    """A value that has the gradient of a use's output, if all are read only once."""

    value: Array
    use: int  # its number on the tape
    form: rules.Form
    before: "Sum | None" = None
    reads: int = 0
    bias: int | None = None  # the leaf added to it

    def read_once(self) -> bool:
        """If this and all before are read by one equation each."""
        return self.reads == 1 and (self.before is None or self.before.read_once())


@dataclass
class Tape:
    """What is found on the way; with ``taps``, what is added on the way."""

    taps: list[Array] | None = None  # one for each use, in the order of uses
    uses: list[Use] = field(default_factory=list)
    factors: list[Any] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)  # leaf -> why
    sums: dict[int, "Sum"] = field(default_factory=dict)  # by the id of their value

    def refuse(self, weight: Weight, reason: str) -> None:
        """Note that a leaf has a use without a rule."""
        self.refused.setdefault(weight.leaf, reason)

    def read(self, values: Sequence[Any]) -> None:
        """Count who reads the sums."""
        for value in values:
            if id(value) in self.sums:
                self.sums[id(value)].reads += 1

    def record(self, use: Use, factor: Any) -> Array | None:
        """Keep a use; returns its tap, if there are taps."""
        self.uses.append(use._replace(factor=shapes_of(factor)))
        self.factors.append(factor)
        return None if self.taps is None else self.taps[len(self.uses) - 1]


def whole(value: Array, leaf: int) -> Weight:
    """A leaf as it is."""
    return Weight(value, leaf, lambda entries: entries)


def plain(value: Any, tape: Tape, reason: str) -> Any:
    """The array of a value that cannot be followed further; ``reason`` is noted."""
    if isinstance(value, Weight):
        tape.refuse(value, reason)
        return value.value
    return value


def value_of(value: Any) -> Any:
    """The array of a value, followed or not."""
    return value.value if isinstance(value, Weight) else value


def shapes_of(factor: Any) -> Any:
    """Shapes and dtypes of a factor."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), factor)


def then(first: View, second: View) -> View:
    """One view after another."""
    return lambda entries: second(first(entries))
