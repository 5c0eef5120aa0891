"""Optax's own test files run against jaxdl; `optax_adapter` puts ours in place.

The tables below say what is left out, and why. A test that calls no function of
jaxdl shows nothing about it, so it is left out too.
"""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from tests.optim.optax_adapter import OPTIMIZERS, ROOT, load

FILES = [
    "_src.alias_test",
    "_src.base_test",
    "_src.combine_test",
    "_src.float64_test",
    "_src.transform_test",
    "_src.update_test",
    "schedules._inject_test",
    "schedules._join_test",
    "schedules._schedule_test",
    "transforms._accumulation_test",
    "transforms._adding_test",
    "transforms._clipping_test",
    "transforms._combining_test",
    "transforms._conditionality_test",
    "transforms._freezing_test",
    "transforms._masking_test",
]
OTHER_PROCESS = ["_src.sharding_test"]

LEFT_OUT_FILES = {
    "_src.factorized_test": "adafactor is not in jaxdl",
    "_src.linear_algebra_test": "matrix roots are not in jaxdl.optim",
    "_src.linesearch_test": "line searches are not in jaxdl",
    "_src.lookahead_test": "lookahead is not in jaxdl",
    "_src.numerics_test": "of optax's numerical helpers only",
    "_src.utils_test": "of optax's helpers only",
    "assignment": "not optimizers",
    "contrib": "of optimizers that are not in jaxdl",
    "experimental": "of optimizers that are not in jaxdl",
    "losses": "not optimizers",
    "microbatching": "not optimizers",
    "optax_test": "checks that optax can be imported",
    "perturbations": "not optimizers",
    "projections": "not optimizers",
    "transforms._constraining_test": "keep_params_nonnegative, zero_nans: not in jaxdl",
    "transforms._layouts_test": "flatten is not in jaxdl",
    "transforms._monitoring_test": "monitor, snapshot are not in jaxdl",
    "tree_utils": "of optax's tree functions only",
}

# Optimizers of optax's lists that jaxdl does not have.
NOT_IN_JAXDL = {
    *("adabelief", "adadelta", "adafactor", "adafactor2", "adamax", "adamaxw", "adan"),
    *("apply_every_k", "fromage", "lamb", "lars", "lbfgs", "nadamw", "novograd"),
    *("optimistic_adam", "optimistic_adam_v2", "optimistic_gradient_descent"),
    *("polyak_sgd", "radam", "rprop", "scale_by_trust_ratio", "signum", "sm3", "yogi"),
}

ONLY_OPTAX = "calls no function of jaxdl"
STEPS_FROM_ONE = "jaxdl rejects a schedule over no steps; optax makes it constant"
EXPONENT = "jaxdl's cosine has no exponent"
MESSAGE = "expects a message that JAX 0.12 words differently: fails with optax too"
LEFT_OUT = {
    "alias_test.LBFGSTest": "L-BFGS is not in jaxdl",
    "base_test.BaseTest.test_typing": ONLY_OPTAX,
    "base_test.ExtraArgsTest": ONLY_OPTAX,
    "base_test.StatelessWithTreeMapTest": ONLY_OPTAX,
    "transform_test.TransformTest.test_centralize": ONLY_OPTAX,
    "transform_test.TransformTest.test_lion_invalid_mode": "jaxdl's Lion has one mode",
    "transform_test.TransformTest.test_lion_modes": "jaxdl's Lion has one mode",
    "transform_test.TransformTest.test_scale_by_optimistic_gradient": ONLY_OPTAX,
    "transform_test.TransformTest.test_scale_by_polyak_l1_norm": ONLY_OPTAX,
    "transform_test.TransformTest.test_scalers_adadelta": ONLY_OPTAX,
    "transform_test.TransformTest.test_scalers_adamax": ONLY_OPTAX,
    "transform_test.TransformTest.test_scalers_adan": ONLY_OPTAX,
    "transform_test.TransformTest.test_scalers_distance": ONLY_OPTAX,
    "transform_test.TransformTest.test_scalers_normalize": ONLY_OPTAX,
    "transform_test.TransformTest.test_scalers_param_block": ONLY_OPTAX,
    "transform_test.TransformTest.test_scalers_polyak": ONLY_OPTAX,
    "transform_test.TransformTest.test_scalers_trust_ratio": ONLY_OPTAX,
    "update_test.UpdateTest.test_incremental": ONLY_OPTAX,
    "update_test.UpdateTest.test_none_argument_incremental": ONLY_OPTAX,
    "update_test.UpdateTest.test_periodic": ONLY_OPTAX,
    "_inject_test.InjectHyperparamsTest.test_hyperparam_default_dtype_bf16": (
        "wants b2 = 0.999 in bfloat16, where it is 1; jaxdl keeps float32"
    ),
    "_inject_test.StatefulTest": "jaxdl's schedules have no state",
    "_schedule_test.CosineDecayTest.test_with_exponent": EXPONENT,
    "_schedule_test.ExponentialTest.test_nonvalid_decay_rate": (
        "jaxdl has no meaning of a decay to the power 0"
    ),
    "_schedule_test.ExponentialTest.test_nonvalid_transition_steps": STEPS_FROM_ONE,
    "_schedule_test.OneCycleTest": ONLY_OPTAX,
    "_schedule_test.PiecewiseInterpolateTest": ONLY_OPTAX,
    "_schedule_test.PolynomialTest.test_zero_steps": STEPS_FROM_ONE,
    "_schedule_test.WarmupCosineDecayTest.test_monotonicity_and_exponent": EXPONENT,
    "_schedule_test.WarmupCosineDecayTest.test_with_exponent": EXPONENT,
    "_schedule_test.WarmupCosineDecayTest.test_zero_peak_value": EXPONENT,
    "_accumulation_test.AccumulationTest.test_ema": ONLY_OPTAX,
    "_accumulation_test.AccumulationTest.test_multi_steps_skip_not_finite": (
        "in jaxdl skipping is apply_if_finite around accumulate; tested there"
    ),
    "_accumulation_test.AccumulationTest.test_skip": ONLY_OPTAX,
    "_clipping_test.ClippingTest.test_adaptive": ONLY_OPTAX,
    "_clipping_test.ClippingTest.test_clip_by_block_rms": ONLY_OPTAX,
    "_clipping_test.ClippingTest.test_per_example": ONLY_OPTAX,
    "_clipping_test.ClippingTest.test_unitwise": ONLY_OPTAX,
    "_conditionality_test.ConditionallyMaskTest.test_statefull": ONLY_OPTAX,
    "_conditionality_test.ConditionallyTransformTest.test_statefull": ONLY_OPTAX,
    "_freezing_test.FreezeTest.test_bad_structure": MESSAGE,
    "_freezing_test.SelectiveTransformTest.test_selective_bad_structure": MESSAGE,
}
SLOW = {
    "alias_test.AliasTest.test_gradient_accumulation",
    "alias_test.AliasTest.test_optimization",
    "alias_test.AliasTest.test_optimizers_can_be_wrapped",
    "alias_test.AliasTest.test_state_shape_dtype_shard_stability",
    "_accumulation_test.AccumulationTest.test_multi_steps_mixed_precision",
    "combine_test",
    "float64_test",
    "_schedule_test.ScheduleAsLearningRateTest",
}
CONSTANTS = {
    "_OPTIMIZERS_UNDER_TEST": lambda cases: tuple(
        case for case in cases if case["opt_name"] not in NOT_IN_JAXDL
    ),
    "ALL_MODULES": lambda cases: [c for c in cases if c[0] not in NOT_IN_JAXDL],
    "OPTIMIZERS": lambda cases: {
        name: case for name, case in cases.items() if name not in NOT_IN_JAXDL
    },
}


