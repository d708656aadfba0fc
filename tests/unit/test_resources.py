"""How a cluster is shared: GPUs by measured memory, CPUs by node, and what fits nowhere."""

import math

import pytest

from sweep.errors import SweepError
from sweep.search.ray.resources import CONTEXT_MIB, MARGIN, ModelSize, Node, ResourcePlanner
from sweep.space.backbone import BackboneSpec
from sweep.space.model import Cell
from sweep.space.specs import DatasetSpec

SMALL, LARGE = ModelSize(5_000_000, 0), ModelSize(300_000_000, 300_000_000)
WORKSTATION = Node("a", "ws", 16, 2, 24_000)
A100 = Node("b", "big", 64, 8, 80_000, accelerator="accelerator_type:A100")
T4 = Node("c", "small", 8, 1, 15_000, accelerator="accelerator_type:T4")


def cell(name: str, mode: str = "full") -> Cell:
    dataset = DatasetSpec.model_validate("digits")
    spec = BackboneSpec(name=name, model="test_resnet", weights="none")
    return Cell(dataset, spec, mode, 4, 4, 5)


def shared(nodes: list[Node], **sizes: ModelSize) -> ResourcePlanner:
    return ResourcePlanner(nodes, {cell(name).name: size for name, size in sizes.items()})


def test_before_anything_is_measured_small_models_share_a_gpu() -> None:
    planner = shared([WORKSTATION], small=SMALL, large=LARGE)
    assert planner.resources(cell("small")).gpus == 0.25
    assert planner.resources(cell("large")).gpus == 1.0


def test_a_measured_peak_packs_as_many_waves_as_fit_with_a_margin() -> None:
    planner = shared([WORKSTATION], small=SMALL)
    planner.note_memory(cell("small").name, 3_000)
    share = planner.resources(cell("small"))
    at_once = math.floor(1 / share.gpus)
    assert at_once == math.floor(24_000 / (3_000 * MARGIN + CONTEXT_MIB)) == 5
    assert share.cpus == 1


def test_the_largest_of_several_peaks_counts() -> None:
    planner = shared([WORKSTATION], small=SMALL)
    for peak in (1_000, 17_000, 500):
        planner.note_memory(cell("small").name, peak)
    assert planner.resources(cell("small")).gpus == 1.0


def test_no_more_than_eight_share_a_gpu() -> None:
    planner = shared([A100], small=SMALL)
    planner.note_memory(cell("small").name, 100)
    assert planner.resources(cell("small")).gpus == 0.125


def test_shares_of_a_gpu_never_add_up_to_more_than_one() -> None:
    planner = shared([A100], small=SMALL)
    for peak in range(100, 80_000, 331):
        planner.note_memory(cell("small").name, peak)
        share = planner.resources(cell("small")).gpus
        assert 0 < share <= 1
        assert math.floor(1 / share + 1e-6) * share <= 1


def test_what_fits_only_the_larger_gpus_is_sent_to_their_type() -> None:
    planner = shared([A100, T4], small=SMALL, large=LARGE)
    planner.note_memory(cell("large").name, 20_000)
    share = planner.resources(cell("large"))
    assert share.bundle() == {"CPU": 2.0, "GPU": 0.3333, "accelerator_type:A100": 0.001}
    assert planner.resources(cell("small")).accelerator is None


def test_a_peak_above_every_gpu_gets_the_largest_whole() -> None:
    planner = shared([A100, T4], large=LARGE)
    planner.note_memory(cell("large").name, 79_000)  # it fits there with smaller batches
    assert planner.resources(cell("large")).bundle()["GPU"] == 1.0
    assert planner.resources(cell("large")).accelerator == "accelerator_type:A100"


def test_without_gpus_a_wave_never_asks_for_more_than_the_smallest_node_has() -> None:
    nodes = [Node("a", "one", 2), Node("b", "two", 32)]
    assert shared(nodes, small=SMALL).resources(cell("small")).bundle() == {"CPU": 2.0}


def test_as_many_cells_at_once_as_there_are_cpus() -> None:
    sizes = {f"m{i}": SMALL for i in range(8)}
    assert shared([Node("a", "ws", 8)], **sizes).resources(cell("m0")).cpus == 1
    assert shared([Node("a", "ws", 32)], **sizes).resources(cell("m0")).cpus == 4


def test_a_node_without_cpus_runs_nothing() -> None:
    with pytest.raises(SweepError, match="no node of the cluster has a CPU"):
        shared([Node("a", "head", 0)], small=SMALL)


def test_a_cell_that_fits_no_node_is_refused_with_the_numbers() -> None:
    huge = ModelSize(6_000_000_000, 6_000_000_000)
    with pytest.raises(SweepError) as caught:
        shared([A100, T4], small=SMALL, huge=huge)
    text = str(caught.value)
    assert "cells that fit no node, 1 of 2: the largest GPU has 78.1 GiB" in text
    assert "digits/huge/full: needs at least 90.0 GiB (6000 million parameters" in text
    assert "small" not in text


def test_without_gpus_the_memory_of_the_nodes_counts() -> None:
    with pytest.raises(SweepError, match=r"the largest node's memory has 2\.0 GiB"):
        shared([Node("a", "pi", 4, memory_mib=2048)], large=LARGE)


def test_nodes_that_come_and_go_change_how_many_waves_there_are_not_their_share() -> None:
    sizes = {f"m{i}": SMALL for i in range(8)}
    node, other = Node("a", "ws", 8), Node("b", "ws", 16)
    planner = shared([node], **sizes)
    assert planner.at_once() == 8
    planner.follow([node, other])
    assert planner.at_once() == 24
    assert planner.resources(cell("m0")).cpus == 1
    planner.follow([other])
    assert planner.at_once() == 16


def test_while_no_node_is_left_that_could_run_a_wave_those_before_count() -> None:
    planner = shared([A100, Node("d", "head", 4)], small=SMALL)
    planner.follow([Node("d", "head", 4)])
    assert planner.resources(cell("small")).gpus == 0.25
    assert planner.at_once() == 32


def test_waves_wait_for_nodes_that_an_autoscaler_may_start() -> None:
    sizes = {cell("small").name: SMALL}
    node = Node("a", "gpu", 8, 1, 24_000)
    planner = ResourcePlanner([node], sizes, most_nodes=8)
    assert planner.at_once() == 8 * 4
    planner.note_memory(cell("small").name, 9_000)
    assert planner.at_once() == 8 * 2
    planner.follow([node] * 8)
    assert planner.at_once() == 8 * 2


def test_after_a_death_fewer_waves_run_at_once_and_at_last_one() -> None:
    planner = ResourcePlanner([Node("a", "ws", 8)], {cell(str(n)).name: SMALL for n in range(8)})
    found = [planner.at_once()]
    while planner.run_fewer():
        found.append(planner.at_once())
    assert found == [8, 4, 2, 1]
    assert not planner.run_fewer()


def test_without_gpus_no_more_waves_run_than_have_memory_by_the_largest_peak() -> None:
    node = Node("a", "ws", 8, memory_mib=4_000)
    planner = ResourcePlanner([node], {cell(str(n)).name: ModelSize(10, 10) for n in range(8)})
    assert planner.at_once() == 8
    planner.note_memory(cell("0").name, 1_500)
    assert planner.at_once() == math.floor(4_000 / (1_500 * MARGIN)) == 2
    assert "has used 1.5 GiB, a node has 3.9 GiB for waves" in planner.memory_of(cell("0").name)
