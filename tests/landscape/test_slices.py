import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import tree
from jaxdl.landscape import (
    eigenvector_directions,
    filter_normalize,
    random_direction,
    slice_1d,
    slice_2d,
    trajectory_directions,
)
from tests.landscape import networks

RNG = np.random.default_rng(0)
A = RNG.normal(size=(5, 5))
A = (A + A.T).astype(np.float32)


def quadratic(params):
    x = jnp.concatenate([params["a"], params["b"].ravel()])
    return x @ jnp.asarray(A) @ x / 2


def parts(x):
    x = np.asarray(x, np.float32)
    return {"a": x[:3], "b": x[3:].reshape(1, 2)}


def test_slices_of_a_quadratic():
    x, d, e = RNG.normal(size=(3, 5)).astype(np.float32)
    s, t = np.float32([-1, 0, 0.5]), np.float32([0.0, 2.0])
    points = x + s[:, None, None] * d + t[None, :, None] * e
    want = np.einsum("abi,ij,abj->ab", points, A, points) / 2
    sheet = jax.jit(
        lambda x: slice_2d(quadratic, x, (parts(d), parts(e)), s, t, batch_size=4)
    )(parts(x))
    np.testing.assert_allclose(sheet, want, rtol=1e-4, atol=1e-4)
    for batch_size in (None, 2):
        line = slice_1d(quadratic, parts(x), parts(d), s, batch_size=batch_size)
        np.testing.assert_allclose(line, want[:, 0], rtol=1e-4, atol=1e-4)
    assert line.dtype == np.float32


def test_what_is_mapped_may_be_an_array():
    def both(params):
        value = quadratic(params)
        return jnp.stack([value, -value])

    line = slice_1d(both, parts(np.ones(5)), parts(np.ones(5)), np.zeros(3))
    assert line.shape == (3, 2)
    sheet = slice_2d(
        both, parts(np.ones(5)), (parts(np.ones(5)),) * 2, np.zeros(3), np.zeros(4)
    )
    assert sheet.shape == (3, 4, 2)


def test_filters_have_the_norms_of_the_parameters():
    params = networks.layers((3, 7, 2), seed=1)
    got = random_direction(jax.random.key(0), params)
    for new, old in zip(got, params, strict=True):
        np.testing.assert_allclose(
            np.linalg.norm(new.kernel, axis=0),
            np.linalg.norm(old.kernel, axis=0),
            rtol=1e-5,
        )
        np.testing.assert_array_equal(new.bias, 0)
    whole = random_direction(jax.random.key(0), params, keep_vectors=True)
    np.testing.assert_allclose(
        np.linalg.norm(whole[0].bias), np.linalg.norm(params[0].bias), rtol=1e-5
    )
    images = {"w": RNG.normal(size=(3, 3, 2, 5))}
    conv = filter_normalize({"w": RNG.normal(size=(3, 3, 2, 5))}, images)
    np.testing.assert_allclose(
        np.sum(conv["w"] ** 2, axis=(0, 1, 2)),
        np.sum(images["w"] ** 2, axis=(0, 1, 2)),
        rtol=1e-5,
    )


def test_normalized_slices_do_not_see_the_scales_of_relu_units():
    """The invariance that it is for; without it the two lines differ."""
    params = networks.layers((3, 7, 1), use_bias=False)
    first, last = params
    scales = np.exp(RNG.normal(size=7)).astype(np.float32)
    moved = (
        first._replace(kernel=first.kernel * scales),
        last._replace(kernel=last.kernel / scales[:, None]),
    )
    x = RNG.normal(size=(9, 3)).astype(np.float32)

    def loss(params):
        # Of the hidden layer alone: it is all of one filter that the last layer sees.
        return jnp.mean(jax.nn.relu(x @ params[0].kernel) @ params[1].kernel)

    raw = (RNG.normal(size=(3, 7)).astype(np.float32), np.zeros((7, 1), np.float32))
    direction = tuple(
        layer._replace(kernel=d) for layer, d in zip(params, raw, strict=True)
    )
    steps = np.float32([-0.5, 0.3, 1.0])
    lines = [
        slice_1d(loss, p, filter_normalize(direction, p), steps)
        for p in (params, moved)
    ]
    np.testing.assert_allclose(lines[0], lines[1], rtol=1e-4, atol=1e-5)
    plain = [slice_1d(loss, p, direction, steps) for p in (params, moved)]
    assert np.max(np.abs(plain[0] - plain[1])) > 0.01


def test_a_filter_of_zeros_stays_zero():
    got = filter_normalize({"w": np.zeros((2, 3))}, {"w": np.ones((2, 3))})
    np.testing.assert_array_equal(got["w"], 0)


def test_eigenvectors():
    values, vectors = np.linalg.eigh(A)
    directions, got = eigenvector_directions(
        quadratic, parts(np.zeros(5)), key=jax.random.key(0)
    )
    np.testing.assert_allclose(got, values[[-1, 0]], rtol=1e-4)
    for direction, column in zip(directions, (-1, 0), strict=True):
        flat = tree.ravel(direction)[0]
        assert abs(np.dot(flat, vectors[:, column])) == pytest.approx(1, abs=1e-4)
    line = slice_1d(quadratic, parts(np.zeros(5)), directions[1], np.float32([0.0, 2]))
    np.testing.assert_allclose(line, [0, 2 * values[0]], rtol=1e-4)


def test_trajectories():
    """A flat ellipse in a known plane, off the origin."""
    basis = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    rows = 3 + 2 * np.outer(np.cos(angle), basis[0]) + np.outer(np.sin(angle), basis[1])
    points = {"a": rows[:, :3], "b": rows[:, 3:].reshape(12, 1, 2)}
    found = trajectory_directions(points)
    np.testing.assert_allclose(found.explained, [0.8, 0.2], atol=1e-5)
    for direction, axis in zip(found.directions, basis[:2], strict=True):
        flat = tree.ravel(direction)[0]
        assert abs(np.dot(flat, axis)) == pytest.approx(1, abs=1e-5)
    plane = np.stack([tree.ravel(d)[0] for d in found.directions])
    np.testing.assert_allclose(
        np.mean(rows, 0) + np.asarray(found.coordinates) @ plane, rows, atol=1e-5
    )
    last = jax.tree.map(lambda leaf: leaf[-1], points)
    around = trajectory_directions(points, last)
    np.testing.assert_allclose(around.coordinates[-1], 0, atol=1e-5)


ONES = parts(np.ones(5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: slice_1d(quadratic, ONES, {"a": 1}, np.ones(2)), "direction must"),
        (lambda: slice_1d(quadratic, ONES, ONES, np.ones(())), "steps must be a"),
        (
            lambda: slice_1d(quadratic, ONES, ONES, np.ones(2), batch_size=0),
            "batch_size must be >= 1, got 0",
        ),
        (
            lambda: slice_2d(quadratic, ONES, (ONES, 1), np.ones(2), np.ones(2)),
            "second must have the shapes",
        ),
        (
            lambda: slice_2d(
                quadratic, ONES, (ONES, ONES), np.ones(2), np.ones((1, 1))
            ),
            "other_steps must be a vector",
        ),
        (lambda: filter_normalize({"a": 1}, ONES), "direction must have"),
        (lambda: trajectory_directions(parts(np.ones(5))), "trajectory must have"),
        (lambda: trajectory_directions(np.ones((4, 3)), np.ones(2)), "center must"),
        (lambda: trajectory_directions(np.ones((4, 1))), "two or more parameters"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
