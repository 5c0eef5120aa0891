"""Is training healthy? Gradients, units, conditioning, and what a curve shows."""

from jaxdl.diagnostics.activations import (
    ActivationStatistics,
    activation_gradients,
    activation_statistics,
)
from jaxdl.diagnostics.conditioning import (
    DataConditioning,
    data_conditioning,
    operator_conditioning,
)
from jaxdl.diagnostics.diagnose import PROBLEMS, Symptom, diagnose
from jaxdl.diagnostics.gradient_check import (
    GradientCheck,
    LeafCheck,
    StepSweep,
    check_gradient,
    step_sweep,
)
from jaxdl.diagnostics.gradients import (
    GradientStatistics,
    gradient_statistics,
    scaled_norm,
)
from jaxdl.diagnostics.leaves import leaf_names
from jaxdl.diagnostics.ravines import (
    Path,
    Ravine,
    SecantCurvature,
    path,
    ravine,
    secant_curvature,
)
from jaxdl.diagnostics.through_time import (
    JacobianNorms,
    gradient_norms_through_time,
    jacobian_norms,
)
from jaxdl.diagnostics.training_curve import CurveShape, curve_shape

__all__ = [
    "PROBLEMS",
    "ActivationStatistics",
    "CurveShape",
    "DataConditioning",
    "GradientCheck",
    "GradientStatistics",
    "JacobianNorms",
    "LeafCheck",
    "Path",
    "Ravine",
    "SecantCurvature",
    "StepSweep",
    "Symptom",
    "activation_gradients",
    "activation_statistics",
    "check_gradient",
    "curve_shape",
    "data_conditioning",
    "diagnose",
    "gradient_norms_through_time",
    "gradient_statistics",
    "jacobian_norms",
    "leaf_names",
    "operator_conditioning",
    "path",
    "ravine",
    "scaled_norm",
    "secant_curvature",
    "step_sweep",
]
