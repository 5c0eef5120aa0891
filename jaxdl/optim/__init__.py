"""Optimizers: gradient transformations, learning-rate schedules, averaging."""

from jaxdl.optim.accumulation import (
    AccumulateState,
    accumulate,
)
from jaxdl.optim.adagrad import (
    AdagradState,
    adagrad,
    scale_by_adagrad,
)
from jaxdl.optim.adam import (
    AdamState,
    adam,
    adamw,
    nadam,
    scale_by_adam,
)
from jaxdl.optim.adaptive_damping import (
    AdaptDampingState,
    adapt_damping,
)
from jaxdl.optim.amsgrad import (
    AmsgradState,
    amsgrad,
    scale_by_amsgrad,
)
from jaxdl.optim.averaging import (
    AverageState,
    ema_average,
    polyak_average,
)
from jaxdl.optim.base import (
    EmptyState,
    GradientTransformation,
    apply_updates,
    chain,
    identity,
    set_to_zero,
    stateless,
    with_extra_args,
)
from jaxdl.optim.clipping import (
    clip,
    clip_by_global_norm,
    global_norm,
)
from jaxdl.optim.gauss_newton import (
    gauss_newton,
    levenberg_marquardt,
)
from jaxdl.optim.hyperparameters import (
    InjectHyperparamsState,
    inject_hyperparams,
)
from jaxdl.optim.inverse_curvature import (
    SolveState,
    scale_by_inverse_curvature,
)
from jaxdl.optim.learning_rate import (
    ScaleByScheduleState,
    scale,
    scale_by_learning_rate,
    scale_by_schedule,
)
from jaxdl.optim.masking import (
    MaskedNode,
    MaskedState,
    PartitionState,
    masked,
    partition,
)
from jaxdl.optim.momentum import (
    MomentumState,
    add_momentum,
    momentum,
    nesterov,
    sgd,
)
from jaxdl.optim.natural_gradient import (
    natural_gradient,
)
from jaxdl.optim.newton import (
    newton,
)
from jaxdl.optim.noise import (
    AddNoiseState,
    add_noise,
)
from jaxdl.optim.nonfinite import (
    ApplyIfFiniteState,
    apply_if_finite,
)
from jaxdl.optim.regularization import (
    add_decayed_weights,
    add_l1_subgradient,
    proximal_l1,
)
from jaxdl.optim.rms import (
    RmsState,
    rmsprop,
    scale_by_rms,
)
from jaxdl.optim.saddle_free import (
    saddle_free_newton,
    scale_by_inverse_modulus,
)
from jaxdl.optim.schedules import (
    constant_schedule,
    cosine_decay,
    exponential_decay,
    inverse_root_decay,
    inverse_time_decay,
    join_schedules,
    piecewise_constant,
    polynomial_decay,
    step_decay,
    warmup,
)
from jaxdl.optim.sign import (
    LionState,
    lion,
    scale_by_lion,
    scale_by_sign,
    sign_sgd,
)

__all__ = [
    "AccumulateState",
    "AdagradState",
    "AdamState",
    "AdaptDampingState",
    "AddNoiseState",
    "AmsgradState",
    "ApplyIfFiniteState",
    "AverageState",
    "EmptyState",
    "GradientTransformation",
    "InjectHyperparamsState",
    "LionState",
    "MaskedNode",
    "MaskedState",
    "MomentumState",
    "PartitionState",
    "RmsState",
    "ScaleByScheduleState",
    "SolveState",
    "accumulate",
    "adagrad",
    "adam",
    "adamw",
    "adapt_damping",
    "add_decayed_weights",
    "add_l1_subgradient",
    "add_momentum",
    "add_noise",
    "amsgrad",
    "apply_if_finite",
    "apply_updates",
    "chain",
    "clip",
    "clip_by_global_norm",
    "constant_schedule",
    "cosine_decay",
    "ema_average",
    "exponential_decay",
    "gauss_newton",
    "global_norm",
    "identity",
    "inject_hyperparams",
    "inverse_root_decay",
    "inverse_time_decay",
    "join_schedules",
    "levenberg_marquardt",
    "lion",
    "masked",
    "momentum",
    "nadam",
    "natural_gradient",
    "nesterov",
    "newton",
    "partition",
    "piecewise_constant",
    "polyak_average",
    "polynomial_decay",
    "proximal_l1",
    "rmsprop",
    "saddle_free_newton",
    "scale",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_amsgrad",
    "scale_by_inverse_curvature",
    "scale_by_inverse_modulus",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_rms",
    "scale_by_schedule",
    "scale_by_sign",
    "set_to_zero",
    "sgd",
    "sign_sgd",
    "stateless",
    "step_decay",
    "warmup",
    "with_extra_args",
]
