import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.landscape import (
    Axis,
    Group,
    Symmetry,
    explained_directions,
    linear_tangents,
    mlp_symmetry,
)
from jaxdl.landscape import find_critical_points as find
from jaxdl.landscape.root_finding import METHODS
from jaxdl.models import mlp
from jaxdl.nn import Dense
from jaxdl.theory import linear_network_critical_points
from tests.landscape import xor

pytestmark = pytest.mark.filterwarnings("ignore:scatter inputs:FutureWarning")
ONE = np.array([[0.0], [0.5], [3.0], [-2.0], [25.0]])


def find_critical_points(*args, **options):
    """With NumPy arrays: JAX set to 32 bits would round what is computed with."""
    return jax.tree.map(np.asarray, find(*args, **options))


def tail(x):
    return jnp.sum(jnp.exp(-x))


def tail_and_bowl(x):
    return jnp.exp(-x[0]) + (x[1] - 1) ** 2


def quartic(x):
    return jnp.sum(x**4)


def minimum_of_the_norm(x):
    return jnp.sum(x**3 + x)


def logarithm(x):
    return jnp.sum(jnp.log(1 + x**2))


def kink(x):
    return jnp.sum(jnp.abs(x))


def ramp(x):
    return jnp.sum(jax.nn.relu(x) ** 2 + jax.nn.relu(x))


def slope(x):
    return x[0]


def wells(x):
    return (x[0] ** 2 - 1) ** 2 + 2 * (x[1] ** 2 - 1) ** 2


@pytest.mark.parametrize("loss", [tail, minimum_of_the_norm, slope])
def test_nothing_is_critical_where_the_gradient_has_no_zero(loss):
    found = find_critical_points(loss, ONE)
    assert np.all(found.stalled)
    assert np.all(found.negative == -1)
    assert np.all(found.representative == -1)


@pytest.mark.parametrize("method", METHODS)
def test_a_tail_beside_a_bowl(method):
    """The gradient is small and so is the curvature, beside that of the bowl."""
    starts = np.array([[0.0, 0.0], [12.0, 1.0], [20.0, 3.0], [24.0, 1.0]])
    found = find_critical_points(tail_and_bowl, starts, method)
    assert np.all(found.stalled)
    assert np.any(found.gradient_norm < 1e-10)


def tail_and_gorge(x):
    return jnp.exp(-x[0]) + 1e4 * (x[1] - 1) ** 2


def test_a_tail_whose_curvature_is_rounding_is_known_by_its_drift():
    """Beside the gorge the tail has no curvature: no Newton step tells of it."""
    found = find_critical_points(tail_and_gorge, np.array([[12.0, 1.0], [0.0, 3.0]]))
    assert np.all(found.stalled)
    assert np.all(found.gradient_norm < 1e-10)
    assert np.all(found.newton_step < 1e-6)
    assert np.all(found.drift > 0.2)


@pytest.mark.parametrize("method", METHODS)
def test_a_degenerate_minimum_is_critical(method):
    found = find_critical_points(quartic, ONE, method)
    assert np.all(found.critical)
    np.testing.assert_allclose(found.points, 0, atol=1e-6)
    np.testing.assert_array_equal(found.zero, 1)
    np.testing.assert_array_equal(found.unexplained, 1)
    np.testing.assert_array_equal(found.representative, 0)


def test_from_far_away_it_diverges_or_runs_out_of_iterations():
    found = find_critical_points(
        logarithm, np.array([[0.5], [3.0], [np.inf], [np.nan], [2.0]]), bound=10.0
    )
    np.testing.assert_array_equal(found.status, [0, 2, 2, 2, 2])
    found = find_critical_points(logarithm, np.array([[3.0]]), max_iterations=7)
    np.testing.assert_array_equal(found.status, 1)
    assert found.iterations[0] == 7


def test_kinks():
    starts = np.array([[0.0], [1e-7], [0.3], [-0.3]])
    assert not np.any(find_critical_points(kink, starts).critical)
    found = find_critical_points(ramp, starts)
    # At zero JAX says that the gradient is zero; left of it that is so.
    np.testing.assert_array_equal(found.status, [1, 0, 0, 0])
    assert float(found.gradient_norm[0]) == 0
    assert not found.smooth[0]
    assert np.all(np.asarray(found.points)[1:] < 0)


