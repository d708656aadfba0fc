"""Reading a space file: YAML with line numbers, overrides, every error of a file at once."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sweep.errors import SpaceError, first_line, listing, nearest
from sweep.space.backbone import BackboneSpec
from sweep.space.domains import LearningRate, Range
from sweep.space.imports import import_beside
from sweep.space.model import Space
from sweep.space.recipe import Budget, HeadRecipe, ModeBudget, Recipe, Search, Split
from sweep.space.registries import LAYOUTS
from sweep.space.specs import KEYS_OF_LAYOUTS, DatasetSpec

Location = tuple[str | int, ...]

AXES = {
    "dataset": "datasets",
    "datasets": "datasets",
    "backbone": "backbones",
    "backbones": "backbones",
    "freeze": "freeze",
    "train_fraction": "train_fraction",
}

_PARTS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Space,
    ("datasets",): DatasetSpec,
    ("backbones",): BackboneSpec,
    ("learning_rate",): LearningRate,
    ("learning_rate", "backbone_scale"): Range,
    ("search",): Search,
    ("search", "learning_rate"): LearningRate,
    ("search", "learning_rate", "backbone_scale"): Range,
    ("budget",): Budget,
    ("budget", "frozen"): ModeBudget,
    ("split",): Split,
    ("recipe",): Recipe,
    ("recipe", "frozen"): HeadRecipe,
}


def _part_of(keys: tuple[str, ...]) -> type[BaseModel] | None:
    is_searched = len(keys) == 2 and keys[0] == "search"
    return _PARTS.get(keys, Range if is_searched else None)


def load_space(
    name_or_path: str,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    all_keys_are_read: bool = True,
) -> Space:
    """Read a shipped space by name, or any by path, and apply ``--set`` and ``--only``.

    Args:
        all_keys_are_read: refuse keys of datasets that their layouts do not read. Version 0.1
            has launched sweeps that have such keys.

    Raises SpaceError with every problem found, each with its file and line.
    """
    path = find_space(name_or_path)
    document = _Document(path)
    for override in overrides:
        document.override(override)
    document.import_modules()
    space = document.validate(all_keys_are_read)
    for restriction in only:
        space = _restrict(space, restriction)
    return space


def shipped_spaces() -> dict[str, Path]:
    """Return the spaces that come with sweep, by name."""
    package = Path(__file__).parents[1]
    # A wheel has the folder inside the package, a checkout beside it.
    for folder in (package / "search_spaces", package.parent / "search_spaces"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def is_space(name_or_path: str) -> bool:
    """Tell whether it is a shipped space's name or the path of a YAML file."""
    return name_or_path in shipped_spaces() or Path(name_or_path).suffix in {".yaml", ".yml"}


def find_space(name_or_path: str) -> Path:
    """Return the file of a shipped space's name or of a path.

    Raises SpaceError if there is neither.
    """
    shipped = shipped_spaces()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        what = "is a folder, not a space file" if path.is_dir() else "does not exist"
        raise SpaceError(f"{name_or_path}: the space file {what}")
    raise SpaceError(
        f"unknown space {name_or_path!r}; shipped: {', '.join(shipped)}, "
        f"or the path of a YAML file{nearest(name_or_path, shipped)}"
    )


def summary(path: Path) -> str:
    """Return the first line of the comment that a space file opens with."""
    first_line = path.read_text("utf-8").partition("\n")[0]
    return first_line.removeprefix("#").strip() if first_line.startswith("#") else ""


