"""Labels and ids as people write them: the same word in two forms, no word at all."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

_MISSING = {"", "nan", "na", "n/a", "#n/a", "<na>", "null", "nat", "#n/d", "#null!"}
_NUMBER = re.compile(r"\+?0*(\d+)(?:\.0*)?")


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


def whole_number(text: str) -> str | None:
    """Return the digits of a whole number, however it is written: of 7, 007 and 7.0; else None."""
    match = _NUMBER.fullmatch(text)
    return match.group(1) if match else None


def written_differently(words: Iterable[str]) -> list[list[str]]:
    """Return the sets of words that are one number, or differ in case alone."""
    alike: dict[str, list[str]] = defaultdict(list)
    for word in dict.fromkeys(words):
        sign = "-" if word.startswith("-") else ""
        number = whole_number(word.removeprefix("-"))
        alike[sign + number if number is not None else word.casefold()].append(word)
    return [found for found in alike.values() if len(found) > 1]


def one_number(words: Iterable[str]) -> list[list[str]]:
    """Return the sets of words that are one whole number, such as 7, 007 and 7.0."""
    alike: dict[str, list[str]] = defaultdict(list)
    for word in dict.fromkeys(words):
        if (number := whole_number(word)) is not None:
            alike[number].append(word)
    return [found for found in alike.values() if len(found) > 1]