def relu_xor(params):
    outputs = jax.vmap(lambda x: mlp.apply(params, x))(xor.X)
    return jnp.mean((outputs[:, 0] - xor.Y) ** 2) / 2


def test_relu_networks():
    """All-zero is a kink in each unit; where all units are dead it is not."""
    zero = jax.tree.map(lambda leaf: np.zeros_like(leaf[:2]), xor.starts(3, 2))
    hidden, last = zero
    last.bias[:] = 0.5
    hidden.bias[1] = -1
    found = find_critical_points(relu_xor, (hidden, last), symmetry=None)
    np.testing.assert_array_equal(found.gradient_norm, 0)
    np.testing.assert_array_equal(found.status, [1, 0])
    np.testing.assert_array_equal(found.zero[1], 12)


def test_relu_scales_explain_directions():
    """The exact solution relu(x1 + x2) - 2 relu(x1 + x2 - 1), moved a little."""
    exact = (
        Dense(np.array([[1.0, 1], [1, 1]]), np.array([0.05, -1.0])),
        Dense(np.array([[1.0], [-2]]), np.array([0.0])),
    )
    params = jax.tree.map(lambda leaf: leaf[None], exact)
    symmetry = mlp_symmetry(exact, "relu")
    found = find_critical_points(
        relu_xor, params, "levenberg_marquardt", symmetry=symmetry
    )
    if found.critical[0]:
        assert found.explained[0] >= 2
        assert found.zero[0] == found.explained[0] + found.unexplained[0]
    else:
        assert not found.smooth[0] or found.gradient_norm[0] > 1e-10


@pytest.mark.parametrize("method", METHODS)
def test_all_nine_points_of_two_wells(method):
    grid = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(-1, 2)
    starts = grid + np.random.default_rng(0).uniform(-0.1, 0.1, (9, 2))
    found = find_critical_points(wells, starts, method)
    assert np.all(found.critical)
    np.testing.assert_allclose(found.points, grid, atol=1e-10)
    np.testing.assert_array_equal(found.negative, np.sum(grid == 0, axis=1))
    np.testing.assert_array_equal(found.positive, np.sum(grid != 0, axis=1))
    signs = Symmetry(
        {"x": Group(2, permutes=False, signs=True)}, [Axis("", 0, "x", power=1)]
    )
    same = find_critical_points(wells, starts, method, symmetry=signs)
    assert int(np.sum(same.distinct)) == 4
    np.testing.assert_array_equal(same.representative[grid[:, 0] == 0], [1, 4, 1])


@pytest.mark.parametrize("method", METHODS)
def test_xor_against_numpy(method):
    """Each of 200 results, classified again from derivatives by hand."""
    starts = xor.starts(2, 200)
    symmetry = mlp_symmetry(jax.tree.map(lambda leaf: leaf[0], starts), "tanh")
    found = find_critical_points(xor.loss, starts, method, symmetry=symmetry)
    (w, b), (a, c) = jax.tree.map(np.asarray, found.points)
    assert np.sum(found.critical) >= 60
    assert np.sum(found.stalled) >= 15
    for i in range(200):
        at = w[i], b[i], a[i, :, 0], c[i, 0]
        size = np.linalg.norm(xor.gradient(*at))
        assert size == pytest.approx(float(found.gradient_norm[i]), abs=1e-13, rel=1e-9)
        if not found.critical[i]:
            assert found.negative[i] == -1
            continue
        assert size <= 1e-10
        values = np.linalg.eigvalsh(xor.hessian(*at))
        np.testing.assert_allclose(values, found.eigenvalues[i], atol=1e-12)
        threshold = float(found.threshold[i])
        assert threshold == pytest.approx(1e-7 * np.max(np.abs(values)), rel=0.5)
        assert found.negative[i] == np.sum(values < -threshold)
        assert found.zero[i] == np.sum(np.abs(values) <= threshold)
        # No bad value besides that of the constant 1/2: XOR has none at finite weights.
        assert found.loss[i] < 1e-12 or found.loss[i] == pytest.approx(1 / 8, abs=1e-12)
        assert found.loss[i] < 1e-12 or found.negative[i] + found.zero[i] > 0


