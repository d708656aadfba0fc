"""Python files that a space imports: what is wrong with one is told in one message."""

from pathlib import Path

import pytest
import yaml

from sweep.errors import SpaceError
from sweep.space.file import load_space


@pytest.mark.parametrize(
    ("names", "text", "words"),
    [
        (["absent"], None, r"space.yaml:\d+: imports: there is no absent.py beside the space file"),
        ("mine", None, "write a list of names"),
        (["../mine"], None, "is no name of a module"),
        (["json"], "x = 1", "json is the name of another Python module"),
        (["brokenly"], "def f(:", r"brokenly.py:1: SyntaxError"),
        (["raising"], "x = 1\nraise ValueError('no')", r"raising.py:2: ValueError: no"),
        (["leaving"], "import sys\nsys.exit(5)", r"leaving.py:2: SystemExit: 5"),
        (["binary"], b"\xff\xfe\x00", "binary.py cannot be read"),
        (
            ["taking"],
            "from sweep.space.registries import LOSSES\nclass L: ...\n"
            "LOSSES.register('cross_entropy', L())",
            "the loss 'cross_entropy' is already that of sweep.train.losses.cross_entropy",
        ),
    ],
)
def test_an_import_that_cannot_be_used_is_one_message(
    tmp_path: Path, names: object, text: str | bytes | None, words: str
) -> None:
    document = {"name": "s", "datasets": ["digits"], "backbones": ["lite0"], "imports": names}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(document))
    if text is not None:
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / f"{names[0]}.py").write_bytes(content)  # type: ignore[index]
    with pytest.raises(SpaceError, match=words):
        load_space(str(tmp_path / "space.yaml"))
