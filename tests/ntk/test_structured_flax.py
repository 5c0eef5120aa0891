"""Modules of Flax by the structured method: equal to Jacobians, nothing falls back."""

import warnings
from functools import partial

import jax
import numpy as np
import pytest

from jaxdl.interop import from_linen, from_nnx
from jaxdl.ntk import empirical_ntk, explain

with warnings.catch_warnings():
    # Flax 0.12.6 uses names that JAX 0.10 is about to drop.
    warnings.simplefilter("ignore", DeprecationWarning)
    import flax.linen as nn  # noqa: TID251 (the reference)
    from flax import nnx  # noqa: TID251

pytestmark = pytest.mark.filterwarnings("ignore:jax.core:DeprecationWarning")

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 6, 5, 4))
TOKENS = RNG.integers(0, 9, size=(3, 5)).astype(np.int32)
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class LinenImages(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3, 2), strides=(2, 1), feature_group_count=2)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        x = nn.ConvTranspose(4, (2, 2), strides=(2, 1))(x)
        x = nn.gelu(nn.LayerNorm()(nn.Conv(4, (3, 3), padding="CIRCULAR")(x)))
        return nn.DenseGeneral((2, 2))(nn.avg_pool(x, (2, 2)).mean((1, 2)))


class LinenTokens(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(9, 4)
        h = embed(tokens)
        h = h + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(h))
        h = h + nn.Dense(4)(nn.gelu(nn.Dense(8)(nn.RMSNorm()(h))))
        h = nn.RNN(nn.LSTMCell(4))(h)
        h = nn.RNN(nn.GRUCell(4), reverse=True)(h)
        return embed.attend(h)[:, -1]


class NNXImages(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(4, 6, (3, 2), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.dense = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.dense(nnx.relu(self.norm(self.conv(x))).mean((1, 2)))


class NNXTokens(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(9, 4, rngs=rngs)
        self.norm = nnx.LayerNorm(4, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs)
        self.rnn = nnx.RNN(nnx.LSTMCell(4, 3, rngs=rngs))
        self.dense = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, tokens):
        h = self.embed(tokens)
        h = h + self.attention(self.norm(h))
        return self.dense(self.rnn(h)[:, -1])


def linen(module, x):
    return from_linen(module, module.init(jax.random.key(0), x))


CASES = {
    "linen images": (partial(linen, LinenImages()), IMAGES),
    "linen tokens": (partial(linen, LinenTokens()), TOKENS),
    "nnx images": (lambda x: from_nnx(NNXImages(nnx.Rngs(0))), IMAGES),
    "nnx tokens": (lambda x: from_nnx(NNXTokens(nnx.Rngs(0))), TOKENS),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_jacobians_and_nothing_falls_back(name):
    build, x = CASES[name]
    x = x if x.dtype == np.int32 else np.float32(x)
    apply, params = build(x)
    services = explain(apply, params, x).services
    assert not [service for service in services if service.fell_back]
    own = {s.name for s in services if s.rule == "own gradient"}
    scales = {s.name for s in services if s.name.endswith("'scale']")}
    shifts = {name.replace("'scale']", "'bias']") for name in scales}
    names = {s.name for s in services}
    assert own == scales | (shifts & names)  # of norms; all others go with a weight

    @jit
    def both(params, x):
        call = partial(empirical_ntk, apply, params, x)
        return call(method="structured"), call(method="jacobian")

    found, expected = (np.asarray(k) for k in both(params, x))
    assert found.dtype == np.float32
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * scale)
