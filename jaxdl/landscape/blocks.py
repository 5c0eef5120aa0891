"""Two sets of parameters as the blocks that coordinate descent needs, on the host."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jaxdl.landscape.symmetry import Axis, Group, Symmetry, leaf_names
from jaxdl.types import Params


class Units(NamedTuple):
    """Where the units of a group are: place j has unit ``order[j]`` times its sign."""

    order: np.ndarray  # (m,) integers; that of the leader in a group that follows
    signs: np.ndarray  # (m,) of the units where they were


State = dict[str, Units]


class Scores(NamedTuple):
    """What each pair of units is worth: ``even + sign * odd``, ``(m, m)`` each."""

    even: np.ndarray | float
    odd: np.ndarray | float


@dataclass
class Block:
    """A parameter seen from one of its axes: rows are units, columns all the rest."""

    axis: Axis
    odd: bool  # whether a sign of the unit changes the sign of its entries
    a: np.ndarray  # (m, rest)
    b: np.ndarray  # (rest, m)
    shape: tuple[int, ...]  # of the rest
    others: list[tuple[int, Axis]]  # axes of the rest on which groups act
    beside: list[Axis]  # other groups that multiply on the axis itself
    kept: tuple = field(default=(), repr=False)  # states and product made last


@dataclass(frozen=True)
class Problem:
    """What is matched."""

    symmetry: Symmetry
    groups: dict[str, Group]  # that permute or have signs
    leaves: dict[str, tuple[np.ndarray, np.ndarray]]  # all but statistics
    blocks: dict[str, list[Block]]  # of each group


def make_problem(symmetry: Symmetry, params_a: Params, params_b: Params) -> Problem:
    """Lay out all blocks.

    Args:
        symmetry: What is declared.
        params_a: Stay.
        params_b: Move.

    Returns:
        What the functions below take.
    """
    pairs = zip(
        leaf_names(params_a).items(), leaf_names(params_b).values(), strict=True
    )
    leaves = {
        name: (_host(a), _host(b))
        for (name, a), b in pairs
        if name not in symmetry.statistics
    }
    groups = {
        name: group
        for name, group in symmetry.by_name.items()
        if group.permutes or group.signs
    }
    blocks: dict[str, list[Block]] = {name: [] for name in groups}
    for axis in symmetry.axes:
        if axis.leaf in leaves and axis.group in groups:
            blocks[axis.group].append(_block(symmetry, groups, axis, leaves[axis.leaf]))
    return Problem(symmetry, groups, leaves, blocks)


def identity_state(problem: Problem) -> State:
    """All units where they are."""
    return {
        name: Units(np.arange(group.size), np.ones(group.size, np.float32))
        for name, group in problem.groups.items()
    }


def moved(problem: Problem, state: State, name: str, units: Units) -> State:
    """A state with the units of one group elsewhere, and of those that follow it."""
    state = state | {name: units}
    for other, group in problem.groups.items():
        if group.follows == name:
            state[other] = Units(units.order, state[other].signs)
    return state


def neighbours(problem: Problem, name: str) -> set[str]:
    """Groups that share a parameter with this one, perhaps itself on another axis."""
    return {
        axis.group
        for block in problem.blocks[name]
        for axis in (*(other for _, other in block.others), *block.beside)
    }


def scores(problem: Problem, name: str, state: State) -> Scores:
    """What pairs of units of a group are worth while all others stay.

    Args:
        problem: What is matched.
        name: Of the group.
        state: Where the others are, and the group itself on other axes.

    Returns:
        Sums of products of rows.
    """
    even: np.ndarray | float = 0.0
    odd: np.ndarray | float = 0.0
    for block in problem.blocks[name]:
        product = _product(problem, block, state)
        if block.odd:
            odd = odd + product
        else:
            even = even + product
    return Scores(even, odd)


def signature_scores(
    problem: Problem, name: str, state: State, matched: Iterable[str]
) -> Scores:
    """Pairs of units by what they have in common wherever the rest is.

    Along axes whose groups are matched, entries are compared one by one; along the
    others sorted, and without their signs where those are open.

    Args:
        problem: What is matched.
        name: Of the group.
        state: Where the matched groups are.
        matched: Their names.

    Returns:
        Sums of products of signatures.
    """
    even: np.ndarray | float = 0.0
    odd: np.ndarray | float = 0.0
    for block in problem.blocks[name]:
        unknown = [(i, o) for i, o in block.others if o.group not in matched]
        if not unknown:
            product = _product(problem, block, state)
            even, odd = (even, odd + product) if block.odd else (even + product, odd)
            continue
        a = block.a.reshape(-1, *block.shape)
        b = block.b.T.reshape(-1, *block.shape)
        for i, other in block.others:
            if other.group in matched:
                b = _move_axis(problem, b, other, 1 + i, state)
        blind = any(problem.groups[o.group].signs and o.power % 2 for _, o in unknown)
        blind = blind or any(axis.group not in matched for axis in block.beside)
        if blind:
            a, b = np.abs(a), np.abs(b)
        places = sorted({1 + i for i, _ in unknown})
        a, b = _sorted(a, places), _sorted(b, places)
        rows = a.reshape(len(a), -1)
        same = rows @ b.reshape(len(b), -1).T
        if block.odd and not blind:
            # A unit of the other sign has its entries in the reverse order.
            turned = rows @ -b[..., ::-1].reshape(len(b), -1).T
            even, odd = even + (same + turned) / 2, odd + (same - turned) / 2
        else:
            even = even + same
    return Scores(even, odd)


def own_value(problem: Problem, name: str, state: State) -> float:
    """The part of the objective that lies in the parameters of a group."""
    leaves = {block.axis.leaf for block in problem.blocks[name]}
    return sum(_value(problem, leaf, state) for leaf in leaves)


def objective(problem: Problem, state: State) -> float:
    """The sum of products of all parameters but statistics, in float64."""
    return sum(_value(problem, leaf, state) for leaf in problem.leaves)


def _value(problem, leaf, state):
    a, b = problem.leaves[leaf]
    for axis in problem.symmetry.axes_of(leaf):
        if axis.group in problem.groups:
            b = _move_axis(problem, b, axis, axis.axis, state)
    return float(np.vdot(a.astype(np.float64), b))


def _block(symmetry, groups, axis, leaf):
    m = groups[axis.group].size

    def split(array):
        front = np.moveaxis(array, axis.axis, 0)
        front = front.reshape(axis.outer, m, axis.inner, *front.shape[1:])
        return np.moveaxis(front, 1, 0)

    a, b = map(split, leaf)
    others, beside = [], []
    for other in symmetry.axes_of(axis.leaf):
        if other.group not in groups or other == axis:
            continue
        if other.axis != axis.axis:
            others.append((2 + other.axis - (other.axis > axis.axis), other))
        elif groups[other.group].signs and other.power % 2:
            beside.append(other)
    return Block(
        axis,
        odd=bool(groups[axis.group].signs and axis.power % 2),
        a=np.ascontiguousarray(a.reshape(m, -1)),
        b=np.ascontiguousarray(b.reshape(m, -1).T),
        shape=a.shape[1:],
        others=others,
        beside=beside,
    )


def _product(problem, block, state):
    """Products of rows with all else moved; kept until one of the others moves."""
    axes = [*(other for _, other in block.others), *block.beside]
    states = [state[axis.group] for axis in axes]
    if block.kept and all(x is y for x, y in zip(block.kept[0], states, strict=True)):
        return block.kept[1]
    columns = block.b
    if block.others:
        places = np.arange(math.prod(block.shape)).reshape(block.shape)
        factors = None
        for i, other in block.others:
            places = _permute_axis(problem, places, other, i, state)
            if problem.groups[other.group].signs and other.power % 2:
                signs = _signs_along(other, i, state, len(block.shape))
                factors = signs if factors is None else factors * signs
        columns = columns[places.reshape(-1)]
        if factors is not None:
            factors = np.broadcast_to(factors, block.shape).reshape(-1, 1)
            columns = columns * factors.astype(columns.dtype)
    product = block.a @ columns
    for axis in block.beside:
        product = product * state[axis.group].signs.astype(product.dtype)
    block.kept = (states, product)
    return product


def _move_axis(problem, array, axis, place, state):
    """An array with one axis moved."""
    array = _permute_axis(problem, array, axis, place, state)
    if problem.groups[axis.group].signs and axis.power % 2:
        signs = _signs_along(axis, place, state, array.ndim)
        array = array * signs.astype(array.dtype)
    return array


def _permute_axis(problem, array, axis, place, state):
    if not problem.groups[axis.group].permutes:
        return array
    order = state[axis.group].order
    if axis.inner != 1 or axis.outer != 1:
        length = axis.outer * len(order) * axis.inner
        entries = np.arange(length).reshape(axis.outer, len(order), axis.inner)
        order = entries[:, order].reshape(-1)
    return np.take(array, order, axis=place)


def _signs_along(axis, place, state, ndim):
    """Signs of the moved units, to multiply an array of so many axes."""
    order, signs = state[axis.group]
    along = np.tile(np.repeat(signs[order], axis.inner), axis.outer)
    return along.reshape(*[1] * place, -1, *[1] * (ndim - place - 1))


def _host(leaf):
    """In float64 what is, in float32 all else."""
    array = np.asarray(leaf)
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _sorted(array, places):
    """Some axes joined, last, and sorted."""
    ends = [*range(array.ndim - len(places), array.ndim)]
    front = np.moveaxis(array, places, ends)
    kept = front.shape[: array.ndim - len(places)]
    return np.sort(front.reshape(*kept, -1), axis=-1)
