"""The comparison for machines: CSV, Parquet and JSON."""

import json
import math
from dataclasses import asdict
from typing import Any

import pandas as pd

from sweep.comparison.caveats import caveats
from sweep.comparison.comparison import Choices, Comparison, Pair, Row
from sweep.comparison.costs import cheapest_good, cost, pareto
from sweep.comparison.external import ExternalResult, external_results
from sweep.comparison.labels import label_results
from sweep.comparison.operating import OperatingResult, operating_results
from sweep.comparison.questions import Question, questions
from sweep.comparison.ranks import Ranks, ranks
from sweep.comparison.stats.verdict import Verdict
from sweep.comparison.subgroups import SubgroupResult, subgroup_results
from sweep.comparison.text import raw


def table(comparison: Comparison) -> pd.DataFrame:
    """Return a row for each cell: every metric with its interval and spread, search and cost."""
    return pd.DataFrame([_record(row) for row in comparison.rows])


def differences(comparison: Comparison) -> pd.DataFrame:
    """Return a row for each pair of cells that is compared: difference, interval, p, verdict."""
    found = [pair for pairs in comparison.pairs.values() for pair in pairs]
    return pd.json_normalize([_pair(pair, comparison.choices) for pair in found])


def csv(comparison: Comparison) -> str:
    """Return the table as CSV, in which no text is a formula to a spreadsheet."""
    frame = table(comparison).map(no_formula)
    return str(frame.to_csv(index=False)).rstrip("\n")


def no_formula(value: Any) -> Any:
    """Return a text that begins as a formula with an apostrophe before it."""
    return (
        f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
    )


def as_json(comparison: Comparison) -> str:
    """Return cells, differences, questions, ranks and notes as JSON."""
    rows = comparison.rows
    scored = [name for name, found in comparison.datasets.items() if found]
    fronts = {row for name in scored for row in pareto(comparison, name)}
    cheapest = {item.row for name in scored if (item := cheapest_good(comparison, name))}
    return json.dumps(
        _without_nan(
            {
                "sweeps": list(dict.fromkeys(row.cell.sweep for row in rows)),
                "metric": comparison.choices.metric,
                "margin": comparison.choices.margin,
                "margin_chosen_after": comparison.choices.chosen_after,
                "positive": {
                    name: found[0].cell.classes[1]
                    for name, found in comparison.datasets.items()
                    if found and found[0].cell.has_positive
                },
                "cells": [
                    {**_cell(row), "pareto": row in fronts, "cheapest_good": row in cheapest}
                    for row in rows
                ],
                "published": [vars(item) for item in comparison.published],
                "external": [
                    _external(item)
                    for name in scored
                    for results in external_results(comparison, name).values()
                    for item in results
                ],
                "subgroups": [
                    _subgroup(item)
                    for results in subgroup_results(comparison).values()
                    for item in results
                ],
                "labels": [
                    {
                        **_axes(item.row),
                        "label": item.label,
                        "samples": item.samples,
                        "metrics": {n: vars(own) for n, own in item.metrics.items()},
                    }
                    for row in rows
                    for item in label_results(row)
                ],
                "operating_points": [
                    _operating(item) for row in rows for item in operating_results(row)
                ],
                "differences": [
                    _pair(pair, comparison.choices)
                    for pairs in comparison.pairs.values()
                    for pair in pairs
                ],
                "questions": [
                    _question(item, comparison.choices) for item in questions(comparison)
                ],
                "ranks": _ranks(ranks(comparison)),
                "notes": caveats(comparison),
            }
        ),
        indent=1,
    )


def _external(item: ExternalResult) -> dict[str, Any]:
    return {
        **_axes(item.row),
        "external": item.name,
        "metrics": {name: vars(interval) for name, interval in item.metrics.items()},
        "change": vars(item.drop.interval()),
    }


