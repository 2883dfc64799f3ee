"""Which classes and functions a pickle would call: read from its opcodes, nothing is run."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

_HARMLESS = {"_codecs encode", "collections OrderedDict"}
_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}


def foreign_globals(path: Path) -> list[str]:
    """Dotted names a checkpoint's pickle imports, other than torch's own; empty if it has none.

    Args:
        path: a zip archive of ``torch.save`` or a bare pickle.
    """
    found: list[str] = []
    for data in _streams(path):
        for name in _globals(data):
            dotted = name.replace(" ", ".")
            if name not in _HARMLESS and not name.startswith("torch") and dotted not in found:
                found.append(dotted)
    return found


def _streams(path: Path) -> list[bytes]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return [archive.read(name) for name in archive.namelist() if name.endswith(".pkl")]
    return [path.read_bytes()]


def _globals(data: bytes) -> list[str]:
    names: list[str] = []
    strings: list[str] = []  # every string pushed so far: STACK_GLOBAL takes the last two
    memo: dict[int, str] = {}
    last: str | None = None  # the string on top of the stack, if a string is there
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in {"GLOBAL", "INST"}:
                names.append(str(argument))
            elif opcode.name == "STACK_GLOBAL" and len(strings) >= 2:
                names.append(" ".join(strings[-2:]))
            if opcode.name == "MEMOIZE":
                memo[len(memo)] = last or ""
                continue
            if opcode.name in _PUTS:
                memo[int(argument or 0)] = last or ""
                continue
            last = None
            if opcode.name in _STRINGS:
                last = str(argument)
            elif opcode.name in _GETS:
                last = memo.get(int(argument or 0)) or None
            if last is not None:
                strings.append(last)
    except (ValueError, UnicodeDecodeError):  # not a whole pickle: what was seen is the answer
        pass
    return names
