import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.curvature import lanczos


def test_the_krylov_basis_is_orthonormal_and_projects(planted):
    matrix = planted(np.linspace(-3, 2, 30) ** 3)
    start = np.random.default_rng(0).normal(size=30)
    with jax.enable_x64(True):
        basis = lanczos.krylov(
            lambda v: jnp.asarray(matrix) @ v, jnp.asarray(start), 12
        )
        rows, projected = np.asarray(basis.rows), np.asarray(basis.projected)
        coupling = float(basis.coupling)
    np.testing.assert_allclose(rows @ rows.T, np.eye(13), atol=1e-13)
    np.testing.assert_allclose(projected, rows[:12] @ matrix @ rows[:12].T, atol=1e-12)
    left = matrix @ rows[11] - projected[11] @ rows[:12]
    np.testing.assert_allclose(left, coupling * rows[12], atol=1e-12)
    krylov = np.stack([np.linalg.matrix_power(matrix, j) @ start for j in range(3)])
    inside = krylov @ rows[:3].T @ rows[:3]
    np.testing.assert_allclose(inside, krylov, rtol=1e-9, atol=1e-9)


def test_an_invariant_space_ends_it(planted):
    matrix = planted([2.0] * 9 + [-1.0] * 8)
    with jax.enable_x64(True):
        matrix = jnp.asarray(matrix)
        basis = lanczos.krylov(lambda v: matrix @ v, jnp.ones(17), 6)
        nodes, rotation = lanczos.quadrature(basis)
        filled, coupling = int(basis.filled), float(basis.coupling)
        rows = np.asarray(basis.rows)
        weights = np.asarray(rotation[0] ** 2)
        nodes = np.asarray(nodes)
    assert (filled, coupling) == (2, 0.0)
    assert not rows[2:].any()
    used = weights > 1e-12
    np.testing.assert_allclose(np.sort(nodes[used]), [-1, 2], atol=1e-12)
    assert ((nodes >= -1 - 1e-12) & (nodes <= 2 + 1e-12)).all()


def test_quadrature_is_exact_for_polynomials(planted):
    spectrum = np.linspace(-1, 1, 20)
    matrix = planted(spectrum)
    start = np.random.default_rng(1).normal(size=20)
    start /= np.linalg.norm(start)
    with jax.enable_x64(True):
        matrix, q = jnp.asarray(matrix), jnp.asarray(start)
        nodes, rotation = lanczos.quadrature(lanczos.krylov(lambda v: matrix @ v, q, 5))
        nodes, weights = np.asarray(nodes), np.asarray(rotation[0] ** 2)
        matrix = np.asarray(matrix)
    for power in range(10):
        expected = start @ np.linalg.matrix_power(matrix, power) @ start
        np.testing.assert_allclose(weights @ nodes**power, expected, atol=1e-13)


def test_orthogonalize_leaves_nothing_along_the_rows():
    rng = np.random.default_rng(0)
    rows = np.linalg.qr(rng.normal(size=(50, 7)))[0].T.astype(np.float32)
    vector = 1e4 * rows[2] + rng.normal(size=50).astype(np.float32)
    components, rest = lanczos.orthogonalize(rows, vector)
    assert abs(rows @ rest).max() < 1e-6 * np.linalg.norm(rest)
    np.testing.assert_allclose(components @ rows + rest, vector, rtol=1e-4, atol=1e-2)
    assert rest.dtype == np.float32
    assert not np.asarray(lanczos.normalize(jnp.zeros(3))).any()


def test_what_lies_nearly_in_the_filled_space_is_taken_off_twice():
    """One pass leaves rounding of what it removes, here a thousand times the rest."""
    rng = np.random.default_rng(1)
    p, filled = 60, 4
    basis, _ = np.linalg.qr(rng.normal(size=(p, filled + 1)))
    kept, start = basis.T[:filled], basis.T[filled]
    noise = rng.normal(size=(p, p))
    matrix = np.outer(start, kept.sum(0)) * 10 + 1e-3 * noise
    matrix = jnp.asarray(matrix + matrix.T, jnp.float32)
    rows = jnp.zeros((filled + 3, p)).at[:filled].set(kept.astype(np.float32))
    before = lanczos.begin(p, filled + 2, jnp.float32)._replace(
        rows=rows, filled=jnp.int32(filled)
    )
    after = lanczos.extend(
        lambda v: matrix @ v, before, lambda _: jnp.asarray(start, jnp.float32)
    )
    following = np.asarray(after.rows[filled + 1], float)
    np.testing.assert_allclose(np.linalg.norm(following), 1, rtol=1e-5)
    overlaps = np.asarray(after.rows[: filled + 1], float) @ following
    np.testing.assert_allclose(overlaps, 0, atol=1e-6)
