"""The names that a space file may use, and what stands behind each: where `sweep` can be extended.

A registry is filled by our own modules, one for each name; by the entry points of installed
packages; and by the Python files that a space imports (`sweep.space.imports`). Nothing is
imported before it is asked for.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable
from functools import cached_property
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

from sweep.errors import nearest

Item = TypeVar("Item")

# Attribute of a module that a space imports; holds the module's source in bytes.
TEXT = "__sweep_text__"
_OWN = "sweep"


class Registry(Generic[Item]):
    """What can be named in one place of a space file.

    Args:
        kind: what a name stands for, as messages call it.
        package: whose modules register our own items, each under the module's name.
        group: of the entry points that name an item in an installed package.
        helpers: modules of the package that register nothing.
    """

    def __init__(self, kind: str, package: str, group: str, helpers: tuple[str, ...] = ()) -> None:
        self.kind, self.group = kind, group
        self._package, self._helpers = package, helpers
        self._items: dict[str, Item] = {}
        self._origins: dict[str, str] = {}

    def register(self, name: str, item: Item) -> None:
        """Let a name stand for an item.

        The same module may register a name again, as it does when it is loaded anew.

        Raises ValueError if the name stands for something of another module.
        """
        origin: str = getattr(item, "__module__", type(item).__module__)
        known = self._origins.get(name) or (self._module(name) if name in self._own else origin)
        if known != origin:
            raise ValueError(f"the {self.kind} {name!r} is already that of {known}")
        self._items[name], self._origins[name] = item, origin

    def names(self) -> list[str]:
        """Return every name, our own first, without importing what stands behind them."""
        return list(dict.fromkeys([*self._own, *sorted(self._entry_points), *self._items]))

    def __contains__(self, name: object) -> bool:
        return name in self._items or name in self.names()

    def get(self, name: str) -> Item:
        """Return what a name stands for.

        Raises ValueError: nobody has registered the name; the message has the nearest that are.
        """
        if name not in self._items and name in self._own:
            importlib.import_module(self._module(name))
        elif name not in self._items and name in self._entry_points:
            self.register(name, self._entry_points[name].load())
        if name not in self._items:
            names = self.names()
            raise ValueError(
                f"unknown {self.kind} {name!r}; allowed: {', '.join(names)}{nearest(name, names)}"
            )
        return self._items[name]

    def version(self, name: str) -> str:
        """Return what changes when the module of an item changes; empty for our own.

        Caches of what an item has made are named by it, too.
        """
        self.get(name)
        return "" if self._origins[name].startswith(f"{_OWN}.") else version_of(self._origins[name])

    def items(self) -> dict[str, Item]:
        """Return everything that is registered, by its name."""
        return {name: self.get(name) for name in self.names()}

    def restore(self) -> Callable[[], None]:
        """Return what takes back all that is registered from now on."""
        items, origins = dict(self._items), dict(self._origins)

        def take_back() -> None:
            self._items, self._origins = items, origins

        return take_back

    def _module(self, name: str) -> str:
        return f"{self._package}.{name}"

    @cached_property
    def _own(self) -> list[str]:
        spec = find_spec(self._package)
        places: Any = spec.submodule_search_locations if spec else None
        found = [module.name for module in pkgutil.iter_modules(places or [])]
        return [name for name in found if name not in self._helpers]

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self.group)}


def version_of(module_name: str) -> str:
    """Return what changes when a module that is imported changes; empty if it is not imported."""
    module = sys.modules.get(module_name)
    if module is None:
        return ""
    text = getattr(module, TEXT, None) or Path(module.__file__ or "").read_bytes()
    return f"{module.__name__} {sha256(text).hexdigest()}"


BACKBONES: Registry[Any] = Registry(
    "backbone", "sweep.backbones.families", "sweep.backbones", helpers=("base",)
)
WEIGHT_FORMATS: Registry[Any] = Registry(
    "weight format", "sweep.backbones.formats", "sweep.weight_formats", helpers=("base",)
)
FREEZE_MODES: Registry[Any] = Registry(
    "freeze mode", "sweep.backbones.freeze", "sweep.freeze", helpers=("base",)
)
LAYOUTS: Registry[Any] = Registry(
    "layout", "sweep.data.layouts", "sweep.layouts", helpers=("base", "tree", "recognise")
)
METRICS: Registry[Any] = Registry(
    "metric", "sweep.train.metrics", "sweep.metrics", helpers=("base", "confusion", "ranks")
)
LOSSES: Registry[Any] = Registry("loss", "sweep.train.losses", "sweep.losses", helpers=("base",))
TRACKERS: Registry[Any] = Registry(
    "tracker", "sweep.tracking.trackers", "sweep.trackers", helpers=("base",)
)
