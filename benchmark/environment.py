"""What a result was made on: package versions, git revision, hardware."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from benchmark.errors import UsageError

PACKAGES = (
    "stylebench", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "open_clip_torch",
    "facenet-pytorch", "datasets", "numpy", "scipy", "pillow", "pyarrow", "safetensors",
)  # fmt: skip
OWN_PACKAGES = ("benchmark", "baselines", "data", "reports")


def package_versions() -> dict[str, str | None]:
    """Installed versions; None where a package is missing."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def git_revision() -> str | None:
    """Commit of the working copy the package runs from (``-dirty`` if edited), None outside one."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--match="],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def hardware() -> dict[str, object]:
    """Processor, cores, memory in MiB, accelerators."""
    import psutil
    import torch

    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        # which kernels are chosen, and so how sums are rounded
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch_build": f"{torch.__version__}, CUDA {torch.version.cuda or 'none'}",
        "memory_mib": psutil.virtual_memory().total // 2**20,
        "accelerators": [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ],
    }


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def share_the_processor() -> None:
    """Let threads that wait for each other sleep; call it before torch is imported.

    OpenMP's threads spin while they wait. Where another process needs a core too, they spin away
    the time that the awaited thread would need: a run beside one busy process took more than ten
    times as long. A policy that the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def require_own_packages() -> None:
    """Refuse to work where another ``data`` or ``reports`` on the import path shadows ours.

    Raises:
        UsageError: names the path that shadows the package.
    """
    root = Path(__file__).resolve().parent.parent
    for name in OWN_PACKAGES:
        spec = find_spec(name)
        places = list(spec.submodule_search_locations or []) if spec else []
        if not places or Path(places[0]).resolve().parent != root:
            where = places[0] if places else (spec.origin if spec else "nothing")
            raise UsageError(
                f"the package {name!r} of stylebench is shadowed by {where} on the import path. "
                f"Run `bench` from another folder or remove that folder from PYTHONPATH."
            )


def is_rank_zero() -> bool:
    """Whether this process is the first of a run (Lightning's own launcher, torchrun, SLURM)."""
    keys = ("RANK", "SLURM_PROCID", "NODE_RANK", "GROUP_RANK", "LOCAL_RANK")
    return all(int(os.environ.get(key) or 0) == 0 for key in keys)


def command_line() -> list[str]:
    """The command as it was typed."""
    return ["bench", *sys.argv[1:]]