def collect():
    """Optax's test classes, by the names that pytest finds them under."""
    classes, used = {}, set()
    for file in FILES:
        stem = file.rpartition(".")[2]
        for name, cls in load(file, CONSTANTS).items():
            for test in [key for key in vars(cls) if key.startswith("test")]:
                full = f"{stem}.{name}.{test}"
                entries = set(filter(full.startswith, [*LEFT_OUT, *SLOW]))
                used |= entries
                if entries & set(LEFT_OUT):
                    delattr(cls, test)
                elif entries:
                    setattr(cls, test, pytest.mark.slow(getattr(cls, test)))
            classes[f"{stem}_{name}"] = cls
    return classes, {*LEFT_OUT, *SLOW} - used


CLASSES, UNUSED = collect()
globals().update(CLASSES)


# Flax, which two of optax's tests use, calls what JAX has moved.
pytestmark = pytest.mark.filterwarnings("ignore:jax.core:DeprecationWarning")


@pytest.fixture(autouse=True)
def _as_optax_sets_jax_up():
    """Optax broadcasts ranks; a float64 test of its that fails leaves float64 on."""
    with jax.numpy_rank_promotion("allow"):
        yield
    jax.config.update("jax_enable_x64", False)


def test_every_entry_of_the_tables_is_used():
    assert not UNUSED


def test_every_test_file_of_optax_is_run_or_left_out_for_a_reason():
    left_out = set()
    for path in ROOT.rglob("*_test.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if name in [*FILES, *OTHER_PROCESS]:
            continue
        reasons = {e for e in LEFT_OUT_FILES if f"{name}.".startswith(f"{e}.")}
        assert reasons, f"{name} is neither run nor left out"
        left_out |= reasons
    assert left_out == set(LEFT_OUT_FILES)


@pytest.mark.slow
def test_states_keep_their_sharding():
    # Eight devices need a process of their own. The tests look at the version as a
    # string, by which 0.12 is before 0.7.2, and would skip themselves.
    code = """
import unittest
from tests.optim import optax_adapter, test_optax_suite as suite
import jax
substitutes = {"optax": optax_adapter.OPTIMIZERS, "jax": {"__version__": "9"}}
(ShardingTest,) = optax_adapter.load(
    "_src.sharding_test", suite.CONSTANTS, substitutes
).values()
for name in dir(ShardingTest):
    if name.startswith("test_microbatch"):  # of optax only
        delattr(ShardingTest, name)
assert len(jax.devices()) == 8
unittest.main(verbosity=0)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        },
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    # Init of abstract shapes, and two tests of states, for each of our optimizers.
    ours = len(set(OPTIMIZERS) - {"sign_sgd"})  # not in that file's list
    assert f"Ran {3 * ours} tests" in answer.stderr
    assert "skipped" not in answer.stderr
