"""Matching: which units of one network are those of another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.landscape import blocks
from jaxdl.landscape.blocks import Problem, State, Units
from jaxdl.landscape.canonical import balancing_element
from jaxdl.landscape.descent import (
    as_element,
    best_units,
    descend,
    enumerable,
    search,
)
from jaxdl.landscape.elements import Element, act, compose, inverse
from jaxdl.landscape.symmetry import Symmetry, check_fits, check_pair, leaf_names
from jaxdl.types import Key, Params


@dataclass(frozen=True)
class Start:
    """What coordinate descent made of one start."""

    name: str  # signatures, identity, reversed, given, random or exhaustive
    first: float  # objective before
    objective: float  # and after
    sweeps: int  # rounds over the groups; of the exhaustive search, states looked at
    converged: bool  # whether the last round changed nothing


@dataclass(frozen=True)
class Matching:
    """The best element found, and how each start fared."""

    element: Element  # ``act(symmetry, element, params_b)`` is like ``params_a``
    objective: float
    starts: tuple[Start, ...]  # in the order they were tried
    optimal: bool  # whether an exhaustive search proves that there is no better one


def match_weights(
    symmetry: Symmetry,
    params_a: Params,
    params_b: Params,
    *,
    key: Key | None = None,
    random_starts: int | None = None,
    starts: Sequence[Element] = (),
    balance: bool = False,
    exhaustive: int = 5040,
    max_sweeps: int = 100,
) -> Matching:
    """The element that brings one network's weights closest to another's.

    It maximizes the sum of products ``<params_a, act(symmetry, element, params_b)>``
    over permutations and signs, which is to minimize the squared distance. With all
    groups but one fixed that is an assignment problem, which SciPy solves exactly, with
    the better sign for each pair. Going round the groups until nothing changes ends in
    an optimum of each group, but not always of all: it depends on where it starts and
    on the order. Starts are

    - *signatures*: group by group, pairs by their sorted weights, which no permutation
      of the other layers changes, and by the weights themselves where the layers are
      matched already; recovers a planted element where there is no noise;
    - *identity*, and *reversed*, the same in the reverse order of groups;
    - *given*, those of ``starts``;
    - *random* elements, in random orders.

    Where few states of some groups leave the others independent of each other, all are
    tried: then the result is *optimal*. So it always is with one hidden layer.

    That the declared symmetry is one of the network is not looked at here; see
    `check_symmetry`. Batch normalization's statistics do not count and should be
    estimated again for networks between the two; see `barrier`.

    Args:
        symmetry: What is declared.
        params_a: Stay as they are.
        params_b: Move.
        key: PRNG key of the random starts.
        random_starts: How many; None for 4 with a key and none without one.
        starts: Elements to start from too, such as that of `match_activations`.
        balance: Whether to match scales as well: both networks are brought to balanced
            scales, see `balancing_element`, and compared there; the element brings
            those of the second network to those of the first. Otherwise scales stay.
        exhaustive: Try all states of some groups if there are no more than so many.
        max_sweeps: Most rounds over the groups, ``>= 1``.

    Returns:
        Element, objective, and a record of each start. Sums of products are those of
        all parameters but statistics, of balanced ones with ``balance``.

    Raises:
        ValueError: If the parameters do not fit the symmetry or each other, hold a NaN,
            or a number lies outside its domain.

    References:
        Ainsworth, Hayase, Srinivasa (2023), Git Re-Basin: merging models modulo
        permutation symmetries. https://arxiv.org/abs/2209.04836

    Examples:
        >>> from jaxdl.landscape import mlp_symmetry, random_element
        >>> from jaxdl.models import mlp
        >>> params = mlp.init(jax.random.key(0), (3, 5, 4, 2))
        >>> symmetry = mlp_symmetry(params, "tanh")
        >>> planted = random_element(jax.random.key(1), symmetry)
        >>> found = match_weights(symmetry, act(symmetry, planted, params), params)
        >>> bool((found.element["hidden0"].factor == planted["hidden0"].factor).all())
        True
    """
    check_fits(symmetry, params_a, "params_a")
    check_fits(symmetry, params_b, "params_b")
    check_pair(params_a, params_b)
    _check_finite("params_a", params_a)
    _check_finite("params_b", params_b)
    if random_starts is None:
        random_starts = 4 if key is not None else 0
    if not isinstance(random_starts, int) or random_starts < 0:
        raise ValueError(f"random_starts must be an integer >= 0, got {random_starts}")
    if random_starts and key is None:
        raise ValueError(f"random_starts={random_starts} must come with a key")
    if not isinstance(max_sweeps, int) or max_sweeps < 1:
        raise ValueError(f"max_sweeps must be an integer >= 1, got {max_sweeps}")
    scales = None
    if balance:
        scales = [balancing_element(symmetry, p) for p in (params_a, params_b)]
        params_a, params_b = (
            act(symmetry, s, p)
            for s, p in zip(scales, (params_a, params_b), strict=True)
        )
    problem = blocks.make_problem(symmetry, params_a, params_b)
    best, records = None, []
    enumerated = enumerable(problem, exhaustive)
    if enumerated != ():  # else there is nothing to search
        begins = _begin(problem, key, random_starts, starts)
        for name, state, order in begins:
            first = blocks.objective(problem, state)
            state, sweeps, converged = descend(problem, state, order, max_sweeps)
            value = blocks.objective(problem, state)
            records.append(Start(name, first, value, sweeps, converged))
            if best is None or value > best[0]:
                best = value, state
    if enumerated is not None:
        found = search(problem, enumerated)
        first = blocks.objective(problem, blocks.identity_state(problem))
        records.append(Start("exhaustive", first, found[0], found[2], converged=True))
        if best is None or found[0] > best[0]:
            best = found[0], found[1]
    if best is None:
        raise ValueError("exhaustive must leave something to do")
    dtype = jnp.result_type(float)
    element = as_element(symmetry, best[1], dtype)
    if scales is not None:
        element = compose(symmetry, element, scales[1])
        element = compose(symmetry, inverse(symmetry, scales[0]), element)
    return Matching(element, best[0], tuple(records), enumerated is not None)


def _begin(
    problem: Problem, key: Key | None, random: int, given: Sequence[Element]
) -> Iterator[tuple[str, State, list[str]]]:
    """Name, state and order of groups of each start."""
    names = [*problem.groups]
    yield "signatures", _by_signatures(problem), names
    yield "identity", blocks.identity_state(problem), names
    if len(names) > 1:
        yield "reversed", blocks.identity_state(problem), names[::-1]
    for element in given:
        yield "given", _state(problem, element), names
    if key is not None:
        seed = np.asarray(jax.random.key_data(key)).reshape(-1)
        rng = np.random.default_rng(seed)
        for _ in range(random):
            state = blocks.identity_state(problem)
            for name, group in problem.groups.items():
                order, signs = state[name]
                if group.permutes:
                    order = rng.permutation(group.size)
                if group.signs:
                    signs = rng.choice([-1, 1], group.size).astype(np.float32)
                state = blocks.moved(problem, state, name, Units(order, signs))
            yield "random", state, [str(name) for name in rng.permutation(names)]


def _by_signatures(problem: Problem) -> State:
    """Group by group the best pairs by what is known of them."""
    state, matched = blocks.identity_state(problem), []
    for name, group in problem.groups.items():
        known = blocks.signature_scores(problem, name, state, matched)
        units = best_units(group, known, state[name].order)
        state = blocks.moved(problem, state, name, units)
        matched.append(name)
    return state


def _state(problem: Problem, element: Element) -> State:
    """Permutations and signs of an element."""
    state = blocks.identity_state(problem)
    for name in problem.groups:
        permutation, factor = element[name]
        order, signs = state[name]
        if permutation is not None:
            order = np.asarray(permutation)
        if factor is not None and problem.groups[name].signs:
            signs = np.where(np.asarray(factor) < 0, -1, 1).astype(np.float32)
        state = blocks.moved(problem, state, name, Units(order, signs))
    return state


def _check_finite(name: str, params: Params) -> None:
    """Reject parameters with a NaN.

    Raises:
        ValueError: Where it is.
    """
    for leaf, value in leaf_names(params).items():
        if not np.all(np.isfinite(np.asarray(value, np.float32))):
            raise ValueError(f"{name} must be finite, got NaN or infinity in {leaf!r}")
