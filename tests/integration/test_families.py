"""Every family of timm: usable, or refused in words that name the backbone."""

import re

import pytest
import timm

from sweep.errors import BackboneError
from sweep.run.plan import check_networks, plan_cells
from sweep.space.model import Space

pytestmark = [pytest.mark.integration, pytest.mark.soak, pytest.mark.timeout(300)]

_SMALL = re.compile("atto|femto|pico|nano|tiny|_t_|xxs|mini|_0|_s0|_18|_26|small")

_LARGE = 60_000_000  # parameters


def smallest_of(family: str) -> str | None:
    names = timm.list_models(module=family, pretrained=True)
    small = [name for name in names if _SMALL.search(name)]
    return min(small or names, key=len, default=None)


FAMILIES = [name for family in timm.list_modules() if (name := smallest_of(family))]


def space(model: str, size: int, **backbone: str) -> Space:
    entry = {"name": "b", "model": model, "weights": "none", **backbone}
    return Space.model_validate(
        {"name": "s", "datasets": ["digits"], "backbones": [entry], "freeze": ["frozen", "full"],
         "image_size": size}
    )  # fmt: skip


@pytest.mark.parametrize("size", [224, 100])
@pytest.mark.parametrize("model", FAMILIES)
def test_a_family_is_usable_or_refused_in_words(model: str, size: int, tmp_path) -> None:
    try:
        plans = plan_cells(space(model, size), tmp_path)
        # On the meta device alone it is not always seen; the largest would take minutes.
        if size != 224 and plans[0].parameters < _LARGE:
            check_networks(space(model, size), None)
    except BackboneError as error:
        assert "backbone b: " in str(error)
        assert model.partition(".")[0] in str(error)
    except Exception as error:  # several at once are a SweepError
        assert "backbone b: " in str(error), repr(error)


def test_most_families_are_usable(tmp_path) -> None:
    usable = 0
    for model in FAMILIES[::6]:
        try:
            plan_cells(space(model, 224), tmp_path)
            usable += 1
        except Exception as error:
            assert "backbone b: " in str(error), repr(error)
    assert usable >= 0.7 * len(FAMILIES[::6])


def test_an_unknown_tag_is_told_with_those_that_there_are(tmp_path) -> None:
    with pytest.raises(Exception, match=r"no weights 'in1k' of vgg16; there are .*vgg16\.tv_in1k"):
        plan_cells(space("vgg16.in1k", 224), tmp_path)
