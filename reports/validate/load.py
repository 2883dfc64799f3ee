"""A method class from an installed entry point or from a plug-in file."""

from __future__ import annotations

import hashlib
import inspect
import logging
import sys
import traceback
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType, ModuleType

from benchmark import registry
from benchmark.errors import BenchError, UsageError, unknown_name
from benchmark.interface import StyleTransferMethod

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedMethod:
    """``name`` is the entry point's, under which a protocol may hold config values, or the path."""

    name: str
    method: type[StyleTransferMethod]


class _PluginLoader(SourceFileLoader):
    """Reads the source each time and leaves no ``__pycache__`` in the user's folder."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load_method(text: str) -> LoadedMethod:
    """The class that ``METHOD`` of the command line names.

    Args:
        text: an entry point (``ours``), or ``path/to/file.py``, or ``path/to/file.py:Class``.

    Raises:
        UsageError: unknown name, no such file or class, a file that Python cannot run, a class that
            is no complete StyleTransferMethod.
        BenchError: an entry point whose package cannot be imported.
    """
    if text in registry.names(registry.METHODS):
        found = registry.load(registry.METHODS, text)
        return LoadedMethod(text, _complete(found, f"the entry point {text!r}"))
    file, _, class_name = text.rpartition(":")
    if not file.endswith(".py"):
        file, class_name = text, ""
    if not file.endswith(".py"):
        error = unknown_name("method", text, registry.names(registry.METHODS))
        raise UsageError(f"{error}. A plug-in is given as path/to/file.py or path/to/file.py:Class")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"{path} does not exist: give the path of the method's Python file")
    module = _run(path)
    return LoadedMethod(text, _choose(module, path, class_name))


def _run(path: Path) -> ModuleType:
    """The file as a module; its folder does not come onto ``sys.path``."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"bench_plugin_{digest}"
    spec = ModuleSpec(name, _PluginLoader(name, str(path)), origin=str(path))
    spec.has_location = True
    module = module_from_spec(spec)
    # pydantic and dataclasses look a class's module up there
    sys.modules[name] = module
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if isinstance(error, KeyboardInterrupt):
            raise
        log.info("%s could not be run", path, exc_info=error)
        raise _explained(path, error) from error
    return module


def _explained(path: Path, error: BaseException) -> BenchError:
    if isinstance(error, SyntaxError):
        return UsageError(
            f"{error.filename or path}, line {error.lineno}: {error.msg}. Python cannot read the "
            f"file; correct that line."
        )
    if isinstance(error, OSError) and error.filename == str(path):
        return UsageError(f"{path} cannot be read: {error.strerror}")
    place = where(error, str(path))
    if isinstance(error, ModuleNotFoundError):
        return UsageError(
            f"{place}: {error}. Install that package; modules that lie beside the file are not "
            f"found, since its folder is not on the import path."
        )
    return UsageError(f"{place}: the file fails when it is run: {type(error).__name__}: {error}")


def where(error: BaseException, file: str | None = None) -> str:
    """``file.py, line 12``: the last frame of an error, or its last one in ``file``."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if frame.filename == file] or list(frames)
    if not inside:
        return file or "unknown place"
    return f"{inside[-1].filename}, line {inside[-1].lineno}"


def _choose(module: ModuleType, path: Path, class_name: str) -> type[StyleTransferMethod]:
    own = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, StyleTransferMethod)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }
    if class_name:
        if not hasattr(module, class_name):
            known = ", ".join(sorted(own)) or "none"
            raise UsageError(f"{path} has no class {class_name!r}; its methods: {known}")
        return _complete(getattr(module, class_name), f"{class_name} in {path}")
    if not own:
        raise UsageError(
            f"{path} defines no method: write a class that derives from "
            f"benchmark.interface.StyleTransferMethod"
        )
    complete = {name: value for name, value in own.items() if not inspect.isabstract(value)} or own
    if len(complete) > 1:
        choices = ", ".join(f"{path}:{name}" for name in sorted(complete))
        raise UsageError(f"{path} defines several methods; name one of them: {choices}")
    ((name, value),) = complete.items()
    return _complete(value, f"{name} in {path}")


def _complete(found: object, what: str) -> type[StyleTransferMethod]:
    if not (isinstance(found, type) and issubclass(found, StyleTransferMethod)):
        kind = f"the class {found.__name__}" if isinstance(found, type) else type(found).__name__
        raise UsageError(
            f"{what} is not a StyleTransferMethod but {kind}: derive it from "
            f"benchmark.interface.StyleTransferMethod"
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise UsageError(f"{what} does not define {missing}, which every method needs")
    return found
