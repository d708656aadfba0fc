"""How the numbers came about, for the methods section of a paper: what was recorded, alone."""

from sweep.comparison.comparison import Comparison, Row
from sweep.comparison.text import count, title
from sweep.errors import shorten
from sweep.records.results import CellResult, SweepResults
from sweep.space.domains import Categorical, Domain, in_words
from sweep.space.model import Space
from sweep.space.names import is_frozen
from sweep.space.recipe import Recipe
from sweep.space.specs import MULTILABEL

_PARTS = ("train", "val", "test")
_SHARED = "a tenth"


def methods(comparison: Comparison) -> dict[str, str]:
    """Return the paragraphs of a methods section by their headings."""
    return {
        "Data": _data(comparison),
        "Models": _models(comparison),
        "Search and selection": " ".join(_search(sweep) for sweep in comparison.sweeps),
        "Statistics": _statistics(comparison),
        "Software and hardware": _software(comparison),
        "What this does not show": _limits(comparison),
    }


def _rows(comparison: Comparison) -> list[Row]:
    return [row for row in comparison.rows if row.metrics]


def _data(comparison: Comparison) -> str:
    texts = []
    for dataset, rows in comparison.datasets.items():
        if rows:
            cell = max((row.cell for row in rows), key=lambda cell: cell.train_fraction)
            texts.append(f"{dataset}: {_numbers(cell)}; classes {shorten(cell.classes)}")
    splits = {
        f"val {sweep.space.split.val}, "
        + (
            f"{sweep.space.split.folds} folds"
            if sweep.space.split.folds
            else f"test {sweep.space.split.test:g}"
        )
        + f", seed {sweep.space.split.seed}"
        for sweep in comparison.sweeps
    }
    leaks = {dataset.leaks for sweep in comparison.sweeps for dataset in sweep.space.datasets}
    left_out = {
        "drop": "Training samples that are, but for size or encoding, test pictures or belong to "
        "a test group were left out of training.",
        "error": "No training sample may be a test picture or belong to a test group.",
        "allow": "Training samples that are test pictures, or belong to a test group, were not "
        "looked for.",
    }
    sentence = " ".join(left_out[str(name)] for name in sorted(map(str, leaks)))
    return (
        f"{'. '.join(texts)}. Where a data set brings splits of its own they were kept; others "
        f"were drawn by group (patient), stratified by class ({'; '.join(sorted(splits))}), so "
        f"that no group is in two splits. {sentence}"
    )


def _numbers(cell: CellResult) -> str:
    samples, groups = cell.fact("samples") or {}, cell.fact("groups") or {}
    parts = []
    for part in _PARTS:
        if part in samples:
            of_groups = groups.get(part, samples[part])
            more = f" of {of_groups} groups" if of_groups != samples[part] else ""
            parts.append(f"{part} {samples[part]}{more}")
    folds = f" in the first of {len(cell.confirmations)} folds" if cell.folded else ""
    fingerprint = cell.fact("fingerprint", "not recorded")
    return f"{', '.join(parts) or 'numbers not recorded'}{folds}; fingerprint {fingerprint}"


def _models(comparison: Comparison) -> str:
    seen: dict[str, str] = {}
    for row in _rows(comparison):
        cell = row.cell
        seen.setdefault(
            cell.backbone,
            f"{cell.backbone} (timm {cell.model}, {cell.pretraining}, "
            f"{count(cell.fact('parameters'))} parameters, weights "
            f"{cell.fact('weights_hash', 'not recorded')}{_entry(comparison, cell.backbone)})",
        )
    modes = list(dict.fromkeys(row.cell.freeze for row in _rows(comparison)))
    sizes = sorted({str(row.cell.fact("image_size", "?")) for row in _rows(comparison)})
    return (
        f"Backbones: {'; '.join(seen.values())}, each below one new head. Freeze modes: "
        f"{', '.join(modes)}{_heads(modes)}. Pictures were resized {_resizing(comparison)}to "
        f"{' or '.join(sizes)} pixels squared and normalised as each backbone's entry says, by "
        "default as it was pre-trained."
    )


def _entry(comparison: Comparison, name: str) -> str:
    """Say what a backbone's entry asks for besides the model and its weights."""
    spaces = [sweep.space for sweep in comparison.sweeps]
    spec = next((b for space in spaces for b in space.backbones if b.name == name), None)
    if spec is None:
        return ""
    said = [f"features {spec.features}"] if spec.features else []
    said += [f"{key} {value}" for key, value in spec.kwargs]
    for key in ("mean", "std"):
        if values := getattr(spec, key):
            said.append(f"{key} {', '.join(f'{value:g}' for value in values)}")
    said += [f"interpolation {spec.interpolation}"] if spec.interpolation else []
    return "".join(f", {text}" for text in said)


