"""The structured method a part at a time: the same numbers in less memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

from jaxdl.ntk import empirical_ntk, empirical_ntk_per_layer, structured

RNG = np.random.default_rng(0)
N1, N2, K = 5, 4, 7
SHAPES = {
    "b": (4,),
    "e": (K, 4),
    "s": (4,),
    "u": (3, 4),
    "w": (4, 4),
}
PARAMS = {name: RNG.normal(size=shape) for name, shape in SHAPES.items()}
T1, T2 = (RNG.integers(0, K, size=(n, 3)).astype(np.int32) for n in (N1, N2))
OUTPUTS = ("full", "diagonal", "trace")


def apply(params, tokens):
    """Tied lookups and products, a bias, a scale and a recurrence; K outputs."""

    def step(h, token):
        h = jnp.tanh(h @ params["w"] + params["b"] + params["e"][token])
        return h * params["s"], None

    h, _ = jax.lax.scan(step, params["u"].sum(0), tokens)
    return params["e"] @ h


def kernel(params, x1, x2, outputs):
    return empirical_ntk(apply, params, x1, x2, outputs=outputs, method="structured")


@pytest.fixture(scope="module")
def full():
    """Kernels of the first examples and both, and of the first among themselves."""
    with jax.enable_x64(True):
        jacobian = jax.jit(jax.vmap(jax.jacrev(apply), (None, 0)))
        j1, j2 = (
            np.concatenate(
                [np.reshape(a, (len(x), K, -1)) for a in jacobian(PARAMS, x).values()],
                axis=2,
            )
            for x in (T1, T2)
        )
    return [np.einsum("iap,jbp->ijab", j1, j) for j in (j2, j1)]


def reduced(full, outputs):
    diagonal = np.einsum("ijaa->ija", full)
    return {"full": full, "diagonal": diagonal, "trace": diagonal.mean(-1)}[outputs]


def shapes_of(function, *args):
    """The shapes of all values, those of inner functions included."""
    found = set()

    def look(jaxpr):
        for equation in jaxpr.eqns:
            found.update(variable.aval.shape for variable in equation.outvars)
            for value in jax.tree.leaves(
                list(equation.params.values()),
                is_leaf=lambda a: isinstance(a, Jaxpr | ClosedJaxpr),
            ):
                if isinstance(value, Jaxpr | ClosedJaxpr):
                    look(getattr(value, "jaxpr", value))

    look(jax.make_jaxpr(function)(*args).jaxpr)
    return found


def held(monkeypatch, **limits):
    """Set limits in place of those of the module."""
    for name, value in limits.items():
        monkeypatch.setattr(structured, name, value)


# Of each example: 28 entries a tap of a product with e, 12 of each other use.
SETTINGS = {
    "all at once": {},
    "examples in turn": {"EXAMPLES_BYTES": 4 * K * 60 * 2},
    "one example at a time": {"EXAMPLES_BYTES": 1},
    "outputs in turn": {"OUTPUTS_BYTES": 4 * N1 * 80 * 2},
    "one output at a time": {"OUTPUTS_BYTES": 1},
    "blocks": {"BLOCK_BYTES": 4 * 700 * 2},
    "blocks of one": {"BLOCK_BYTES": 1},
    "tiles": {"TILE_BYTES": 2**13},
    "tiles of one": {"TILE_BYTES": 1},
    "all of them": {
        "EXAMPLES_BYTES": 4 * K * 60 * 2,
        "OUTPUTS_BYTES": 4 * N1 * 80 * 2,
        "BLOCK_BYTES": 4 * 250 * 3,
        "TILE_BYTES": 2**10,
    },
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_part_at_a_time(setting, full, monkeypatch):
    held(monkeypatch, **SETTINGS[setting])
    asked = [(x2, outputs) for x2 in (T2, None) for outputs in OUTPUTS]
    if setting not in {"outputs in turn", "tiles"}:
        asked = asked[::4]  # full and two, diagonal and one
    with jax.enable_x64(True):
        found = jax.jit(lambda params: [kernel(params, T1, *a) for a in asked])(PARAMS)
    for (x2, outputs), part in zip(asked, found, strict=True):
        expected = reduced(full[x2 is None], outputs)
        assert part.shape == expected.shape
        np.testing.assert_allclose(part, expected, rtol=1e-10, atol=1e-10)


def one_use(w, x):
    return jnp.tanh(x @ w)


W, X = np.ones((6, 10), np.float32), np.ones((8, 6), np.float32)


@pytest.mark.parametrize(
    ("limit", "value", "outputs", "there", "not_there"),
    [
        # Taps of an example have 10 entries for each of 10 outputs.
        ("EXAMPLES_BYTES", 2**20, "full", (8, 10, 1, 1, 10), (3, 10, 1, 1, 10)),
        ("EXAMPLES_BYTES", 4 * 100 * 3, "full", (3, 10, 1, 1, 10), None),
        ("OUTPUTS_BYTES", 2**20, "trace", (8, 10, 1, 1, 10), (8, 3, 1, 1, 10)),
        ("OUTPUTS_BYTES", 4 * 8 * 10 * 3, "trace", (8, 3, 1, 1, 10), (8, 10, 1, 1, 10)),
        # Features of an example have those 100 entries, and 6 of x and 1.
        ("BLOCK_BYTES", 4 * 107 * 4, "full", (4, 4, 10, 10), None),
        ("BLOCK_BYTES", 2**20, "full", (8, 8, 10, 10), (4, 4, 10, 10)),
        ("TILE_BYTES", 2**20, "full", (8, 8, 10, 10), (2, 2, 10, 10)),
        ("TILE_BYTES", 4 * 200 * 4, "full", (2, 2, 10, 10), None),
    ],
)
def test_a_limit_holds(limit, value, outputs, there, not_there, monkeypatch):
    held(monkeypatch, **{limit: value})
    found = shapes_of(
        partial(empirical_ntk, one_use, outputs=outputs, method="structured"), W, X
    )
    assert there in found
    assert not_there not in found


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_tiles_of_a_weight_used_in_two_ways(outputs, monkeypatch):
    """Between a use and a transposed one, each pair of rows has all outputs."""
    n, k = 32, 20

    def tied(w, x):
        return jnp.tanh(w @ jnp.tanh(x @ w))

    w, x = np.ones((k, 3), np.float32), np.ones((n, k), np.float32)
    plan = structured.plan

    def by_factors(*args, **kwargs):
        how = plan(*args, **kwargs)
        return how._replace(weights=[how.weights[0]._replace(factored=True)])

    held(monkeypatch, TILE_BYTES=10 * 4 * 2 * k * k * 4, plan=by_factors)
    found = shapes_of(
        partial(empirical_ntk, tied, outputs=outputs, method="structured"), w, x
    )
    tiles = [shape for shape in found if len(shape) > 4 and shape[2:5] == (1, 1, 1)]
    assert tiles
    assert max(np.prod(shape) for shape in tiles) <= 10 * k * k


@pytest.mark.parametrize("outputs", ["trace", "diagonal"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_thousand_outputs_never_hold_all_pairs(outputs, tied):
    n, k = 10, 1000

    def wide(params, x):
        h = jnp.tanh(x @ params["w"])
        return (params["w"] @ h[:, None])[:, 0] if tied else h

    params = {"w": np.ones((k, k) if tied else (3, k), np.float32)}
    x = np.ones((n, len(params["w"])), np.float32)
    with jax.enable_x64(False):
        found = shapes_of(
            partial(empirical_ntk, wide, outputs=outputs, method="structured"),
            params,
            x,
        )
    largest = max(np.prod(shape) for shape in found)
    # Of its own: gradients with respect to all units for all outputs.
    assert largest <= 2 * n * k * k
    assert not any(shape[-2:] == (k, k) and shape[:2] == (n, n) for shape in found)


def test_layers_and_a_subset(full):
    """A bias whose weight is in another group counts apart."""
    tree = {"w": {"x": PARAMS["w"]}, **{name: PARAMS[name] for name in "besu"}}

    def nested(params, x):
        return apply({**params, "w": params["w"]["x"]}, x)

    with jax.enable_x64(True):

        @jax.jit
        def found(tree):
            layers = empirical_ntk_per_layer(nested, tree, T1, T2, method="structured")
            where = {name: name != "b" for name in tree}
            some = empirical_ntk(nested, tree, T1, T2, where=where, method="structured")
            return layers, some

        layers, some = jax.tree.map(np.asarray, found(tree))
        jacobian = jax.jit(jax.vmap(jax.jacrev(apply), (None, 0)))
        j1, j2 = jacobian(PARAMS, T1), jacobian(PARAMS, T2)
    assert set(layers) == set(PARAMS)
    for name, layer in layers.items():
        a, b = (np.reshape(j[name], (len(j[name]), K, -1)) for j in (j1, j2))
        expected = np.einsum("iap,jbp->ijab", a, b)
        np.testing.assert_allclose(layer, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(sum(layers.values()), full[0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(some, full[0] - layers["b"], rtol=1e-10, atol=1e-10)


def test_vmap_over_parameters_and_its_gradient():
    rng = np.random.default_rng(1)
    many = {name: rng.normal(size=(2, *s)) for name, s in SHAPES.items()}
    along = {name: rng.normal(size=s) for name, s in SHAPES.items()}
    weights = rng.normal(size=(N1, N1, K, K))

    def total(params):
        return jnp.sum(weights * kernel(params, T1, None, "full"))

    def moved(step):
        return jax.tree.map(lambda a, b: a + step * b[None], many, along)

    with jax.enable_x64(True):
        both = jax.jit(jax.vmap(jax.value_and_grad(total)))
        values, slopes = both(many)
        up, down = (np.asarray(both(moved(step))[0]) for step in (1e-5, -1e-5))
        one = jax.jit(total)(jax.tree.map(lambda a: a[1], many))
    np.testing.assert_allclose(values[1], one, rtol=1e-12)
    slope = sum(
        np.sum(np.asarray(slopes[name]) * along[name], tuple(range(1, 1 + len(shape))))
        for name, shape in SHAPES.items()
    )
    np.testing.assert_allclose((up - down) / 2e-5, slope, rtol=1e-6)


def test_float32_is_kept():
    params = jax.tree.map(np.float32, PARAMS)
    for dtype in (np.float32, jnp.bfloat16):
        cast = jax.tree.map(lambda a, d=dtype: jnp.asarray(a, d), params)
        for outputs in OUTPUTS:
            found = jax.eval_shape(partial(kernel, outputs=outputs), cast, T1, T2)
            assert found.dtype == np.float32


def test_half_precision_is_summed_in_single(full):
    half = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), PARAMS)
    found = jax.jit(partial(kernel, outputs="full"))(half, T1, T2)
    assert found.dtype == np.float32
    error = np.abs(found - full[0]).max() / np.abs(full[0]).max()
    assert error < 0.1  # that of the parameters is 0.004