def test_moved_points_are_duplicates():
    """Forty members of the orbit of one point: each a start, all one point."""
    starts = xor.starts(3, 40, seed=3)
    symmetry = mlp_symmetry(jax.tree.map(lambda leaf: leaf[0], starts), "tanh")
    found = find_critical_points(xor.loss, starts, "gradient_norm", symmetry=symmetry)
    first = int(np.flatnonzero(found.critical)[0])
    (w, b), (a, c) = jax.tree.map(lambda leaf: leaf[first], found.points)
    rng, moved = np.random.default_rng(0), []
    for _ in range(40):
        order, sign = rng.permutation(3), rng.choice([-1, 1], 3)
        hidden = Dense((w * sign)[:, order], (b * sign)[order])
        moved.append((hidden, Dense((a * sign[:, None])[order], c)))
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *moved)
    again = find_critical_points(xor.loss, batch, "gradient_norm", symmetry=symmetry)
    assert np.all(again.critical)
    np.testing.assert_array_equal(again.representative, 0)
    assert np.linalg.norm(again.points[0].kernel - w[None]) > 1


TARGET = np.diag([3.0, 1.0])


def linear_loss(params):
    first, last = params
    return jnp.sum((TARGET - first.kernel @ last.kernel) ** 2) / 2


def test_linear_network_points_are_found_with_index():
    """Each point found is one that the theory lists; GL(3) explains its zeros."""
    rng = np.random.default_rng(5)
    starts = (
        Dense(rng.normal(size=(100, 2, 3)), None),
        Dense(rng.normal(size=(100, 3, 2)), None),
    )
    found = find_critical_points(
        linear_loss,
        starts,
        "levenberg_marquardt",
        tangents=lambda params: linear_tangents(params, 0),
    )
    theory = {
        round(p.loss, 6): (p.negative, p.zero)
        for p in linear_network_critical_points(TARGET, [3])
    }
    critical = np.flatnonzero(found.critical)
    assert len(critical) > 80
    seen = set()
    for i in critical:
        value = round(float(found.loss[i]), 6) + 0.0
        seen.add(value)
        assert (int(found.negative[i]), int(found.zero[i])) == theory[value]
        assert found.explained[i] + found.unexplained[i] == found.zero[i]
        if value == 0:  # rank 2 of 3: all of the null space is that of GL(3)
            assert found.unexplained[i] == 0
    assert len(seen) >= 3


def test_explained_directions_by_hand():
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    null = np.array([True, True, True, False, False])
    tangents = np.stack([
        vectors[:, 0] + vectors[:, 1],
        2 * vectors[:, 0] + 2 * vectors[:, 1],
        vectors[:, 3],
        0 * vectors[:, 0],
    ]).astype(np.float32)
    assert explained_directions(jnp.asarray(vectors, jnp.float32), null, tangents) == 1
    assert explained_directions(jnp.eye(2), null[:2], jnp.zeros((0, 2))) == 0
    assert explained_directions(jnp.eye(2), null[:2], jnp.zeros((3, 2))) == 0
    with pytest.raises(ValueError, match="expected vectors"):
        explained_directions(jnp.eye(2), null, jnp.zeros((3, 2)))


def test_float64_whatever_the_setting():
    found = find_critical_points(wells, np.array([[0.9, 1.1]], np.float32))
    assert found.points.dtype == np.float64
    with jax.enable_x64(True):
        again = find_critical_points(wells, np.array([[0.9, 1.1]], np.float32))
    np.testing.assert_array_equal(found.points, again.points)


def single(x):
    return jnp.sum(x.astype(jnp.float32) ** 2)


@pytest.mark.parametrize(
    ("loss", "starts", "options", "message"),
    [
        (wells, np.ones((1, 2)), {"method": "newton"}, "method must be one of"),
        (wells, np.ones((1, 2)), {"tol": 0}, "tol must be > 0, got 0"),
        (wells, np.ones((1, 2)), {"bound": -1.0}, "bound must be > 0"),
        (wells, np.ones((1, 2)), {"max_iterations": 0}, "max_iterations must be"),
        (wells, np.ones((1, 2), int), {}, "starts must be floating-point"),
        (wells, np.float64(1), {}, "starts must have one leading axis"),
        (wells, (np.ones((1, 2)), np.ones((3, 2))), {}, "starts must have one"),
        (single, np.ones((1, 2)), {}, "loss must return a float64 scalar"),
        (lambda x: x, np.ones((1, 2)), {}, "loss must return a float64 scalar"),
    ],
)
def test_rejects(loss, starts, options, message):
    with pytest.raises(ValueError, match=message):
        find_critical_points(loss, starts, **options)
