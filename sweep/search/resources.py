"""How many CPUs and how much of a GPU a wave gets."""

from dataclasses import dataclass

_GPU_SHARES = ((30e6, 0.25), (100e6, 0.5))  # models of up to so many parameters


@dataclass(frozen=True)
class Resources:
    """What Ray reserves for one wave."""

    cpus: float
    gpus: float


def wave_resources(cpus: float, gpus: float, cells: int, parameters: int) -> Resources:
    """Share a cluster among the waves of a sweep.

    Small models are trained several to a GPU. Without GPUs, as many waves run at once as there
    are CPUs and cells for: on few cores one thread a wave is faster than several.

    Args:
        cpus, gpus: of the whole cluster.
        cells: of the sweep.
        parameters: of the largest backbone.
    """
    if gpus >= 1:
        share = next((share for limit, share in _GPU_SHARES if parameters <= limit), 1.0)
        return Resources(max(1.0, cpus * share // gpus), share)
    at_once = max(1, min(cells, int(cpus)))
    return Resources(max(1.0, cpus // at_once), 0.0)
