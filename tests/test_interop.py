import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from jaxdl.interop import from_linen, from_nnx, to_optax
from jaxdl.models import mlp
from jaxdl.nn import Dense
from jaxdl.ntk import ntk_vector_product

with warnings.catch_warnings():
    # Flax 0.12.6 uses names that JAX 0.10 is about to drop.
    warnings.simplefilter("ignore", DeprecationWarning)
    import flax.linen as nn  # noqa: TID251 (the reference)
    from flax import nnx  # noqa: TID251

pytestmark = pytest.mark.filterwarnings("ignore:jax.core:DeprecationWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3)).astype(np.float32)
IMAGES = RNG.normal(size=(2, 6, 6, 3)).astype(np.float32)
TOKENS = RNG.integers(0, 9, size=(2, 5))
SIZES = (3, 6, 2)
WEIGHTS = [RNG.normal(size=s).astype(np.float32) for s in ((3, 6), (6, 2))]
BIASES = [RNG.normal(size=s).astype(np.float32) for s in (6, 2)]


class LinenConvNet(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x))
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(2)(x.reshape(len(x), -1))


class LinenTokens(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(9, 4)
        words = embed(tokens["words"]) * tokens["weight"][..., None]
        return embed.attend(nn.RNN(nn.LSTMCell(4))(words))


class NNXConvNet(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.dense = nnx.Linear(36, 2, rngs=rngs)

    def __call__(self, x, deterministic=None, use_running_average=None):
        x = self.norm(nnx.relu(self.conv(x)), use_running_average)
        x = self.dropout(x, deterministic=deterministic)
        return self.dense(x.reshape(len(x), -1))


class NNXTokens(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(9, 4, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(11)])
        self.shared = self.layers[2]
        self.rnn = nnx.RNN(nnx.LSTMCell(4, 4, rngs=rngs))

    def __call__(self, tokens):
        words = self.embed(tokens["words"]) * tokens["weight"][..., None]
        for factor, layer in enumerate([*self.layers, self.shared]):
            words = jnp.sin(factor + layer(words))
        return self.embed.attend(self.rnn(words))


def examples():
    weight = np.linspace(0.5, 1, 10).reshape(2, 5).astype(np.float32)
    return {"words": TOKENS, "weight": weight}


def changed(tree):
    """Other values, so that no initial 0 or 1 hides a mistake."""
    return jax.tree.map(
        lambda a: a + RNG.uniform(0.1, 1, size=a.shape).astype(a.dtype), tree
    )


def mapped(apply, params, x):
    return jax.jit(jax.vmap(apply, (None, 0)))(params, x)


def plain(tree):
    """Whether there is nothing but dictionaries and arrays."""
    if isinstance(tree, dict):
        return type(tree) is dict and all(map(plain, tree.values()))
    return isinstance(tree, jax.Array)


def linen_convnet():
    module = LinenConvNet()
    variables = module.init(jax.random.key(0), IMAGES, train=False)
    return module, changed(variables)


def nnx_convnet():
    module = NNXConvNet(nnx.Rngs(0))
    state = nnx.state(module, (nnx.Param, nnx.BatchStat))
    nnx.update(module, changed(state))
    return module


def test_a_linen_convnet_in_evaluation_mode():
    module, variables = linen_convnet()
    apply, params = from_linen(module, variables, train=False)
    expected = module.apply(variables, IMAGES, train=False)
    np.testing.assert_allclose(mapped(apply, params, IMAGES), expected, rtol=1e-5)
    assert plain(params)
    assert set(params) == {"Conv_0", "BatchNorm_0", "Dense_0"}
    assert set(params["BatchNorm_0"]) == {"scale", "bias"}
    double = jax.tree.map(lambda a: 2 * a, params)
    expected = module.apply({**variables, "params": double}, IMAGES, train=False)
    np.testing.assert_allclose(mapped(apply, double, IMAGES), expected, rtol=1e-5)


def test_an_nnx_convnet_in_evaluation_mode():
    module = nnx_convnet()
    apply, params = from_nnx(module)
    assert not module.dropout.deterministic  # the module itself is as it was
    assert not module.norm.use_running_average
    module.eval()
    expected = np.asarray(module(IMAGES))
    module.norm.mean[...] += 1.0  # comes too late
    np.testing.assert_allclose(mapped(apply, params, IMAGES), expected, rtol=1e-5)
    assert plain(params)
    assert set(params) == {"conv", "norm", "dense"}
    assert set(params["norm"]) == {"scale", "bias"}


@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_gradients_are_those_of_flax(kind):
    if kind == "linen":
        module, variables = linen_convnet()
        apply, params = from_linen(module, variables, train=False)
        rest = {"batch_stats": variables["batch_stats"]}

        def theirs(params):
            return jnp.sum(module.apply({"params": params, **rest}, IMAGES, False) ** 2)

        expected = jax.grad(theirs)(params)
    else:
        module = nnx_convnet()
        apply, params = from_nnx(module)
        module.eval()
        slopes = nnx.grad(lambda module: jnp.sum(module(IMAGES) ** 2))(module)
        expected = nnx.to_pure_dict(slopes)

    def ours(params):
        return jnp.sum(jax.vmap(apply, (None, 0))(params, IMAGES) ** 2)

    found = jax.jit(jax.grad(ours))(params)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3),
        found,
        expected,
    )


