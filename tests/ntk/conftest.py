"""A network with a tangent kernel from dense Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

N1, N2, K = 7, 5, 6


def apply(params, x):
    """One example ``{"tokens": (3,), "image": (4,)}`` to outputs ``(3, 2)``."""
    words = params["embedding"][x["tokens"]]
    hidden = jnp.tanh(words * params["scale"] + (x["image"] @ params["w"])[None])
    return hidden @ params["v"]


def _network(dtype):
    rng = np.random.default_rng(0)
    shapes = {"embedding": (9, 5), "scale": (), "w": (4, 5), "v": (5, 2)}
    params = {k: np.asarray(rng.normal(size=s), dtype) for k, s in shapes.items()}

    def examples(n):
        tokens, image = rng.integers(0, 9, size=(n, 3)), rng.normal(size=(n, 4))
        return {"tokens": tokens, "image": image.astype(dtype)}

    return params, examples(N1), examples(N2)


def _jacobian(params, x):
    """``(n, k, p)``, column by column, forward."""

    def outputs(params):
        return jax.vmap(apply, (None, 0))(params, x)

    leaves = jax.tree.leaves(jax.jit(jax.jacfwd(outputs))(params))
    n = len(x["image"])
    return np.concatenate([np.asarray(leaf).reshape(n, K, -1) for leaf in leaves], 2)


@pytest.fixture(scope="session")
def network():
    """``apply``, then from a dtype to parameters and two sets of examples."""
    return apply, _network


@pytest.fixture(scope="session")
def jacobians():
    """Jacobians of both sets of examples, ``(n, k, p)`` float64."""
    with jax.enable_x64(True):
        params, x1, x2 = _network(np.float64)
        return _jacobian(params, x1), _jacobian(params, x2)
