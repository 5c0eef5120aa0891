"""Where a run takes place: versions, device, revision."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxdl

ROOT = Path(__file__).parent.parent


def environment() -> dict[str, Any]:
    """Where a run takes place.

    Returns:
        JSON object: versions, platform, device, default dtype, git revision (None
        outside a checkout with commits).
    """
    device = jax.devices()[0]
    versions = {name: metadata.version(name) for name in ("jax", "jaxlib", "numpy")}
    return {
        "versions": {
            "python": platform.python_version(),
            **versions,
            "jaxdl": jaxdl.__version__,
        },
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "device": {
            "backend": jax.default_backend(),
            "kind": device.device_kind,
            "count": jax.device_count(),
        },
        "x64": bool(jax.config.jax_enable_x64),
        "default_dtype": str(jnp.zeros(()).dtype),
        "git": _git(),
    }


def _git() -> dict[str, Any] | None:
    """Revision of the checkout, and whether it has changes that are not committed."""

    def ask(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        revision = ask("rev-parse", "--verify", "HEAD")
        return {"revision": revision, "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
