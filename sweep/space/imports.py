"""Python files that a space imports: they register what `sweep` does not know by itself.

``imports: [my_module]`` in a space file is ``my_module.py`` beside it. Its text goes along with the
sweep:
into the sweep's folder, and to every process that works for it, on this machine or a cluster.
"""

import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256 as _sha256
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import cloudpickle

from sweep.errors import SpaceError, nearest
from sweep.space.registries import TEXT

FOLDER = "imports"  # subfolder of a sweep's folder

_loaded: dict[str, "ImportedModule"] = {}


@dataclass(frozen=True)
class ImportedModule:
    """The text of a Python file, and where it was read, for tracebacks."""

    name: str
    text: str
    path: str

    @property
    def sha256(self) -> str:
        """The SHA-256 of the text."""
        return _sha256(self.text.encode()).hexdigest()


def import_beside(names: object, folder: Path) -> None:
    """Import Python files of a folder, or of ``imports`` in it, as the entry of a space names them.

    Raises SpaceError: the entry is no list of names, a file is not there, or it raises.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SpaceError("imports: write a list of names: imports: [my_module] for my_module.py")
    import_modules(_read(name, folder) for name in names)


def import_modules(modules: Iterable[ImportedModule]) -> None:
    """Run the text of modules, each once in a process as long as it stays the same.

    Raises SpaceError: it raises something, or an installed module has its name.
    """
    for module in modules:
        known = _loaded.get(module.name)
        if known is None:
            _refuse_taken_name(module)
        if known is None or known.text != module.text:
            _run(module)


def imported(names: Iterable[str]) -> tuple[ImportedModule, ...]:
    """Return the modules of these names, which were imported here.

    Raises SpaceError if one was not, as `load_space` does it.
    """
    found = {name: _loaded.get(name) for name in names}
    if missing := [name for name, module in found.items() if module is None]:
        raise SpaceError(f"imports: {', '.join(missing)}: read the space by load_space")
    return tuple(module for module in found.values() if module is not None)


def _read(name: str, folder: Path) -> ImportedModule:
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise SpaceError(f"imports: {name!r} is no name of a module: leave folders and .py out")
    places = [folder / f"{name}.py", folder / FOLDER / f"{name}.py"]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        near = nearest(name, [file.stem for file in folder.glob("*.py")])
        raise SpaceError(f"imports: there is no {name}.py beside the space file, in {folder}{near}")
    try:
        return ImportedModule(name, path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"imports: {path} cannot be read: {error}") from None


def _refuse_taken_name(module: ImportedModule) -> None:
    found = find_spec(module.name)
    # Python's own path may lead to the same file, as in the current folder.
    if found is None or _text(found.origin) == module.text:
        return
    raise SpaceError(
        f"imports: {module.name} is the name of another Python module, {found.origin}; give your "
        "file another name"
    )


def _text(path: str | None) -> str | None:
    try:
        return Path(path or "").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _run(module: ImportedModule) -> None:
    made = ModuleType(module.name)
    made.__file__ = module.path
    setattr(made, TEXT, module.text.encode())
    before = sys.modules.get(module.name)
    sys.modules[module.name] = made
    try:
        exec(compile(module.text, module.path, "exec"), made.__dict__)
    except BaseException as error:
        del sys.modules[module.name]
        if before is not None:
            sys.modules[module.name] = before
        if isinstance(error, KeyboardInterrupt):
            raise
        raise SpaceError(f"imports: {_where(module, error)}: {_what(error)}") from None
    # Other processes cannot import the module, so pickles must include its definitions.
    cloudpickle.register_pickle_by_value(made)
    _loaded[module.name] = module


def _where(module: ImportedModule, error: BaseException) -> str:
    """Return the file and the last line of it that an error has passed."""
    if isinstance(error, SyntaxError) and error.filename == module.path:
        return f"{module.path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == module.path]
    return f"{module.path}:{lines[-1]}" if lines else module.path


def _what(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}".rstrip(": ")
