import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.theory import linear_network_critical_points, linear_network_point

GOLDEN = Path(__file__).parent.parent / "golden" / "linear_net_critical_points"
CASES = json.loads(GOLDEN.with_suffix(".json").read_text())
ARRAYS = np.load(GOLDEN.with_suffix(".npz"))


def loss(weights, target):
    product = weights[0]
    for w in weights[1:]:
        product = jnp.matmul(w, product, precision="highest")
    return jnp.sum((target - product) ** 2) / 2


@partial(jax.jit, static_argnums=2)
def derivatives(flat, target, shapes):
    def of_vector(v):
        pieces, start = [], 0
        for a, b in shapes:
            pieces.append(v[start : start + a * b].reshape(a, b))
            start += a * b
        return loss(pieces, target)

    return of_vector(flat), jax.grad(of_vector)(flat), jax.hessian(of_vector)(flat)


def measured(weights, target):
    """Loss, norm of the gradient and eigenvalues of the Hessian, in float64."""
    with jax.enable_x64(True):
        flat = np.concatenate([np.ravel(w) for w in weights])
        value, gradient, hessian = derivatives(
            jnp.asarray(flat), jnp.asarray(target), tuple(w.shape for w in weights)
        )
        return float(value), np.linalg.norm(gradient), np.linalg.eigvalsh(hessian)


@pytest.mark.parametrize("depth", [2, 3])
def test_golden_points(depth):
    """All 45, at their parameters; the balanced ones are ours."""
    widths = [CASES["p"]] if depth == 2 else [CASES["p"], CASES["p"]]
    target = ARRAYS["M"]
    points = {p.modes: p for p in linear_network_critical_points(target, widths)}
    rows = [row for row in CASES["rows"] if row["depth"] == depth]
    assert {tuple(row["I"]) for row in rows} == {*points}
    for row in rows:
        point = points[tuple(row["I"])]
        assert point.rank == row["rank"]
        assert point.loss == pytest.approx(row["loss_theory"], abs=1e-9)
        assert point.negative == row["index_theory"] == row["index"]
        shapes = [(3, 4), (5, 3)] if depth == 2 else [(3, 4), (3, 3), (5, 3)]
        flat = ARRAYS[f"theta{depth}_{row['id']}_{row['rep']}"]
        cuts = np.cumsum([a * b for a, b in shapes])[:-1]
        parts = np.split(flat, cuts)
        given = [w.reshape(s) for w, s in zip(parts, shapes, strict=True)]
        ours = linear_network_point(target, widths, point.modes)
        for weights in [given, ours] if row["rep"] == "balanced" else [given]:
            value, gradient, eigenvalues = measured(weights, target)
            assert value == pytest.approx(point.loss, abs=1e-9)
            assert gradient < 1e-12
            assert np.sum(eigenvalues < -1e-9) == point.negative
            if depth == 2:
                assert np.sum(np.abs(eigenvalues) <= 1e-9) == point.zero
            else:
                assert point.zero is None
        if "nonstrict_saddle" in row:
            assert (point.kind == "non-strict saddle") == row["nonstrict_saddle"]


@pytest.mark.parametrize(
    ("shape", "hidden", "singular"),
    [
        ((3, 4), [5], [3.0, 2.0, 2.0]),  # wide, and two equal
        ((4, 3), [2], [3.0, 1.0, 0.0]),  # of lower rank
        ((3, 3), [2, 4, 3], [2.0, 1.0, 0.5]),  # four layers
        ((3, 2), [3, 2], [2.0, 1.0]),
    ],
)
def test_counts_against_exact_hessians(shape, hidden, singular):
    rng = np.random.default_rng(1)
    u, v = (np.linalg.qr(rng.normal(size=(d, d)))[0] for d in shape)
    k = len(singular)
    target = u[:, :k] @ np.diag(singular) @ v[:k]
    best = np.inf
    for point in linear_network_critical_points(target, hidden):
        weights = linear_network_point(target, hidden, point.modes)
        value, gradient, eigenvalues = measured(weights, target)
        assert value == pytest.approx(point.loss, abs=1e-12)
        assert gradient < 1e-12
        assert np.sum(eigenvalues < -1e-9) == point.negative
        if len(hidden) == 1:
            assert np.sum(np.abs(eigenvalues) <= 1e-9) == point.zero
        best = min(best, value)
        if point.kind == "non-strict saddle":
            assert point.negative == 0
            assert point.rank < min(hidden)
    kinds = {
        p.kind: p.loss
        for p in linear_network_critical_points(target, hidden)
        if p.kind == "minimum"
    }
    assert kinds["minimum"] == pytest.approx(best, abs=1e-12)


def test_a_vector_of_singular_values():
    a = linear_network_critical_points([2.0, 1.0, 0.0], [2])
    b = linear_network_critical_points(np.diag([1.0, -2.0, 0.0]), [2])
    assert a == b
    assert [p.modes for p in a] == [(), (0,), (1,), (0, 1)]
    assert [p.negative for p in a] == [4, 1, 2, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, np.nan]], [2]), "target must be"),
        (([-1.0, 2.0], [2]), "target must be"),
        (([1.0], []), "hidden must be"),
        (([1.0], [0]), "hidden must be"),
        (([1.0], [1.5]), "hidden must be"),
    ],
)
def test_rejects(arguments, message):
    target, hidden = arguments
    with pytest.raises(ValueError, match=message):
        linear_network_critical_points(target, hidden)
    with pytest.raises(ValueError, match=message):
        linear_network_point(target, hidden, [])


@pytest.mark.parametrize("modes", [[0, 0], [3], [-1], [0, 1]])
def test_rejects_modes(modes):
    with pytest.raises(ValueError, match="modes must be"):
        linear_network_point([2.0, 1.0], [1], modes)
