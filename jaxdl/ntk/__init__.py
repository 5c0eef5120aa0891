"""Tangent kernels of any function: exact at finite width, streamed, on disk."""

from jaxdl.ntk.empirical import (
    empirical_nngp,
    empirical_ntk,
    empirical_ntk_per_layer,
)
from jaxdl.ntk.to_file import ntk_to_file

__all__ = [
    "empirical_nngp",
    "empirical_ntk",
    "empirical_ntk_per_layer",
    "ntk_to_file",
]