# What a mode trains that is no linear layer by gradient descent.
_HEADS = {
    "logreg": "logreg is a logistic regression on standardised features, solved by L-BFGS",
    "knn": "knn the vote of the nearest training images, weighted by exp(cosine / temperature)",
    "prototypes": "prototypes the nearest class mean of centred directions",
}


def _heads(modes: list[str]) -> str:
    own = [text for mode, text in _HEADS.items() if mode in modes]
    return f" ({'; '.join(own)})" if own else ""


def _resizing(comparison: Comparison) -> str:
    """Say whether pictures were resized whole, or to which of them that does not apply."""
    used = {row.cell.backbone for row in _rows(comparison)}
    spaces = [sweep.space for sweep in comparison.sweeps]
    cropped = {b.name: b.crop for space in spaces for b in space.backbones if b.crop}
    named = [f"{name} {crop:g}" for name, crop in cropped.items() if name in used]
    if not named:
        return "whole "
    return f"whole (their centre cut out, as timm's crop_pct, for {', '.join(named)}) "


def _domain(domain: Domain) -> str:
    if isinstance(domain, Categorical):
        return f"one of {', '.join(str(value) for value in domain.root)}"
    return f"in [{domain.low:g}, {domain.high:g}]{'' if domain.log else ', uniform'}"


def _search(sweep: SweepResults) -> str:
    space = sweep.space
    budget, rate = space.budget, space.learning_rate
    frozen = budget.frozen
    special = ""
    if frozen.trials or frozen.epochs:
        special = (
            f" (frozen: {frozen.trials or budget.trials} trials of "
            f"{frozen.epochs or budget.epochs} epochs)"
        )
    others = "".join(
        f", {in_words(name)} {_domain(domain)}"
        for name, domain in space.domains().items()
        if name != "learning_rate"
    )
    return (
        f"In {sweep.name} every cell (data set, backbone, freeze mode) had its own search: "
        f"{budget.trials} trials of {budget.epochs} epochs{special}, learning rates log-uniform "
        f"in [{rate.low:g}, {rate.high:g}]{others}, half of them spread evenly and half proposed "
        f"by Optuna's TPE{_edges(sweep)}; pruner {budget.pruner} (frozen cells are not pruned; of "
        f"others a third of the trials is completed). {_recipes(space)} {_confirmations(sweep)}"
    )


def _recipes(space: Space) -> str:
    """Say how the models of frozen cells and those of others were trained."""
    frozen = any(is_frozen(mode) for mode in space.freeze)
    others = not all(is_frozen(mode) for mode in space.freeze)
    said = [f"Recipe ({space.recipe.preset}): {_recipe(space, space.recipe)}."] if others else []
    if frozen:
        text = f"heads on features {_recipe(space, space.recipe.for_frozen())}."
        said.append(f"In frozen cells {text}" if others else f"Recipe: {text}")
    if space.recipe.calibration == "temperature" or (
        frozen and space.recipe.for_frozen().calibration == "temperature"
    ):
        said.append(
            "The logits of each confirmation's chosen model were divided by the temperature with "
            "the smallest validation loss (Guo et al. 2017), with half a count added to each "
            "target and a standard normal prior of its logarithm."
        )
    if frozen and space.recipe.for_frozen().refit:
        said.append(
            "The chosen head of each frozen cell was trained again on the training and validation "
            "samples together."
        )
    return " ".join(said)


def _recipe(space: Space, recipe: Recipe) -> str:
    own = {
        "weight_decay": f"weight decay {recipe.weight_decay:g}"
        + (" of matrices" if recipe.weight_decay_on == "matrices" else ""),
        "schedule": f"schedule {recipe.schedule.replace('_', ' ')}",
        "warmup_ratio": f"the rate rising over the first {recipe.warmup_ratio:.0%} of the steps",
        "max_grad_norm": f"gradients clipped at norm {recipe.max_grad_norm:g}",
        "layer_decay": f"the rate of each of 12 layers {recipe.layer_decay:g} of the next one's",
        "drop_path_rate": f"drop path {recipe.drop_path_rate:g}",
        "label_smoothing": f"label smoothing {recipe.label_smoothing:g}",
        "ema_decay": f"weights averaged with decay {recipe.ema_decay:g}",
        "class_weights": f"class weights {recipe.class_weights}",
        "augment": f"augmentation {_augmentations(space, recipe)}",
        "standardize": "features standardised",
    }
    default = Recipe()
    always = {"weight_decay", "schedule"} | ({"augment"} if recipe is space.recipe else set())
    told = [
        text
        for key, text in own.items()
        if key not in space.domains()
        and (key in always or getattr(recipe, key) != getattr(default, key))
    ]
    return f"{recipe.optimizer}, batch {recipe.batch_size}, {', '.join(told)}"


def _augmentations(space: Space, recipe: Recipe) -> str:
    if recipe.augment != "auto":
        return recipe.augment
    return " and ".join(f"{item.augment or 'no_flip'} ({item.name})" for item in space.datasets)


