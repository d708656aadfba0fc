"""A sweep that is resumed with more to do: its space with a larger budget."""

import math
from typing import Any

from sweep.errors import SweepError
from sweep.records.folder import SweepFolder
from sweep.space.file import load_space
from sweep.space.model import Space

MAY_GROW = ("budget.trials", "budget.frozen.trials", "budget.hours", "seeds")


def extend(folder: SweepFolder, overrides: list[str]) -> Space:
    """Return a sweep's space with ``--set`` applied: more trials, or more confirmations.

    Anything else would make the new trials another experiment than those that are done.

    Raises SweepError if something else would change, or shrink.
    """
    before = folder.space()
    if not overrides:
        return before
    # A space from before there were presets would get today's default one.
    own = [f"recipe.preset={before.recipe.preset}", *overrides]
    after = load_space(str(folder.path / "space.yaml"), own, (), all_keys_are_read=False)
    old, new = _flat(before.model_dump(mode="json")), _flat(after.model_dump(mode="json"))
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    wrong = [key for key in changed if key not in MAY_GROW]
    if wrong:
        raise SweepError(
            f"--set {', '.join(wrong)}: a sweep that has begun can only get more of "
            f"{', '.join(MAY_GROW)}; launch another one under its own --name"
        )
    pairs = zip(before.cells(), after.cells(), strict=True)
    fewer = any(b.trials < a.trials or b.confirmations < a.confirmations for a, b in pairs)
    if fewer or (after.budget.hours or math.inf) < (before.budget.hours or 0):
        raise SweepError(
            f"--set {', '.join(changed)}: what is done cannot be taken back: give more than "
            f"{', '.join(f'{key}={old.get(key)}' for key in changed)}"
        )
    return after


def _flat(document: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(document, dict):
        return {prefix: document}
    return {
        key: value
        for name, part in document.items()
        for key, value in _flat(part, f"{prefix}.{name}" if prefix else name).items()
    }
