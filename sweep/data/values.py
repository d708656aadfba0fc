"""Labels and ids as people write them: the same word in two forms, no word at all."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

_MISSING = {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "nat", "#n/d", "#null!"}
# These stand for a missing id; as a label each may be a class.
_UNKNOWN = {"none", "unknown", "?", "-", "--", "."}
_NUMBER = re.compile(
    r"\+?(?P<whole>\d{1,300})(?:[.,](?P<decimals>\d{0,300}))?(?:[eE]\+?(?P<exponent>\d\d?))?"
)


def clean(text: str) -> str:
    """Return a word in Unicode's composed form, without invisible characters and outer blanks.

    Blanks of any kind within it become one space.
    """
    if text.isascii():
        return " ".join(text.split())
    composed = unicodedata.normalize("NFC", text)
    visible = "".join(c for c in composed if unicodedata.category(c) not in {"Cf", "Cc"})
    return " ".join(visible.split())


def is_missing(text: str) -> bool:
    """Tell what tables write where there is no value, such as NaN and NA."""
    return text.casefold() in _MISSING


def is_missing_id(text: str) -> bool:
    """Tell what tables write where it is not known to whom something belongs."""
    return is_missing(text) or text.casefold() in _UNKNOWN


def whole_number(text: str) -> str | None:
    """Return the digits of a whole number, however it is written: of 7, 007, 7.0, 7,0 and 7E+00.

    None if it is none. A point within a name is no point of a number: 1.10 is not 1.1.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    zeros = int(match["exponent"] or 0) - len(match["decimals"] or "")
    digits = match["whole"] + (match["decimals"] or "")
    if zeros < 0 and digits[zeros:].strip("0"):
        return None
    digits = digits + "0" * zeros if zeros >= 0 else digits[:zeros]
    return str(int(digits or "0"))


def differ_in_spelling(words: Iterable[str]) -> list[list[str]]:
    """Return the sets of words that are one whole number, or differ in case alone."""
    alike: dict[str, list[str]] = defaultdict(list)
    for word in dict.fromkeys(words):
        sign = "-" if word.startswith("-") else ""
        number = whole_number(word.removeprefix("-"))
        alike[sign + number if number is not None else word.casefold()].append(word)
    return [found for found in alike.values() if len(found) > 1]
