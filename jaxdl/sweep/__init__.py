"""Sweeps: many points as few programs, on all devices, and no result lost."""

from jaxdl.sweep.execute import run
from jaxdl.sweep.grid import (
    Axis,
    Sweep,
    columns,
    masked,
    product,
    shapes,
    values,
    zipped,
)
from jaxdl.sweep.outcome import Failure, Outcome, Status
from jaxdl.sweep.plan import Bucket, Plan, plan
from jaxdl.sweep.store import merge, results, status, table

__all__ = [
    "Axis",
    "Bucket",
    "Failure",
    "Outcome",
    "Plan",
    "Status",
    "Sweep",
    "columns",
    "masked",
    "merge",
    "plan",
    "product",
    "results",
    "run",
    "shapes",
    "status",
    "table",
    "values",
    "zipped",
]
