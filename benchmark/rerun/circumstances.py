"""Why two runs of one config may differ: what their manifests say of machines and versions."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from benchmark.records import Manifest

Kind = Literal["other hardware", "other versions", "other code"]

# what decides which kernels run and in which order they add; memory and cores do not
_HARDWARE = ("processor", "cpu_capability", "accelerators", "torch_threads", "platform")
_VERSIONS = ("python", "torch_build")


class Circumstance(BaseModel):
    """One fact that differs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    what: str
    there: str | None
    here: str | None


def circumstances(there: Manifest, here: Manifest) -> list[Circumstance]:
    """Everything that may move a pixel and differs between two manifests.

    A fact that one manifest does not hold, as older ones lack some, is not compared.
    """
    found = []

    def compare(kind: Kind, what: str, first: object, second: object) -> None:
        if first != second:
            found.append(Circumstance(kind=kind, what=what, there=_text(first), here=_text(second)))

    for key in _HARDWARE:
        if key in there.hardware and key in here.hardware:
            compare("other hardware", key.replace("_", " "), there.hardware[key],
                    here.hardware[key])  # fmt: skip
    asked = (there.execution.get("accelerator"), here.execution.get("accelerator"))
    compare("other hardware", "accelerator asked for", *asked)
    for key in _VERSIONS:
        if key in there.hardware and key in here.hardware:
            compare("other versions", key.replace("_", " "), there.hardware[key],
                    here.hardware[key])  # fmt: skip
    for name in sorted(there.versions.keys() & here.versions.keys()):
        compare("other versions", name, there.versions[name], here.versions[name])
    kernels = ["compiled" if m.execution.get("compile") else "eager" for m in (there, here)]
    compare("other code", "kernels", *kernels)
    compare("other code", "git revision", there.git_revision, here.git_revision)
    return found


def reasons(there: Manifest, here: Manifest) -> list[str]:
    """Why the pictures may differ, a sentence each; never empty."""
    differing = circumstances(there, here)
    lines = []
    for kind in dict.fromkeys(item.kind for item in differing):
        facts = [f"{item.what} ({item.there or 'none'} there, {item.here or 'none'} here)"
                 for item in differing if item.kind == kind]  # fmt: skip
        lines.append(f"{kind}: {'; '.join(facts)}")
    threads = next((item for item in differing if item.what == "torch threads"), None)
    if threads is not None:
        lines.append(f"OMP_NUM_THREADS={threads.there} would give the rerun as many threads")
    edited = [m.git_revision for m in (there, here) if (m.git_revision or "").endswith("-dirty")]
    if edited:
        lines.append(
            f"a working copy had changes that were not committed ({edited[0]}), so the code may "
            f"differ where the revision does not"
        )
    if not differing:
        lines.append(
            f"neither hardware nor versions nor revision differ, so far as the manifests record "
            f"them: {there.config.method} itself is not reproducible (`bench validate "
            f"{there.config.method}` looks for the cause)"
        )
    return lines


def _text(value: object) -> str | None:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or None
    return None if value is None else str(value)