def _subgroup(item: SubgroupResult) -> dict[str, Any]:
    gap = item.gap
    return {
        **_axes(item.row),
        "column": item.column,
        "values": [
            {
                "value": own.value,
                "samples": own.counts.samples,
                **({"metric": vars(own.interval)} if own.interval else {}),
            }
            for own in item.subgroups
        ],
        "unknown": item.unknown,
        "largest_gap": None if gap is None else {
            "first": gap.first.value,
            "second": gap.second.value,
            **vars(gap.verdict.interval),
            "adjusted_p": gap.verdict.adjusted if gap.verdict.gain.judged else None,
        },
    }  # fmt: skip


def _operating(item: OperatingResult) -> dict[str, Any]:
    return {
        **_axes(item.row),
        "held": item.point.held,
        "level": item.point.level,
        "sensitivity": vars(item.sensitivity),
        "specificity": vars(item.specificity),
        "thresholds": item.thresholds,
    }


def _record(row: Row) -> dict[str, Any]:
    cell, record = row.cell, _axes(row)
    for name, interval in row.metrics.items():
        record |= {
            name: interval.mean,
            f"{name}_low": interval.low,
            f"{name}_high": interval.high,
            f"{name}_spread": row.spread[name],
            f"{name}_training_half_width": row.half_width(name),
        }
    return {
        **record,
        **_search(row),
        **asdict(cost(cell)),
        "total_flops": cost(cell).total_flops,
        "pretraining": cell.pretraining,
    }


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
        "weight_decay": cell.chosen("weight_decay"),
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
        "training_half_width": {name: row.half_width(name) for name in row.metrics},
        **_search(row),
        "confirmed_again": _earlier(row),
        "pretraining": cell.pretraining,
        "cost": {**asdict(cost(cell)), "total_flops": cost(cell).total_flops},
    }


def _earlier(row: Row) -> list[dict[str, Any]]:
    """Return the scores of the confirmations that were done again, as the budget was raised."""
    return [
        {
            "confirmation": record.number,
            "round": record.round,
            "learning_rate": record.params.get("learning_rate"),
            "metrics": record.test,
        }
        for record in row.cell.earlier
    ]


def _pair(pair: Pair, choices: Choices) -> dict[str, Any]:
    return {
        "dataset": pair.first.cell.dataset,
        "first": {**_axes(pair.first), "train_fraction": pair.first.cell.train_fraction},
        "second": {**_axes(pair.second), "train_fraction": pair.second.cell.train_fraction},
        **_verdict(pair.verdict, choices),
        "first_worse_in": pair.loses[0],
        "second_worse_in": pair.loses[1],
    }


def _verdict(verdict: Verdict, choices: Choices) -> dict[str, Any]:
    """Return a verdict; differences are of the metric itself, whichever way is better."""
    alone = raw(verdict.gain.interval(), choices.sign)
    adjusted = raw(verdict.interval, choices.sign)
    return {
        "verdict": verdict.word,
        "difference": alone.mean,
        "low": alone.low,
        "high": alone.high,
        "low_holm": adjusted.low,
        "high_holm": adjusted.high,
        "test_error": math.sqrt(verdict.gain.test),
        "training_error": math.sqrt(verdict.gain.training) if verdict.gain.judged else None,
        "degrees_of_freedom": verdict.gain.freedom,
        "p": verdict.p if verdict.gain.judged else None,
        "p_holm": verdict.adjusted if verdict.gain.judged else None,
        "p_equivalent": verdict.equivalent_p if verdict.gain.judged else None,
        "p_equivalent_holm": verdict.equivalent if verdict.gain.judged else None,
    }


def _question(item: Question, choices: Choices) -> dict[str, Any]:
    findings = [
        {
            "where": finding.contrast.where,
            "what": finding.contrast.what,
            "first": finding.contrast.first,
            "second": finding.contrast.second,
            **_verdict(finding.verdict, choices),
            "on_each_dataset": finding.contrast.parts,
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
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
