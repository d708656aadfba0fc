"""How long a sweep takes by the order of its trials: the real scheduler, simulated time.

    python benchmarks/order.py [--space full_grid] [--gpus 1,4,8,64]

Nothing is trained: a wave lasts as long as the planner's count of operations says, on GPUs that
are alike, one wave on each. The space's data need not be there, as the planner knows their sizes.
Two orders are compared: that of `sweep`, and all cells advancing alike (as it was before). Printed:
the makespan over the least that is possible, which is all work over the GPUs, or the longest
training if that is more; and when the frozen cells were confirmed, of the makespan. Exits with 1 if
the makespan is above 1.05 of the least.
"""

import argparse
import heapq
import sys
import tempfile
from pathlib import Path

from machine import describe

from sweep.records.folder import SweepFolder
from sweep.run.plan import CellPlan, plan_cells
from sweep.search.ledger import Ledger
from sweep.search.order import known_flops
from sweep.search.scheduler import Scheduler
from sweep.space.file import load_space
from sweep.space.model import Space
from sweep.train.learner import EpochScore
from sweep.train.wave import Report, SweepContext, Wave

GOAL = 1.05


class Clock:
    """How long waves last, in operations: features once for each backbone and data set."""

    def __init__(self, plans: list[CellPlan]) -> None:
        self._plans = {plan.cell.name: plan for plan in plans}
        self._features: set[tuple[str, str]] = set()

    def seconds(self, wave: Wave) -> float:
        plan = self._plans[wave.cell.name]
        assert plan.flops is not None
        if wave.cell.fused:
            key = wave.cell.dataset.name, wave.cell.backbone.name
            first = key not in self._features
            self._features.add(key)
            return plan.flops if first else 1e-3 * plan.flops
        if wave.kind == "confirmation" and wave.cell.repeated:
            return 1e-3 * self.training(wave.cell.name)  # it is trained already, and is scored
        return self.training(wave.cell.name)

    def training(self, name: str) -> float:
        plan = self._plans[name]
        assert plan.flops is not None
        cell = plan.cell
        return plan.flops / (cell.trials + (0 if cell.repeated else cell.confirmations))


def reported(wave: Wave) -> Report:
    """Return what a worker would have reported: the best rate is in the middle of the range."""
    scores = [
        EpochScore(t.number, 1, {"val/auroc": 1 - abs(t.learning_rate - 1e-3), "val/loss": 1.0})
        for t in wave.trials
    ]
    test = {"auroc": 0.5} if wave.kind == "confirmation" else {}
    return Report(scores, 1, done=True, seconds=1.0, test=test, chosen=wave.trials[0].number)


def simulate(space: Space, plans: list[CellPlan], gpus: int, ordered: bool) -> tuple[float, float]:
    """Return the makespan and when the last frozen cell was confirmed, in operations."""
    flops = known_flops({plan.cell.name: plan.flops for plan in plans}) if ordered else {}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        folder = SweepFolder(home, space.name)
        folder.path.mkdir()
        context = SweepContext(
            space, "id", folder, home, None, home, b"key", ledger=folder.ledger, flops=flops
        )
        ledger, clock = Ledger(folder.ledger, space.name, "id"), Clock(plans)
        scheduler = Scheduler(context, ledger)
        underway: list[tuple[float, int, Wave]] = []
        now, frozen, number = 0.0, 0.0, 0
        while not scheduler.finished:
            while len(underway) < gpus and (wave := scheduler.next_wave()):
                number += 1
                heapq.heappush(underway, (now + clock.seconds(wave), number, wave))
            now, _, wave = heapq.heappop(underway)
            frozen = now if wave.cell.fused else frozen
            scheduler.on_complete(wave.key, reported(wave))
        ledger.close()
    return now, frozen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--space", default="full_grid")
    parser.add_argument("--gpus", default="1,4,8,64")
    options = parser.parse_args()
    space = load_space(options.space).model_copy(update={"edges": "keep"})
    with tempfile.TemporaryDirectory() as nowhere:
        plans = plan_cells(space, Path(nowhere))
    print(describe())
    total = sum(plan.flops or 0.0 for plan in plans)
    longest = max(Clock(plans).training(p.cell.name) for p in plans if not p.cell.fused)
    frozen = sum(plan.flops or 0.0 for plan in plans if plan.cell.fused)
    print(
        f"{len(plans)} cells, {total / 1e15:,.0f} PFLOP, of which the frozen cells "
        f"{frozen / total:.2%}, the longest training {longest / total:.2%}\n"
    )
    print("| GPUs | order | makespan over the least | frozen cells done, of the makespan |")
    print("|---|---|---|---|")
    worst = 0.0
    for gpus in map(int, options.gpus.split(",")):
        least = max(total / gpus, longest)
        for ordered in (False, True):
            makespan, done = simulate(space, plans, gpus, ordered)
            name = "most work left first" if ordered else "all cells alike (before)"
            print(
                f"| {gpus} | {name} | {makespan / least:.3f} | {done / makespan:.2%} |", flush=True
            )
            worst = max(worst, makespan / least) if ordered else worst
    if worst > GOAL:
        sys.exit(f"the makespan is {worst:.3f} of the least, above {GOAL}")


if __name__ == "__main__":
    main()
