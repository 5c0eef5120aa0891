"""Tangent kernels: of networks of infinite width."""

from jaxdl.ntk import infinite

__all__ = ["infinite"]
