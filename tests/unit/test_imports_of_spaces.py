"""Python files that a space imports: what is wrong with one is told in one message."""

from pathlib import Path

import pytest
import yaml

from sweep.backbones.backbone import bare_network
from sweep.backbones.families.base import family_of
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


MODEL = """
import timm
from timm.models import register_model


@register_model
def clinics_vit(pretrained=False, **kwargs):
    return timm.create_model("test_vit", **{**kwargs, "depth": DEPTH})
"""


def test_a_model_that_an_import_registers_with_timm_is_a_backbone(tmp_path: Path) -> None:
    document = {"name": "s", "datasets": ["digits"], "imports": ["clinics_models"]}
    document["backbones"] = [{"name": "own", "model": "clinics_vit", "weights": "none"}]
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(document))
    versions = []
    for depth in (2, 3):
        (tmp_path / "clinics_models.py").write_text(MODEL.replace("DEPTH", str(depth)))
        (backbone,) = load_space(str(tmp_path / "space.yaml")).backbones
        trunk = bare_network(backbone, 160, 2).trunk
        assert len(trunk.blocks) == depth  # type: ignore[arg-type]
        versions.append(family_of(backbone).code_version(backbone))
    assert "clinics_models" in versions[0]
    assert versions[0] != versions[1]