def _edges(sweep: SweepResults) -> str:
    if sweep.space.edges == "keep":
        return ""
    return (
        "; where the best lay at an edge of the range, a quarter of the budget more was searched "
        "in the power of ten beyond it"
    )


def _confirmations(sweep: SweepResults) -> str:
    space = sweep.space
    numbers = {"frozen" if cell.fused else "other": cell.confirmations for cell in space.cells()}
    counts = ", ".join(f"{count} of {kind} cells" for kind, count in numbers.items())
    what = "folds" if space.split.folds else "partitions"
    own = (
        "the data set's own validation split"
        if space.split.val == "own"
        else "its own partition of the other samples into training and validation"
    )
    chosen = []
    if "frozen" in numbers:
        chosen.append(
            "in frozen cells every rate that the search tried was trained and the partition's "
            "validation chose rate and epoch"
        )
    if "other" in numbers:
        chosen.append(
            "in other cells with four trials or more for each confirmation these were dealt to the "
            "confirmations and trained on their partitions, whose validation chose; with fewer the "
            "rate was chosen on a bootstrap resample, by group, of the search's validation "
            "predictions (in the first confirmation on all of them)"
        )
    return (
        f"Then the choice was repeated ({what}: {counts}): each confirmation had {own}, its own "
        f"initial weights and order of samples; {', and '.join(chosen)}, by validation "
        f"{space.objective}. Each scored the test split once; the first is the model that is kept."
    )


def _statistics(comparison: Comparison) -> str:
    choices = comparison.choices
    ordered = ""
    if any(row.cell.target == MULTILABEL for row in comparison.rows):
        ordered = (
            "Where a sample may have several labels, each was trained by its binary cross-entropy, "
            "the metrics are means over the labels, each against its absence, and what was "
            "predicted are the labels whose probability is above a half. "
        )
    if any(row.cell.target == "ordinal" for row in comparison.rows):
        ordered += (
            "Of ordered classes there are Cohen's kappa with quadratic weights (1968) and the mean "
            "absolute error in places, of the most probable class. "
        )
    when = "after the run" if choices.chosen_after else "in the space file, before the run"
    return (
        "Scores are means over confirmations; AUROC and AUPRC are macro averages of one class "
        "against the rest. "
        f"{ordered}The variance of a difference between cells has two parts: that of "
        "sampling the test groups, for the AUROC DeLong's by the mean placements over the "
        "confirmations, clustered by group (DeLong 1988, Obuchowski 1997), for other metrics the "
        "infinitesimal jackknife over groups; and that of the training, the variance over each "
        f"cell's confirmations over their number, to which {_SHARED} of it is added where rates "
        "were chosen on resamples, as such choices are alike. The sum is compared with "
        "Student's t with Satterthwaite's degrees of freedom. p-values are two-sided; all pairs "
        "of cells on this page are one family, adjusted by Holm (1979), and so are the contrasts "
        "of several cells. "
        f"Equivalence is by two one-sided tests (TOST) with a margin of {choices.margin:g} "
        f"{title(choices.metric)}, chosen {when}, its error enlarged by what one group of each "
        "class weighs. Intervals of single scores are of score type: Newcombe's (2006) for the "
        "AUROC, Wilson's with the number of observations that the variance is worth for others; "
        "the ECE has none. Average ranks are compared by Friedman's test and Nemenyi's distances "
        "(Demšar 2006)."
    )


def _software(comparison: Comparison) -> str:
    found: dict[str, set[str]] = {}
    for row in _rows(comparison):
        for name in ("version", "torch", "timm", "python", "device"):
            found.setdefault(name, set()).add(str(row.cell.fact(name, "not recorded")))
    versions = {name: " or ".join(sorted(values)) for name, values in found.items()}
    return (
        f"sweep {versions['version']}, torch {versions['torch']}, timm {versions['timm']}, Python "
        f"{versions['python']}, on {versions['device']}."
    )


def _limits(comparison: Comparison) -> str:
    one = " and one train-test split each" if not any(_is_folded(comparison)) else ""
    outside = list(dict.fromkeys(n for row in _rows(comparison) for n in row.cell.external_sets))
    known = f"is known of {', '.join(outside)} alone" if outside else "is not known"
    return (
        f"The test data come from where the training data come from{one}: how the models do "
        f"elsewhere {known}. The best cell was found on the test split, so that its own "
        "score is a little too good; the comparison between cells is not the worse for it. "
        "A verdict is about models trained on these patients: other training patients may give "
        "another order, which no confirmation shows. A rate and an epoch were chosen; "
        "architecture, picture size and augmentation were not."
    )


def _is_folded(comparison: Comparison) -> list[bool]:
    return [row.cell.folded for row in _rows(comparison)]
