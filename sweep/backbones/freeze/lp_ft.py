"""`lp-ft`: everything is trained, from a tuned linear probe on (Kumar et al. 2022)."""

from sweep.backbones.freeze.full import Full
from sweep.space.registries import FREEZE_MODES


class LinearProbeThenFineTune(Full):
    """Fine-tuning whose head begins as the best logistic regression on the trunk's outputs."""

    form = "lp-ft"
    trains = "everything, beginning with the head of a tuned logistic regression"
    starts_from_probe = True


FREEZE_MODES.register("lp_ft", LinearProbeThenFineTune())
