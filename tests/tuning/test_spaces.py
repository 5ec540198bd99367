"""Search spaces: what a space file may hold."""

import json
import math
import random
import statistics
from pathlib import Path

import pytest

from vibe_ray.tuning.spaces import Range, load_space, log_uniform, make_space, uniform


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "space.py"
    path.write_text(text)
    return str(path)


def test_a_file_is_plain_python(tmp_path: Path) -> None:
    path = write(tmp_path, "SPACE = {'losses.adversarial': [x / 2 for x in range(3)]}\n")
    (entry,) = load_space(path).entries
    assert [choice.settings["losses.adversarial"] for choice in entry.choices] == [0.0, 0.5, 1.0]
    assert [choice.label for choice in entry.choices][1] == "adversarial=0.5"


def test_a_space_of_the_package_needs_no_folder() -> None:
    space = load_space("attention")
    assert space.paper == "Table 3"
    assert space == load_space(str(Path(__file__).parents[2] / "tune_spaces/attention.py"))


def test_a_dict_names_its_alternatives_and_a_tuple_moves_settings_together() -> None:
    space = make_space({("epochs", "steps_per_epoch"): {"few": (1, 10), "many": (2, 5)}})
    (entry,) = space.entries
    assert [choice.label for choice in entry.choices] == ["few", "many"]
    assert entry.choices[1].settings == {"epochs": 2, "steps_per_epoch": 5}
    assert space.names == ["epochs", "steps_per_epoch"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "SPACE is None, expected a dict"),
        ("SPACE = {}", "expected a dict of setting names"),
        ("SPACE = [1]", "expected a dict of setting names"),
        ("SPACE = {'epochs': []}", "expected a list with at least one value"),
        ("SPACE = {'epochs': {}}", "expected a list with at least one value"),
        ("SPACE = {'epochs': 3}", "expected a list with at least one value"),
        ("SPACE = {3: [1]}", "key 3, expected a setting's name"),
        ("SPACE = {'seed': [1, 2]}", "--seeds repeats over seeds"),
        ("SPACE = {('epochs', 'seed'): [(1, 2)]}", "--seeds repeats over seeds"),
        ("SPACE = {('epochs', 'steps_per_epoch'): [(1, 2, 3)]}", "expected 2 values"),
        ("SPACE = {('epochs', 'steps_per_epoch'): [7]}", "expected 2 values"),
        ("SPACE = {'epochs': [1], ('epochs',): [(2,)]}", "epochs stands in several entries"),
        ("SPACE = {'epochs': [1]}; PAPER = 'Table 9'", "expected one of Table 2, Table 3"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        load_space(path)
    assert str(error.value).startswith(path)


def test_a_missing_file_is_named_and_the_packages_are_listed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no search space .*nowhere\.py.*motion_prior"):
        load_space(str(tmp_path / "nowhere.py"))


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (math.nan, 1.0)])
def test_a_range_rises(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected low < high"):
        uniform(*bounds)


def test_a_logarithmic_range_is_above_zero() -> None:
    with pytest.raises(ValueError, match="expected one above 0"):
        log_uniform(0.0, 1.0)


def test_draws_fill_a_range() -> None:
    generator = random.Random(0)
    flat = [Range(2.0, 4.0).draw(generator) for _ in range(2000)]
    assert 2.0 <= min(flat) < 2.01 < 3.99 < max(flat) <= 4.0
    assert abs(statistics.fmean(flat) - 3.0) < 0.05
    log = [math.log10(log_uniform(0.01, 100.0).draw(generator)) for _ in range(2000)]
    assert -2.0 <= min(log) < -1.99 < 1.99 < max(log) <= 2.0
    assert abs(statistics.fmean(log)) < 0.1


def test_a_space_as_json_tells_spaces_apart() -> None:
    plain = make_space({"losses.pose": log_uniform(1, 2), "epochs": [1, 2]}).to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain == {
        "losses.pose": {"log_uniform": [1, 2]},
        "epochs": {"epochs=1": [1], "epochs=2": [2]},
    }
    assert make_space({"losses.pose": uniform(1, 2)}).to_dict() == {
        "losses.pose": {"uniform": [1, 2]}
    }


def test_labels_are_short_where_that_is_clear() -> None:
    alike = ["z.a.b.size", "z.a.c.size", "prior", "losses.prior"]
    space = make_space({name: [1] for name in alike} | {"losses.pose": log_uniform(1, 2)})
    labels = [entry.choices[0].label for entry in space.entries[:4]]
    assert labels == ["b.size=1", "c.size=1", "prior=1", "losses.prior=1"]
    assert space.entries[4].at(1.5).label == "pose=1.5"