def test_tokens_tied_embeddings_and_recurrence():
    module = LinenTokens()
    variables = changed(module.init(jax.random.key(0), examples()))
    apply, params = from_linen(module, variables)
    expected = module.apply(variables, examples())
    np.testing.assert_allclose(mapped(apply, params, examples()), expected, rtol=1e-4)
    assert expected.shape == (2, 5, 9)

    module = NNXTokens(nnx.Rngs(1))
    apply, params = from_nnx(module)
    expected = module(examples())
    np.testing.assert_allclose(mapped(apply, params, examples()), expected, rtol=1e-4)
    # Ten and more layers keep their order, and a shared one is there once.
    assert set(params) == {"embed", "layers", "rnn"}
    assert list(params["layers"]) == list(range(11))


def test_the_same_network_four_ways():
    layers = tuple(map(Dense, WEIGHTS, BIASES))
    pairs = [{"kernel": w, "bias": b} for w, b in zip(WEIGHTS, BIASES, strict=True)]
    linen = nn.Sequential([nn.Dense(6), nn.relu, nn.Dense(2)])
    variables = {"params": {"layers_0": pairs[0], "layers_2": pairs[1]}}
    rngs = nnx.Rngs(0)
    module = nnx.Sequential(
        nnx.Linear(3, 6, rngs=rngs), nnx.relu, nnx.Linear(6, 2, rngs=rngs)
    )
    nnx_apply, _ = from_nnx(module, batched=False)

    def closure(params, x):
        hidden = jax.nn.relu(x @ params[0]["kernel"] + params[0]["bias"])
        return hidden @ params[1]["kernel"] + params[1]["bias"]

    ways = [
        (mlp.apply, layers),
        (closure, pairs),
        from_linen(linen, variables),
        (nnx_apply, {"layers": {0: pairs[0], 2: pairs[1]}}),
    ]
    v = RNG.normal(size=(4, 2)).astype(np.float32)
    outputs, products = [], []
    for apply, params in ways:
        outputs.append(mapped(apply, params, X))
        products.append(ntk_vector_product(apply, params, X, None, v))
    for output, product in zip(outputs[1:], products[1:], strict=True):
        np.testing.assert_allclose(output, outputs[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(product, products[0], rtol=1e-5)


def test_a_module_of_one_example():
    module = nn.RNN(nn.SimpleCell(2))
    variables = module.init(jax.random.key(0), X)
    apply, params = from_linen(module, variables, batched=False)
    expected = module.apply(variables, X)
    np.testing.assert_allclose(apply(params, X), expected, rtol=1e-6)

    class Total(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.sum(nn.Dense(2)(x))

        def half(self, x):
            return self(x) / 2

    module = Total()
    variables = module.init(jax.random.key(0), X[0])
    apply, params = from_linen(module, variables)
    with pytest.raises(
        ValueError, match=r"module must return the batch axis .* \[\(\)"
    ):
        apply(params, X[0])
    apply, params = from_linen(module, variables, batched=False, method="half")
    expected = module.apply(variables, X[0]) / 2
    np.testing.assert_allclose(apply(params, X[0]), expected, rtol=1e-6)


@pytest.mark.parametrize("jitted", [False, True])
def test_training_mode_is_refused(jitted):
    wrap = jax.jit if jitted else lambda f: f
    module, variables = linen_convnet()
    apply, params = from_linen(module, variables, train=True)
    with pytest.raises(ValueError, match="module must not update its collections"):
        wrap(apply)(params, IMAGES[0])
    dropout = nn.Sequential([nn.Dense(6), nn.Dropout(0.5, deterministic=False)])
    variables = {"params": {"layers_0": {"kernel": WEIGHTS[0], "bias": BIASES[0]}}}
    apply, params = from_linen(dropout, variables)
    with pytest.raises(ValueError, match="module must not draw"):
        wrap(apply)(params, X[0])

    module = nnx_convnet()
    for argument, part in (("deterministic", "dropout"), ("use_running_average", "n")):
        apply, params = from_nnx(module, **{argument: False})
        with pytest.raises(ValueError, match=f"module must not update .*'{part}"):
            wrap(apply)(params, IMAGES[0])


def test_wrong_modules_and_variables():
    module, variables = linen_convnet()
    for name in ("rngs", "mutable", "capture_intermediates"):
        with pytest.raises(ValueError, match=f"kwargs must not have '{name}'"):
            from_linen(module, variables, **{name: {}})
    with pytest.raises(ValueError, match=r"collection 'params' .* got \['BatchNorm_0'"):
        from_linen(module, variables["params"])
    with pytest.raises(
        ValueError, match=r"collection 'params' .* got \['batch_stats'\]"
    ):
        from_linen(module, {"batch_stats": variables["batch_stats"]})
    with pytest.raises(ValueError, match=r"module must be an nnx\.Module, got Linen"):
        from_nnx(module)
    with pytest.raises(
        ValueError, match=r"module must have variables of type nnx\.Par"
    ):
        from_nnx(nnx.Dropout(0.5))
    for apply, params in (
        from_linen(module, variables, train=False),
        from_nnx(nnx_convnet()),
    ):
        params = dict(params)
        params.pop(sorted(params)[0])
        with pytest.raises(ValueError, match="params must be a tree"):
            apply(params, IMAGES[0])


def test_flax_is_imported_when_it_is_used():
    code = "import sys, jaxdl.interop; print('flax' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def needs_loss():
    def update(updates, state, params=None, *, loss, **extra):
        del params, extra
        return loss * updates, state

    return optim.GradientTransformation(lambda _: optim.EmptyState(), update)


def test_extra_arguments_reach_ours_through_optax():
    gradient = jnp.array([1.0, -2.0])
    wrapped = optax.chain(optax.scale(2.0), to_optax(needs_loss()))
    updates, _ = wrapped.update(gradient, wrapped.init(gradient), gradient, loss=3.0)
    np.testing.assert_array_equal(updates, [6.0, -12.0])
    bare = optax.chain(needs_loss())
    with pytest.raises(TypeError, match="loss"):
        bare.update(gradient, bare.init(gradient), gradient, loss=3.0)


def test_extra_arguments_may_be_ignored():
    gradient = jnp.array([1.0, -2.0])
    wrapped = to_optax(optim.identity())
    assert isinstance(wrapped, optax.GradientTransformationExtraArgs)
    updates, state = wrapped.update(gradient, wrapped.init(gradient), loss=3.0)
    np.testing.assert_array_equal(updates, gradient)
    assert state == optim.EmptyState()


def test_a_trajectory_is_the_same_through_optax():
    ours = optim.adam(0.1, b1=0.7, b2=0.9, eps=0.01)
    params = [jnp.array([3.0, -1.0])] * 2
    states = [ours.init(params[0]), to_optax(ours).init(params[0])]
    for _ in range(5):
        for i, transform in enumerate((ours, to_optax(ours))):
            gradient = params[i] * jnp.array([1.0, 10.0])
            updates, states[i] = transform.update(gradient, states[i], params[i])
            params[i] = optax.apply_updates(params[i], updates)
    np.testing.assert_array_equal(params[0], params[1])
