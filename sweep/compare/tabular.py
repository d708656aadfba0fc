"""The comparison for machines: CSV, Parquet and JSON."""

import json
import math
from dataclasses import asdict
from typing import Any

import pandas as pd

from sweep.compare.caveats import caveats
from sweep.compare.comparison import Comparison, Pair, Row
from sweep.compare.costs import cheapest_good, cost, pareto
from sweep.compare.questions import Question, questions
from sweep.compare.ranks import Ranks, ranks


def table(comparison: Comparison) -> pd.DataFrame:
    """Return a row for each cell: every metric with its interval and spread, search and cost."""
    return pd.DataFrame([_record(row) for row in comparison.rows])


def csv(comparison: Comparison) -> str:
    """Return the table as CSV."""
    return str(table(comparison).to_csv(index=False)).rstrip("\n")


def as_json(comparison: Comparison) -> str:
    """Return cells, differences, questions, ranks and notes as JSON."""
    rows = comparison.rows
    scored = [name for name, found in comparison.datasets.items() if found]
    fronts = {row for name in scored for row in pareto(comparison, name)}
    cheapest = {cheapest_good(comparison, name) for name in scored}
    return json.dumps(
        _without_nan(
            {
                "sweeps": list(dict.fromkeys(row.cell.sweep for row in rows)),
                "metric": comparison.choices.metric,
                "margin": comparison.choices.margin,
                "resamples": comparison.choices.resamples,
                "cells": [
                    {**_cell(row), "pareto": row in fronts, "cheapest_good": row in cheapest}
                    for row in rows
                ],
                "differences": [
                    _pair(pair) for pairs in comparison.pairs.values() for pair in pairs
                ],
                "questions": [_question(item) for item in questions(comparison)],
                "ranks": _ranks(ranks(comparison)),
                "notes": caveats(comparison),
            }
        ),
        indent=1,
    )


def _record(row: Row) -> dict[str, Any]:
    cell, record = row.cell, _axes(row)
    for name, interval in row.metrics.items():
        record |= {
            name: interval.mean,
            f"{name}_low": interval.low,
            f"{name}_high": interval.high,
            f"{name}_spread": row.spread[name],
        }
    return {**record, **_search(row), **asdict(cost(cell)), "pretraining": cell.pretraining}


def _axes(row: Row) -> dict[str, Any]:
    cell = row.cell
    return {
        "sweep": cell.sweep,
        "dataset": cell.dataset,
        "backbone": cell.backbone,
        "freeze": cell.freeze,
    }


def _search(row: Row) -> dict[str, Any]:
    cell = row.cell
    return {
        "learning_rate": cell.learning_rate,
        "trials": cell.states.total(),
        "pruned": cell.states["pruned"],
        "failed": cell.states["failed"],
        "seeds": len(cell.confirmations),
        "seconds": round(cell.seconds, 2),
        "train_fraction": cell.train_fraction,
    }


def _cell(row: Row) -> dict[str, Any]:
    cell = row.cell
    return {
        **_axes(row),
        "metrics": {name: vars(interval) for name, interval in row.metrics.items()},
        "spread": row.spread,
        **_search(row),
        "pretraining": cell.pretraining,
        "cost": asdict(cost(cell)),
    }


def _pair(pair: Pair) -> dict[str, Any]:
    interval = pair.estimate.interval()
    return {
        "dataset": pair.first.cell.dataset,
        "first": {**_axes(pair.first), "train_fraction": pair.first.cell.train_fraction},
        "second": {**_axes(pair.second), "train_fraction": pair.second.cell.train_fraction},
        "difference": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "p": pair.p,
        "p_holm": pair.adjusted,
    }


def _question(item: Question) -> dict[str, Any]:
    findings = [
        {
            "where": finding.where,
            "what": finding.what,
            "first": finding.first,
            "second": finding.second,
            "verdict": finding.verdict,
            "gain": vars(finding.gain.interval()),
            "p": finding.p,
            "p_holm": finding.adjusted,
            "p_equivalent": finding.equivalent,
            "text": finding.text,
        }
        for finding in item.findings
    ]
    return {"question": item.asked, "answer": item.answer, "findings": findings}


def _ranks(found: Ranks | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "datasets": found.datasets,
        "average_rank": found.average.to_dict(),
        "friedman": {"statistic": found.statistic, "p": found.p},
        "critical_distance": found.distance,
        "nemenyi_p": found.nemenyi.to_dict(),
    }


def _without_nan(value: Any) -> Any:
    """Return the value with null for what is not a number, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
