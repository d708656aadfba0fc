"""Resamples are kept by the content of the predictions, and give what computing them gives."""

from pathlib import Path

import pytest

from sweep.compare.cache import cached_estimates
from sweep.compare.resampling import estimated
from tests.simulated import classifier


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "comparisons").glob("*.npz"))


def test_what_was_kept_is_what_is_computed(tmp_path: Path) -> None:
    cells = [[classifier(60, 0.8, seed)] for seed in range(3)]
    for _ in range(2):
        for found, plain in zip(
            cached_estimates(cells, "d", 200), estimated(cells, "d", 200), strict=True
        ):
            for name, item in plain.items():
                assert found[name].interval() == item.interval()
    assert len(entries(tmp_path)) == 3


@pytest.mark.parametrize("change", ["predictions", "dataset", "resamples"])
def test_whatever_changes_the_result_is_another_entry(tmp_path: Path, change: str) -> None:
    cached_estimates([[classifier(60, 0.8, 0)]], "d", 200)
    cached_estimates(
        [[classifier(60, 0.8, 1 if change == "predictions" else 0)]],
        "e" if change == "dataset" else "d",
        300 if change == "resamples" else 200,
    )
    assert len(entries(tmp_path)) == 2


@pytest.mark.parametrize("damage", [b"", b"PK nonsense", None])
def test_a_damaged_entry_is_computed_anew(tmp_path: Path, damage: bytes | None) -> None:
    cells = [[classifier(60, 0.8, 0)]]
    (before,) = cached_estimates(cells, "d", 200)
    (entry,) = entries(tmp_path)
    entry.write_bytes(entry.read_bytes()[:1000] if damage is None else damage)
    (after,) = cached_estimates(cells, "d", 200)
    assert after["auroc"].interval() == before["auroc"].interval()


def test_a_cache_that_cannot_be_written_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "file"))
    assert cached_estimates([[classifier(60, 0.8, 0)]], "d", 200)[0]["auroc"].point > 0.6
