"""Which code made a result, and which choice of hyper-parameters."""

import subprocess
from pathlib import Path

import pytest

import sweep
from sweep.base.identity import canonical_hash, commit_of
from sweep.train.learner import Trial


def git(folder: Path, *arguments: str) -> str:
    me = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    command = ["git", "-C", str(folder), *me, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package in a repository of its own."""
    folder = tmp_path / "repository" / "package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("one = 1\n")
    git(tmp_path / "repository", "init", "--quiet")
    git(tmp_path / "repository", "add", ".")
    git(tmp_path / "repository", "commit", "--quiet", "--message", "first")
    git(tmp_path / "repository", "tag", "v1")
    return folder


def test_code_of_a_repository_has_its_commit(package: Path) -> None:
    assert commit_of(package, "no-such-package") == git(package, "rev-parse", "HEAD")


def test_changed_code_is_marked(package: Path) -> None:
    (package / "__init__.py").write_text("one = 2\n")
    assert commit_of(package, "no-such-package") == git(package, "rev-parse", "HEAD") + "+"


def test_code_that_only_lies_in_a_repository_has_no_commit(package: Path) -> None:
    installed = package.parent / "site-packages" / "other"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    assert commit_of(installed, "no-such-package") is None


def test_code_outside_of_any_repository_has_no_commit(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").touch()
    assert commit_of(tmp_path, "no-such-package") is None


def test_this_checkout_is_told_apart_from_its_installation() -> None:
    folder = Path(sweep.__file__).parent
    if not (folder.parent / ".git").exists():
        pytest.skip("not a checkout")
    commit = commit_of(folder, "sweep-backbones")
    assert commit is not None
    assert commit.rstrip("+") == git(folder, "rev-parse", "HEAD")


def test_two_choices_that_differ_in_weight_decay_alone_are_two() -> None:
    one, other = (Trial(0, {"learning_rate": 0.1, "weight_decay": d}) for d in (0.0, 0.1))
    assert one.identity != other.identity


def test_the_identity_of_a_choice_of_rates_is_that_of_version_0_1() -> None:
    params = {"learning_rate": 0.1, "backbone_learning_rate": None}
    assert Trial(3, {"learning_rate": 0.1}).identity == canonical_hash(params)