class _Document:
    """A parsed space file that remembers the line of every key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Location, str] = {}
        self.problems: list[str] = []
        try:
            node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
            raise SpaceError(f"{path}{line}: not valid YAML: {error.problem}") from None
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise SpaceError(f"{path}: not valid YAML: {error}") from None
        except OSError as error:
            raise SpaceError(f"{path}: cannot be read: {error.strerror}") from None
        try:
            self.values = self._build(node, ()) if node else {}
        except RecursionError:
            raise SpaceError(f"{path}: a part of it holds itself, by *NAME") from None
        if not isinstance(self.values, dict):
            raise SpaceError(f"{path}: a space file is a mapping, starting with 'name:'")

    def _build(self, node: yaml.Node, location: Location) -> Any:
        self.lines.setdefault(location, f"{self.path}:{node.start_mark.line + 1}")
        if isinstance(node, yaml.SequenceNode):
            return [self._build(item, (*location, i)) for i, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return self._scalar(node)
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(self._scalar(key_node))
            where = f"{self.path}:{key_node.start_mark.line + 1}"
            if key in values:
                self.problems.append(f"{where}: the key {key!r} appears twice")
            self.lines[(*location, key)] = where
            values[key] = self._build(value_node, (*location, key))
        return values

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            return yaml.SafeLoader("").construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError, OverflowError, TypeError) as error:
            line = node.start_mark.line + 1
            raise SpaceError(f"{self.path}:{line}: not a value: {first_line(error)}") from None

    def override(self, text: str) -> None:
        """Apply one ``--set KEY=VALUE``; KEY is dotted, VALUE is YAML."""
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SpaceError(f"--set {text}: write KEY=VALUE, for example budget.trials=4")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            raise SpaceError(f"--set {text}: the value is not valid YAML") from None
        *parents, last = key.split(".")
        target = self.values
        for parent in parents:
            child = target.setdefault(parent, {})
            if not isinstance(child, dict):
                raise SpaceError(f"--set {text}: {parent!r} has no keys below it")
            target = child
        target[last] = parsed
        location = tuple(key.split("."))
        stale = [known for known in self.lines if known[: len(location)] == location]
        for known in stale:
            del self.lines[known]
        self.lines[location] = f"--set {text}"

    def import_modules(self) -> None:
        """Import the Python files that the space names, which register what it may name."""
        if (names := self.values.get("imports")) is not None:
            try:
                import_beside(names, self.path.parent)
            except SpaceError as error:
                raise SpaceError(f"{self._where(('imports',))}: {error}") from None

    def validate(self, all_keys_are_read: bool) -> Space:
        try:
            space = Space.model_validate(self.values)
        except ValidationError as error:
            self.problems += [self._describe(dict(item)) for item in error.errors()]
        else:
            self.problems += self._unread_keys(space) if all_keys_are_read else ()
        if self.problems:
            unique = list(dict.fromkeys(self.problems))
            count = f"{len(unique)} problems" if len(unique) > 1 else "a problem"
            raise SpaceError(f"the space has {count}:\n{listing(unique, shown=50)}")
        return space

    def _unread_keys(self, space: Space) -> Iterator[str]:
        """Yield the keys of datasets that their layouts do not read, and would not heed."""
        fields = DatasetSpec.model_fields
        for index, dataset in enumerate(space.datasets):
            layout = LAYOUTS.get(dataset.layout)
            for key in sorted(KEYS_OF_LAYOUTS - layout.keys):
                if getattr(dataset, key) != fields[key].default:
                    takes = ", ".join(sorted(layout.keys)) or "none of its own"
                    yield (
                        f"{self._where(('datasets', index, key))}: datasets.{index}.{key}: the "
                        f"layout {dataset.layout} does not read this key; it reads {takes}"
                    )

    def _where(self, location: Location) -> str:
        for end in range(len(location), -1, -1):
            if location[:end] in self.lines:
                return self.lines[location[:end]]
        return str(self.path)

    def _describe(self, error: dict[str, Any]) -> str:
        location: Location = error["loc"]
        # pydantic appends the branch of a union ('str', 'tuple[str, ...]'), which is not a key.
        known = [part for part in location if part != "str" and "[" not in str(part)]
        keys = [part for part in known if isinstance(part, str)]
        name = ".".join(str(part) for part in known) or "the file"
        message = str(error["msg"]).removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            part = _part_of(tuple(keys[:-1])) if keys else None
            allowed = sorted({*part.model_fields} - {"options"}) if part else []
            message = (
                f"unknown key; allowed: {', '.join(allowed)}{nearest(str(location[-1]), allowed)}"
            )
        elif error["type"] == "missing":
            message = "this key is required"
        elif error["type"] in {"literal_error", "enum"}:
            value, expected = error["input"], error["ctx"]["expected"]
            choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
            hint = nearest(str(value), choices)
            message = f"{value!r} is not allowed; allowed: {', '.join(choices)}{hint}"
        elif not error["type"].startswith("value_error"):
            message = f"{message[0].lower()}{message[1:]}, not {error['input']!r}"
        return f"{self._where(location)}: {name}: {message}"


def _restrict(space: Space, text: str) -> Space:
    """Apply one ``--only AXIS=VALUE[,VALUE]``."""
    axis, equals, values = text.partition("=")
    if not equals or axis not in AXES:
        raise SpaceError(
            f"--only {text}: write AXIS=VALUE[,VALUE] with AXIS one of dataset, backbone, freeze, "
            "train_fraction"
            f"{nearest(axis, AXES)}"
        )
    field = AXES[axis]
    items = getattr(space, field)
    names = [getattr(item, "name", str(item)) for item in items]
    wanted = [value.strip() for value in values.split(",") if value.strip()]
    unknown = [value for value in wanted if value not in names]
    if unknown or not wanted:
        raise SpaceError(
            f"--only {text}: {', '.join(unknown) or 'nothing'} is not in the space's {field}: "
            f"{', '.join(names)}{_nearest_of(unknown, names)}"
        )
    kept = [item for item, name in zip(items, names, strict=True) if name in wanted]
    return space.model_copy(update={field: kept})


def _nearest_of(unknown: Iterable[str], names: list[str]) -> str:
    return "".join(nearest(value, names) for value in unknown)
