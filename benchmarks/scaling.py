"""How far one driver carries: thousands of one-second trials on up to 64 nodes of fake resources.

    python benchmarks/scaling.py [--nodes 1,4,16,64] [--trials 10000] [--ledger URL]

Everything is real but the training: Ray with one raylet a node, Tune, the scheduler, the ledger,
the records. A trial sleeps for a second (`--seconds`) and tells a score. Printed: how long the
workers took to start, and from then on trials a second, of how many that would be possible, and
how busy the driver is (its CPU time by time passed).

Two agents that Ray runs on each node, for its page on the dashboard and to install packages, run
on the head alone: on 64 nodes they are 128 Python processes, on a cluster two on each machine.
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")  # 64 nodes see one machine's memory

import ray
from ray import tune
from ray._private import ray_constants, services
from ray.cluster_utils import Cluster
from ray.tune.execution import tune_controller

from sweep.records.folder import SweepFolder
from sweep.search.ledger import Ledger
from sweep.search.ray import tuner
from sweep.search.ray.resources import ModelSize, Node, ResourcePlanner
from sweep.search.scheduler import Scheduler
from sweep.space.model import Space
from sweep.train.learner import EpochScore
from sweep.train.wave import Report, SweepContext, Wave


class Sleeping(tune.Trainable):
    """A worker that trains nothing, and so imports nothing of torch: 64 fit one machine."""

    def setup(self, config: dict[str, Any]) -> None:
        self._rates: list[tuple[int, float]] = config["rates"]
        self._seconds: float = config["seconds"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(self._seconds)
        return {"rates": self._rates, "epoch": 1, "done": True}


def one_cpu(_: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Stand in for what a worker would import sweep, and so torch, to read."""
    return tune.PlacementGroupFactory([{"CPU": 1.0}])


def told(rates: list[tuple[int, float]]) -> Report:
    """Return what a worker would have reported."""
    scores = [EpochScore(n, 1, {"val/auroc": rate, "val/loss": 1.0}) for n, rate in rates]
    return Report(scores, 1, done=True, seconds=LeanDealing.seconds, test={"auroc": 0.5})


class LeanDealing(tuner.WaveSearcher):
    """Sends workers what can be read without sweep."""

    seconds = 1.0
    ended = 0
    # When each worker ended its first trial: the time, the driver's CPU time, trials ended.
    seen: ClassVar[dict[int, tuple[float, float, int]]] = {}

    def suggest(self, trial_id: str) -> Any:
        config = super().suggest(trial_id)
        if not isinstance(config, dict):
            return config
        rates = [(rate.number, rate.learning_rate) for rate in config["wave"].trials]
        return {"rates": rates, "bundle": config["bundle"], "seconds": self.seconds}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if result is not None:
            LeanDealing.ended += 1
            self.seen.setdefault(result["pid"], (time.monotonic(), _cpu(), LeanDealing.ended))
            result = {**result, "report": told(result["rates"])}
        super().on_trial_complete(trial_id, result, error)


