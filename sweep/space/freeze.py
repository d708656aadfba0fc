"""Freeze modes as a space file writes them: a name, some with an argument behind a colon."""

import re
from typing import Any

from sweep.errors import nearest
from sweep.space.registries import FREEZE_MODES


def freeze_mode(mode: str) -> tuple[Any, str]:
    """Return the `FreezeMode` that a mode names, and its argument.

    Raises ValueError if there is no such mode, or it does not take the argument.
    """
    name, colon, argument = mode.partition(":")
    registered = name.replace("-", "_")
    if registered in FREEZE_MODES and bool(colon) == bool(argument):
        found = FREEZE_MODES.get(registered)
        written = (found.form or registered).partition(":")[0]
        if name == written and found.check(argument):
            return found, argument
    forms = freeze_forms()
    examples = [re.sub(r":\w+$", ":1", form) for form in forms]
    raise ValueError(
        f"unknown freeze mode {mode!r}; allowed: {', '.join(forms)}{nearest(mode, examples)}"
    )


def head_domains() -> dict[str, Any]:
    """Return the default domain of each hyper-parameter that a mode's head has of its own."""
    modes = FREEZE_MODES.items().values()
    return {name: domain for mode in modes for name, domain in mode.domains.items()}


def freeze_forms() -> list[str]:
    """Return how each mode is written, such as ``last:k``."""
    return [item.form or name for name, item in FREEZE_MODES.items().items()]
