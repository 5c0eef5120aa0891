"""Checked experiments in the science of deep learning, on JAX."""

__version__ = "0.1.0.dev0"
