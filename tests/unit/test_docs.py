"""What the pages and the package say is there."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest
import yaml

from sweep.cli.commands import cli
from sweep.space.aliases import ALIASES
from sweep.space.datasets import known_datasets
from sweep.space.model import Space
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md"]


def commands(group: click.Group, prefix: str = "") -> set[str]:
    names = set()
    for name, item in group.commands.items():
        names.add(prefix + name)
        if isinstance(item, click.Group):
            names |= commands(item, f"{prefix}{name} ")
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    known = commands(cli)
    groups = {name for name, item in cli.commands.items() if isinstance(item, click.Group)}
    for first, second in re.findall(r"`?\bsweep ([a-z]+)(?: ([a-z]+)\b)?", text):
        if f"`sweep {first}" in text or f"\nsweep {first}" in text:
            name = f"{first} {second}" if first in groups else first
            assert name in known, name
    options = {
        option
        for command in [cli, *cli.commands.values()]
        for item in (
            [command] if not isinstance(command, click.Group) else command.commands.values()
        )
        for parameter in item.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for option in re.findall(r"`(--[a-z-]+)", text):
        assert option in options | {"--exclude-editable"}, option


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_space_of_a_page_is_sound(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        document = yaml.safe_load(block)
        if isinstance(document, dict):
            Space.model_validate(document)


def test_every_known_dataset_has_a_page() -> None:
    index = (ROOT / "docs" / "datasets" / "README.md").read_text()
    medmnist = (ROOT / "docs" / "datasets" / "medmnist.md").read_text()
    for name in known_datasets():
        assert name in index or name in medmnist, name


@pytest.mark.parametrize("path", sorted((ROOT / "search_spaces").glob("*.yaml")), ids=str)
def test_a_shipped_space_opens_with_what_it_is_and_the_command_that_runs_it(path: Path) -> None:
    head = path.read_text().partition("name:")[0]
    assert f"sweep launch --space {path.stem}" in head
    assert "Expect" in head


def test_the_wheel_holds_the_spaces_and_the_command(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation",
             "--quiet", "--wheel-dir", str(tmp_path)]  # fmt: skip
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    names = subprocess.run(
        [sys.executable, "-c", "from sweep.space.file import shipped_spaces as s; print(*s())"],
        env={"PYTHONPATH": str(tmp_path / "site")}, cwd=tmp_path,
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert {"quickstart", "full_grid", "frozen_grid"} <= set(names)
    entry_points = next((tmp_path / "site").glob("*.dist-info/entry_points.txt")).read_text()
    assert "sweep = sweep.cli:main" in entry_points


def test_the_examples_of_extending_are_those_that_the_tests_run() -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    files = sorted((ROOT / "tests" / "outside" / "package" / "outside").glob("[a-z]*.py"))
    assert len(files) == 6
    for file in files:
        assert f"# {file.name}\n{file.read_text().rstrip()}\n```" in page


def test_the_table_of_backbones_is_that_of_the_aliases() -> None:
    text = (ROOT / "docs" / "backbones.md").read_text()
    for name, alias in ALIASES.items():
        gate = ", gated" if alias.gated else ""
        row = f"| {alias.images} | {alias.pixels} | {alias.licence}{gate} | {alias.source} |"
        assert re.search(rf"^\| `{name}` \| .*{re.escape(row)}$", text, re.MULTILINE), name
