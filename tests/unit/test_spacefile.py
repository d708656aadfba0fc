import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sweep.errors import SpaceError
from sweep.space.domains import Categorical, Range, end_of, extend_range
from sweep.space.file import load_space, shipped_spaces
from sweep.space.model import Space
from sweep.space.recipe import Recipe
from sweep.space.specs import DatasetSpec

CONTRACT = r"""
name: contract
datasets:
  - chest_xray
  - {name: brain_mri, layout: folder, path: brain_mri, train: Training, test: Testing}
  - {name: my_xray, layout: folder, path: nih_chest_xray, group: '^(\d+)_'}
  - {name: cells, layout: csv, path: blood_cells/manifest.csv}
  - {name: pneumonia, layout: medmnist, path: pneumoniamnist.npz}
backbones:
  - dinov2_s
  - {name: lite0, model: tf_efficientnet_lite0, weights: tf_efficientnet_lite0.in1k.safetensors}
  - {name: lite0_random, model: tf_efficientnet_lite0, weights: none}
freeze: [frozen, full, 'last:2']
image_size: 224
learning_rate: {low: 1.0e-5, high: 1.0e-1}
budget: {trials: 16, epochs: 100, pruner: hyperband}
objective: auroc
seeds: 3
split: {val: 0.2, test: 0.2, seed: 0}
recipe: {batch_size: 32, optimizer: adam, weight_decay: 0.0, schedule: constant, augment: none}
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return str(path)


def small(**changes: object) -> str:
    document = {"name": "small", "datasets": ["digits"], "backbones": ["lite0"], **changes}
    return yaml.safe_dump(document)


def problem(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(SpaceError) as caught:
        load_space(write(tmp_path, text), overrides)
    return str(caught.value)


def test_the_file_of_the_contract_gives_its_cells(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, CONTRACT))
    names = [cell.name for cell in space.cells()]
    assert len(names) == 5 * 3 * 3
    assert names[0] == "chest_xray/dinov2_s/frozen"
    assert names[-1] == "pneumonia/lite0_random/last:2"


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_every_shipped_space_is_sound(name: str) -> None:
    assert load_space(name).name == name


def test_full_grid_is_the_grid_of_the_study() -> None:
    space = load_space("full_grid")
    assert [b.name for b in space.backbones] == [
        "vgg16", "resnet50", "densenet121", "dinov2_s", "dinov2_b", "dinov2_l",
    ]  # fmt: skip
    assert list(space.freeze) == ["frozen", "full"]
    assert len(space.cells()) == 72
    assert {cell.trials for cell in space.cells()} == {20}
    assert {(cell.fused, cell.confirmations) for cell in space.cells()} == {(True, 10), (False, 5)}
    assert all(cell.repeated for cell in space.cells() if not cell.fused)


def test_all_errors_of_a_file_come_at_once_with_file_line_and_nearest_match(tmp_path: Path) -> None:
    text = small(seedz=3, freeze=["frozn"], learning_rate={"low": 0.1, "high": 0.01})
    message = problem(tmp_path, text)
    assert "3 problems" in message
    assert "space.yaml:" in message
    assert "did you mean seeds?" in message
    assert "did you mean frozen?" in message
    assert "low 0.1 is above high 0.01" in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"datasets": ["chest_xry"]}, "did you mean chest_xray"),
        ({"backbones": ["dinov2_z"]}, "did you mean dinov2_"),
        ({"backbones": ["resnet5O"]}, "resnet50"),
        ({"freeze": ["last:0"]}, "unknown freeze mode 'last:0'"),
        ({"budget": {"trials": 0}}, "budget.trials"),
        ({"budget": {"pruner": "hyperbnd"}}, "did you mean hyperband"),
        ({"objective": "auc"}, "did you mean auroc"),
        ({"seeds": "many"}, "seeds"),
        ({"image_size": 3}, "image_size"),
        ({"split": {"val": 0.6, "test": 0.5}}, "leaves nothing to train on"),
        ({"datasets": ["digits", "digits"]}, "more than once"),
        ({"datasets": [{"name": "a", "layout": "folder"}]}, "needs a path"),
        ({"datasets": [{"name": "a", "layout": "folder", "path": "x", "group": "("}]}, "regular"),
        ({"name": "../up"}, "may hold only"),
        ({"backbones": [{"name": "x", "model": "lite0", "weights": "w.npz"}]}, ".safetensors"),
        ({"backbones": [{"name": "x", "model": "lite0", "mean": [0.5, 0.5]}]}, "has 2 values"),
        ({"backbones": [{"name": "x", "model": "lite0", "std": [0.2, 0, 0.2]}]}, "above 0"),
        ({"backbones": [{"name": "x", "model": "lite0", "mean": [127, 127, 127]}]}, "equal to 1"),
        (
            {"backbones": [{"name": "x", "model": "lite0", "kwargs": {"img_size": 64}}]},
            "image_size",
        ),
        ({"backbones": [{"name": "x", "model": "hf-hub:uni"}]}, "hf-hub:ORG/NAME"),
        ({"backbones": [{"name": "x", "model": "local-dir:"}]}, "config.json"),
        ({"backbones": [{"name": "x", "model": "lite0", "crop": 1.5}]}, "less than or equal to 1"),
        ({"backbones": [{"name": "x", "model": "lite0", "weights": "hf-hub:x"}]}, "ORG/NAME"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    assert said in problem(tmp_path, small(**changes))


@pytest.mark.parametrize("text", ["", "[1, 2]", "name: [", "just text", "\x00"])
def test_a_file_that_is_no_space_is_refused(tmp_path: Path, text: str) -> None:
    assert "space.yaml" in problem(tmp_path, text)


def test_a_key_that_appears_twice_is_refused(tmp_path: Path) -> None:
    assert "'seeds' appears twice" in problem(tmp_path, small(seeds=1) + "seeds: 2\n")


def test_set_changes_a_key_and_names_itself_when_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, small())
    assert load_space(path, ["budget.trials=4", "freeze=[full]"]).cells()[0].trials == 4
    assert "--set budget.trails=4" in problem(tmp_path, small(), "budget.trails=4")
    assert "KEY=VALUE" in problem(tmp_path, small(), "seeds")


def test_only_keeps_named_values_of_an_axis() -> None:
    only = ["dataset=chest_xray", "backbone=vgg16,resnet50", "freeze=frozen"]
    names = [cell.name for cell in load_space("full_grid", only=only).cells()]
    assert names == ["chest_xray/vgg16/frozen", "chest_xray/resnet50/frozen"]


@pytest.mark.parametrize("only", ["backbone=vgg19", "model=vgg16", "backbone", "backbone="])
def test_only_refuses_what_the_space_lacks(only: str) -> None:
    with pytest.raises(SpaceError, match="--only"):
        load_space("full_grid", only=[only])


def test_frozen_cells_may_have_a_budget_of_their_own() -> None:
    trials = {cell.freeze: cell.trials for cell in load_space("quickstart").cells()}
    assert trials["frozen"] > trials["full"]


def test_a_wrong_key_is_refused_before_torch_or_ray_are_imported(tmp_path: Path) -> None:
    path = write(tmp_path, small(seedz=1))
    code = (
        "import sys; from sweep import cli; sys.argv = ['sweep', 'launch', '--space', "
        f"{path!r}]\n"
        "try: cli.run()\n"
        "except SystemExit as e: code = e.code\n"
        "assert code == 2, code\n"
        "loaded = {'torch', 'ray', 'mlflow', 'optuna', 'timm', 'pandas'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def space_of(**keys: object) -> Space:
    document = {"name": "s", "datasets": ["digits", "brain_mri"], "backbones": ["lite0"], **keys}
    return Space.model_validate(document)


def test_train_fractions_are_one_more_axis() -> None:
    cells = space_of(datasets=["digits"], freeze=["frozen"], train_fraction=[0.1, 1.0]).cells()
    assert [cell.name for cell in cells] == ["digits/lite0/frozen@0.1", "digits/lite0/frozen"]
    with pytest.raises(ValueError, match="more than once"):
        space_of(train_fraction=[0.5, 0.5])
    with pytest.raises(ValueError, match="less than or equal to 1"):
        space_of(train_fraction=[2])


def test_a_datasets_own_say_on_leaks_goes_before_the_spaces() -> None:
    entry = {"name": "mine", "layout": "folder", "path": "x", "leaks": "allow"}
    datasets = space_of(datasets=["digits", entry], leaks="error").datasets
    assert [dataset.leaks for dataset in datasets] == ["error", "allow"]
    assert {dataset.leaks for dataset in space_of().datasets} == {"drop"}


def test_folds_take_the_place_of_seeds() -> None:
    assert space_of(seeds=2).cells()[0].confirmations == 2
    assert space_of(seeds=2, split={"folds": 5}).cells()[0].confirmations == 5


def test_frozen_cells_are_confirmed_more_often_as_that_is_nearly_free() -> None:
    cells = space_of(seeds=None, freeze=["frozen", "full"]).cells()
    assert {cell.freeze: cell.confirmations for cell in cells} == {"frozen": 10, "full": 5}


def test_trials_are_dealt_to_confirmations_where_each_gets_four() -> None:
    def repeated(trials: int, freeze: str = "full") -> bool:
        return space_of(seeds=3, budget={"trials": trials}, freeze=[freeze]).cells()[0].repeated

    assert (repeated(12), repeated(11), repeated(12, "frozen")) == (True, False, False)


def test_an_own_validation_split_is_asked_for_by_name() -> None:
    assert space_of(split={"val": "own"}).split.val == "own"
    with pytest.raises(ValueError, match="a fraction between 0 and 1, or own"):
        space_of(split={"val": "onw"})


def test_edges_and_margin_are_checked() -> None:
    assert (space_of().edges, space_of().margin) == ("extend", 0.01)
    with pytest.raises(ValueError, match="'extend' or 'keep'"):
        space_of(edges="extent")
    with pytest.raises(ValueError, match="greater than 0"):
        space_of(margin=0)


@pytest.mark.parametrize("name", ["lgg_mri", "glioma_t1", "retinamnist", "digits"])
def test_a_mapping_with_a_known_name_takes_what_it_does_not_say_from_there(name: str) -> None:
    known = DatasetSpec.model_validate(name)
    assert DatasetSpec.model_validate({"name": name}) == known
    assert DatasetSpec.model_validate({"name": name, "leaks": "allow"}) == known.model_copy(
        update={"leaks": "allow"}
    )


def test_a_mapping_whose_name_is_nearly_a_known_one_is_told_so() -> None:
    with pytest.raises(ValueError, match=r"'lgg_mrii' is no known data set.*did you mean lgg_mri"):
        DatasetSpec.model_validate({"name": "lgg_mrii", "subgroups": ["gender"]})
    with pytest.raises(ValueError, match="layout"):
        DatasetSpec.model_validate({"name": "own_pictures"})


def test_medmnist_goes_by_name_in_every_size() -> None:
    sizes = space_of(datasets=["bloodmnist", "bloodmnist_224"]).datasets
    assert [dataset.path for dataset in sizes] == ["bloodmnist.npz", "bloodmnist_224.npz"]
    with pytest.raises(ValueError, match="unknown dataset 'bloodmnist_300'"):
        space_of(datasets=["bloodmnist_300"])


def test_the_learning_rate_may_stand_among_what_is_searched(tmp_path: Path) -> None:
    domains = {
        "learning_rate": {"low": 1e-4, "high": 1e-2},
        "weight_decay": {"low": 1e-6, "high": 0.1},
    }
    space = load_space(write(tmp_path, small(search=domains)))
    assert space.learning_rate.low == 1e-4
    assert list(space.domains()) == ["learning_rate", "weight_decay"]


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"weight_decays": {"low": 1, "high": 2}}, "did you mean weight_decay"),
        ({"weight_decay": {"low": 1, "high": 0.1}}, "swap the two"),
        ({"weight_decay": {"low": 0, "high": 0.1}}, "low is 0"),
        ({"learning_rate": {"low": 1, "high": 0.1}}, "swap the two"),
        ({"learning_rate": {"lo": 1, "high": 2}}, "learning_rate.lo: unknown key"),
        ({"weight_decay": 3}, "search.weight_decay"),
        ("weight_decay", "search"),
    ],
)
def test_what_is_wrong_in_a_search_is_named(tmp_path: Path, search: object, said: str) -> None:
    assert said in problem(tmp_path, small(search=search))


def test_a_learning_rate_that_stands_twice_is_refused(tmp_path: Path) -> None:
    domain = {"low": 1e-4, "high": 1e-2}
    text = problem(tmp_path, small(learning_rate=domain, search={"learning_rate": domain}))
    assert "keep one" in text


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"layout": "medmnist", "path": "x.npz", "group": "^(\\d+)"}, "group"),
        ({"layout": "folder", "path": "x", "modality": "t1"}, "modality"),
        ({"layout": "csv", "path": "x.csv", "train": "Training"}, "train"),
    ],
)
def test_a_key_that_the_layout_does_not_read_is_refused(
    tmp_path: Path, entry: dict[str, str], key: str
) -> None:
    path = write(tmp_path, small(datasets=[{"name": "d", **entry}]))
    with pytest.raises(SpaceError, match=f"datasets.0.{key}: the layout .* does not read this key"):
        load_space(path)


def test_any_key_of_the_recipe_can_be_searched_over_a_range_or_a_list() -> None:
    search = {
        "weight_decay": {"low": 0, "high": 0.1, "log": False},
        "optimizer": ["adamw", "sgd"],
        "batch_size": [16, 32],
    }
    space = space_of(search=search)
    domains = space.domains()
    assert list(domains) == ["learning_rate", "weight_decay", "optimizer", "batch_size"]
    assert domains["optimizer"] == Categorical(("adamw", "sgd"))
    assert domains["weight_decay"] == Range(low=0, high=0.1, log=False)
    again = Space.model_validate(yaml.safe_load(yaml.safe_dump(space.model_dump(mode="json"))))
    assert again == space
    assert Space.model_validate_json(space.model_dump_json()) == space


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"optimiser": ["adam"]}, "'optimiser' cannot be searched.*did you mean optimizer"),
        ({"optimizer": ["adam", "lion"]}, "optimizer: its value 'lion' is not allowed"),
        ({"batch_size": {"low": 8, "high": 64}}, "batch_size: a range is not allowed.*a list"),
        ({"optimizer": {"low": 0.1, "high": 1}}, "optimizer: a range is not allowed"),
        ({"weight_decay": {"low": 0, "high": 1}}, "low is 0.*log: false"),
        ({"weight_decay": []}, "weight_decay: .*at least 1"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_words(
    tmp_path: Path, search: dict[str, object], words: str
) -> None:
    with pytest.raises(SpaceError, match=words):
        load_space(write(tmp_path, small(search=search)))


def test_recipes_take_what_a_trial_has_chosen() -> None:
    recipe = Recipe().with_params({"learning_rate": 0.1, "optimizer": "sgd", "weight_decay": None})
    assert recipe == Recipe(optimizer="sgd")


def test_a_range_from_0_has_no_lower_end_to_search_beyond() -> None:
    domain = Range(low=0, high=0.1, log=False)
    assert end_of(domain, 0.001) is None
    assert end_of(domain, 0.099) == "upper"
    assert extend_range(domain, "upper") == Range(low=0.1, high=0.2, log=False)
    assert end_of(Range(low=1e-3, high=0.1), 1.1e-3) == "lower"
