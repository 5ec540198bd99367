"""The config tree: overriding by name, conversion, and what is refused."""

import json

import pytest

from vibe_ray.config import TrainConfig, differences, from_dict, from_json
from vibe_ray.recipes import RECIPES
from vibe_ray.settings import override, setting_names, to_dict


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipe_survives_json(recipe: str) -> None:
    config = RECIPES[recipe]()
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_text_is_converted_by_the_fields_type() -> None:
    config = override(
        TrainConfig(),
        {
            "optim.generator_lr": "3e-5",
            "epochs": "7",
            "generator.temporal_encoder.gru.bidirectional": "true",
            "data.pose_2d": "a/train,b/train",
            "generator.temporal_encoder.kind": "none",
        },
    )
    assert config.optim.generator_lr == 3e-5
    assert config.epochs == 7
    assert config.generator.temporal_encoder.gru.bidirectional is True
    assert config.data.pose_2d == ("a/train", "b/train")
    assert config.generator.temporal_encoder.kind == "none"


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("optim.gen_lr", "optim.generator_lr"),
        ("losses.adversarail", "losses.adversarial"),
        ("generator.temporal_encoder.hidden_dim", "generator.temporal_encoder.gru.hidden_dim"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, suggestion: str) -> None:
    with pytest.raises(ValueError, match=f"no setting '{name}'; did you mean '{suggestion}'"):
        override(TrainConfig(), {name: 1})


def test_a_section_is_not_a_setting() -> None:
    with pytest.raises(ValueError, match="no setting 'optim'"):
        override(TrainConfig(), {"optim": 3})
    with pytest.raises(ValueError, match=r"no setting 'epochs\.x'"):
        override(TrainConfig(), {"epochs.x": 3})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", "many", "int"),
        ("epochs", 2.5, "int"),
        ("epochs", True, "int"),
        ("optim.generator_lr", "fast", "float"),
        ("generator.temporal_encoder.gru.bidirectional", "maybe", "bool"),
        ("generator.temporal_encoder.kind", "lstm", "'gru' or 'tcmr' or 'transformer' or 'none'"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(name: str, value: object, expected: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is .*, expected .*{expected}"):
        override(TrainConfig(), {name: value})


def test_differences_name_what_changed() -> None:
    base = TrainConfig()
    assert differences(base, override(base, {"seed": 3})) == {"seed": (0, 3)}


def test_every_setting_name_can_be_overridden_with_its_own_value() -> None:
    config = TrainConfig()
    for name in setting_names(config):
        value: object = config
        for part in name.split("."):
            value = getattr(value, part)
        assert override(config, {name: value}) == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optim.accumulate", 0),
        ("optim.gradient_clip", -1.0),
        ("optim.average_decay", 1.0),
        ("optim.average_decay", -0.1),
        ("optim.generator_lr", -1e-3),
        ("optim.prior_lr", float("nan")),
        ("optim.lr_factor", 1.0),
        ("optim.lr_factor", 0.0),
        ("optim.lr_patience", -1),
        ("validation.max_sequences", -1),
    ],
)
def test_senseless_settings_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        override(TrainConfig(), {name: value})


@pytest.mark.parametrize("first", [0, 1])
def test_settings_that_are_checked_against_each_other_come_in_any_order(first: int) -> None:
    name = "generator.regressor"
    narrow, small = {f"{name}.hidden_dim": 8}, {f"{name}.start": "small"}
    wide = override(TrainConfig(), {f"{name}.start": "one_layer"})
    with pytest.raises(ValueError, match="too narrow"):
        override(wide, narrow)
    config = override(wide, narrow | small if first else small | narrow)
    assert (config.generator.regressor.hidden_dim, config.generator.regressor.start) == (8, "small")


def test_a_config_is_read_back_from_a_file() -> None:
    config = override(TrainConfig(), {"seed": 5, "optim.generator_lr": 3e-5})
    assert from_json(json.dumps(to_dict(config)).encode(), "config.json") == config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"optim": {"gen_lr": 1}}', "does not fit this vibe_ray .*: no setting 'optim.gen_lr'"),
        (b'{"epochs": "many"}', "does not fit this vibe_ray .*: epochs is 'many', expected int"),
        (b'{"epochs": 0}', "does not fit this vibe_ray .*: epochs is 0, must be at least 1"),
        (b"", "is damaged: expected a JSON object, found 0 bytes that are no JSON"),
        (b'{"epochs": 3', "is damaged: .*found 12 bytes that are no JSON"),
        (b"\xff\xff", "is damaged: .*found 2 bytes that are no JSON"),
        (b"[1]", "is damaged: .*found a list; restore it"),
    ],
)
def test_a_file_that_holds_no_config_is_named(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^runs/old/config\.json {message}"):
        from_json(content, "runs/old/config.json")