class LeanHearing(tuner.PruningScheduler):
    """There is one report a trial, and the searcher hears it."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return str(self.CONTINUE)


def space(trials: int, cells: int) -> Space:
    names = [{"name": f"b{i}", "model": "test_resnet", "weights": "none"} for i in range(cells)]
    return Space.model_validate(
        {"name": "scaling", "datasets": ["digits"], "backbones": names, "freeze": ["full"],
         "budget": {"trials": max(1, trials // cells - 1), "epochs": 1, "pruner": "none"},
         "seeds": 1}
    )  # fmt: skip


def deal_alone(trials: int, at_once: int, url: str | None) -> str:
    """Run the scheduler and the ledger without Ray and without waiting; return a row."""
    home = Path(tempfile.mkdtemp(prefix="scaling-"))
    of = space(trials, 100)
    folder = SweepFolder(home, "scaling")
    folder.path.mkdir()
    where = (url or folder.ledger).replace("HOME", str(home))
    context = SweepContext(of, "id", folder, home, None, home, b"key", ledger=where)
    began, busy = time.monotonic(), _cpu()
    ledger = Ledger(where, of.name, "id")
    scheduler = Scheduler(context, ledger)
    underway: deque[Wave] = deque()
    while not scheduler.finished:
        while len(underway) < at_once and (wave := scheduler.next_wave()):
            underway.append(wave)
        wave = underway.popleft()
        rates = [(rate.number, rate.learning_rate) for rate in wave.trials]
        scheduler.on_complete(wave.key, told(rates))
    seconds, busy, done = time.monotonic() - began, _cpu() - busy, len(folder.records())
    ledger.close()
    shutil.rmtree(home, ignore_errors=True)
    return (
        f"| {done:,} | {_kind(url)} | {seconds:.0f} s | {1000 * seconds / done:.1f} ms "
        f"| {1000 * busy / done:.1f} ms | {done / seconds:.0f} |"
    )


# A raylet waits for the ports of its agents: it is told those of the head's, which serve all.
_AGENT = """for a; do case $a in --session-dir=*) s=${a#*=};; --node-id=*) n=${a#*=};; esac; done
for p in dashboard_agent_listen metrics_agent metrics_export runtime_env_agent; do
  set -- $s/${p}_port_*
  cp $1 $s/$$ && mv $s/$$ $s/${p}_port_$n
done
exec sleep infinity"""


@contextmanager
def without_agents() -> Iterator[None]:
    """Let the nodes that are started here use the agents of the head."""
    names = "PROCESS_TYPE_DASHBOARD_AGENT", "PROCESS_TYPE_RUNTIME_ENV_AGENT"
    agents = [getattr(ray_constants, name) for name in names]
    real = services._build_python_executable_command_memory_profileable

    def command(component: str, *others: Any, **options: Any) -> list[str]:
        if component in agents:
            return ["sh", "-c", _AGENT, "sh"]
        return list(real(component, *others, **options))

    services._build_python_executable_command_memory_profileable = command
    yield
    services._build_python_executable_command_memory_profileable = real


def measure(nodes: int, trials: int, ledger: str | None) -> str:
    """Run `trials` trials on a cluster of so many nodes; return a row of the table."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0}, shutdown_at_exit=False)
    with without_agents():
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, object_store_memory=76 << 20)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    home = Path(tempfile.mkdtemp(prefix="scaling-"))
    of = space(trials, min(100, max(4, trials // 20)))
    folder = SweepFolder(home, "scaling")
    folder.path.mkdir()
    context = SweepContext(
        of, "id", folder, home, None, home, b"key", ledger=ledger or folder.ledger
    )
    sizes = {cell.name: ModelSize(1, 1) for cell in of.cells()}
    there = [Node(entry["NodeID"], "n", 1) for entry in ray.nodes() if "CPU" in entry["Resources"]]
    planner = ResourcePlanner(there, sizes)
    tuner.WaveTrainable, tuner._bundle = Sleeping, one_cpu
    tuner.WaveSearcher, tuner.PruningScheduler = LeanDealing, LeanHearing
    try:
        LeanDealing.seen, LeanDealing.ended = {}, 0
        began = time.monotonic()
        tuner.search(context, planner, lambda _: None, through_client=False)
        ended = time.monotonic(), _cpu(), LeanDealing.ended
        done = len(folder.records())
        size = folder.bytes_on_disk() / 2**20
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(home, ignore_errors=True)
    started = max(LeanDealing.seen.values())
    seconds, cpu, runs = (end - start for end, start in zip(ended, started, strict=True))
    possible = nodes / LeanDealing.seconds
    kind = _kind(ledger)
    return (
        f"| {nodes} | {done:,} | {kind} | {ended[0] - began:.0f} s "
        f"| {len(LeanDealing.seen)} in {started[0] - began:.0f} s "
        f"| {runs / seconds:.1f} | {runs / seconds / possible:.0%} | {cpu / seconds:.0%} "
        f"| {1000 * cpu / runs:.0f} ms | {size:.0f} MiB |"
    )


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _kind(url: str | None) -> str:
    return url.partition(":")[0] if url else "journal file"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", default="1,4,16,64")
    parser.add_argument("--trials", type=int, default=10_000, help="On the largest cluster.")
    parser.add_argument("--ledger", help="An empty PostgreSQL database; else a journal file.")
    parser.add_argument("--scheduler", action="store_true", help="The scheduler and ledger alone.")
    parser.add_argument("--seconds", type=float, default=1.0, help="Of a trial.")
    parser.add_argument(
        "--tunes-own", action="store_true", help="As Tune deals out workers itself."
    )
    options = parser.parse_args()
    LeanDealing.seconds = options.seconds
    if options.tunes_own:
        tuner.patient_tune = nullcontext
        tune_controller._get_max_pending_trials = lambda _: 1
    if options.scheduler:
        print("| runs | ledger | time | a run | of it CPU | runs a second |")
        print("|" + "---|" * 6)
        for url in (options.ledger,) if options.ledger else (None, "sqlite:///HOME/ledger.db"):
            print(deal_alone(options.trials, 64, url), flush=True)
        return
    counts = [int(count) for count in options.nodes.split(",")]
    print("| nodes | runs | ledger | time | workers | then runs a second | of possible "
          "| driver busy | driver a run | home |")  # fmt: skip
    print("|" + "---|" * 10)
    for count in counts:
        trials = options.trials * count // max(counts)
        print(measure(count, trials, options.ledger), flush=True)


if __name__ == "__main__":
    main()
