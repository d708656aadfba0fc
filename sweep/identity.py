"""Identity of things: a hash of canonical JSON, never a formatted float."""

import hashlib
import json
from typing import Any


def canonical_hash(value: Any, length: int = 20) -> str:
    """Return a hexadecimal hash of a JSON value, the same for the same value anywhere.

    Floats are written by their shortest exact form, so that two learning rates
    which differ in the last bit have different identities.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
