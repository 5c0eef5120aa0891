"""Units that match best: coordinate descent, and the search of all states."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdl.landscape import blocks
from jaxdl.landscape.assignment import assign, signed
from jaxdl.landscape.blocks import Problem, Scores, State, Units
from jaxdl.landscape.elements import Element, Move
from jaxdl.landscape.symmetry import Group, Symmetry


def descend(
    problem: Problem, state: State, order: Sequence[str], max_sweeps: int
) -> tuple[State, int, bool]:
    """Solve one group after the other until no assignment changes.

    Args:
        problem: What is matched.
        state: Where to start.
        order: The groups, in the order to solve them.
        max_sweeps: Most rounds.

    Returns:
        Where it ends, the rounds taken, and whether the last one changed nothing.
    """
    around = {name: blocks.neighbours(problem, name) for name in order}
    stale = {*order}  # groups whose neighbours have moved since they were solved
    for sweep in range(1, max_sweeps + 1):
        for name in order:
            if name not in stale:
                continue
            stale.discard(name)
            better = _step(problem, name, state)
            if better is not None:
                state = better
                followers = {n for n, g in problem.groups.items() if g.follows == name}
                touched = {name} | followers
                stale |= {n for n in order if around[n] & touched} | followers
        if not stale:
            return state, sweep, True
    return state, max_sweeps, False


def _step(problem: Problem, name: str, state: State) -> State | None:
    """The state with the best assignment of one group, or None if it is no better."""
    group, old = problem.groups[name], state[name]
    now = blocks.scores(problem, name, state)
    units = best_units(group, now, old.order)
    new = blocks.moved(problem, state, name, units)
    if name in blocks.neighbours(problem, name):
        # The group is on two axes at once: what was solved is linear, not exact.
        value, before = (blocks.own_value(problem, name, s) for s in (new, state))
    else:
        value, before = (_worth(now, u) for u in (units, old))
    margin = 1e-6 if any(b.a.dtype == np.float32 for b in problem.blocks[name]) else 0
    margin = max(margin, 1e-13) * (abs(value) + abs(before))
    return new if value > before + margin else None


def best_units(group: Group, known: Scores, order: np.ndarray | None) -> Units:
    """The units of a group with the largest score.

    Args:
        group: What its units may do.
        known: Scores of all pairs.
        order: Where the units of a group are that cannot permute; None for in place.

    Returns:
        Order and signs.
    """
    shape = (group.size, group.size)
    total = np.broadcast_to(signed(known.even, known.odd), shape)
    if group.permutes or order is None:
        order = assign(total) if group.permutes else np.arange(group.size)
    signs = np.ones(group.size, np.float32)
    if group.signs:
        odd = np.broadcast_to(known.odd, shape)[np.arange(group.size), order]
        signs[order] = np.where(odd < 0, -1, 1)
    return Units(order, signs)


def _worth(known: Scores, units: Units) -> float:
    """The score of given units."""
    rows = np.arange(len(units.order))
    total = 0.0
    if isinstance(known.even, np.ndarray):
        total += np.sum(known.even[rows, units.order], dtype=np.float64)
    if isinstance(known.odd, np.ndarray):
        pairs = known.odd[rows, units.order] * units.signs[units.order]
        total += np.sum(pairs, dtype=np.float64)
    return float(total)


def enumerable(problem: Problem, most: int) -> tuple[str, ...] | None:
    """Groups of which to try all states, so that the others are independent.

    Args:
        problem: What is matched.
        most: No more states than so many.

    Returns:
        Names of those with the fewest states, or None if all choices have more.
    """
    names = [*problem.groups]
    if len(names) > 10:
        return None
    around = {name: blocks.neighbours(problem, name) for name in names}
    for name, group in problem.groups.items():
        if group.follows in around:
            around[name].add(group.follows)
            around[group.follows].add(name)
    least = None
    for size in range(len(names) + 1):
        for chosen in itertools.combinations(names, size):
            rest = {*names} - {*chosen}
            if any(around[name] & rest for name in rest):
                continue
            states = math.prod(_count(problem.groups[name]) for name in chosen)
            if states <= most and (least is None or states < least[0]):
                least = states, chosen
    return None if least is None else least[1]


def _count(group: Group) -> int:
    permutations = math.factorial(group.size) if group.permutes else 1
    return permutations * (2**group.size if group.signs else 1)


def search(problem: Problem, chosen: Sequence[str]) -> tuple[float, State, int]:
    """All states of some groups, with the best of the others for each.

    Args:
        problem: What is matched.
        chosen: From `enumerable`.

    Returns:
        The largest objective there is, a state that has it, and how many were tried.
    """
    rest = [name for name in problem.groups if name not in chosen]
    best, looked = None, 0
    for units in itertools.product(*(_all(problem.groups[n]) for n in chosen)):
        state = blocks.identity_state(problem)
        for name, unit in zip(chosen, units, strict=True):
            state = blocks.moved(problem, state, name, unit)
        for name in rest:
            known = blocks.scores(problem, name, state)
            unit = best_units(problem.groups[name], known, state[name].order)
            state = blocks.moved(problem, state, name, unit)
        value, looked = blocks.objective(problem, state), looked + 1
        if best is None or value > best[0]:
            best = value, state
    assert best is not None
    return *best, looked


def _all(group: Group) -> Iterator[Units]:
    """Every state of a group."""
    still = np.arange(group.size)
    orders = itertools.permutations(still) if group.permutes else [still]
    for order in orders:
        signs = itertools.product([1, -1], repeat=group.size if group.signs else 0)
        for sign in signs:
            filled = np.array(sign or [1] * group.size, np.float32)
            yield Units(np.array(order), filled)


def as_element(
    symmetry: Symmetry,
    state: State,
    dtype: Any,
    factors: Mapping[str, np.ndarray] | None = None,
) -> Element:
    """A state as an element.

    Args:
        symmetry: What is declared.
        state: Where the units are.
        dtype: Of the factors.
        factors: Scales by group; one where not given.

    Returns:
        One move a group.
    """
    element = {}
    for name, group in symmetry.by_name.items():
        permutation, factor = None, None
        if group.permutes:
            permutation = jnp.asarray(state[name].order, jnp.int32)
        if group.factors:
            signs = state[name].signs if name in state else np.ones(group.size)
            scale = 1 if factors is None or name not in factors else factors[name]
            factor = jnp.asarray(signs * scale, dtype)
        element[name] = Move(permutation, factor)
    return element
