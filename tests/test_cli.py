"""The commands' shared flags: what becomes of `--set`, and how errors reach the user."""

import argparse
import json
import logging

import pytest

from vibe_ray import cli, train
from vibe_ray.config import to_dict
from vibe_ray.recipes import RECIPES


def parse(*argv: str) -> argparse.Namespace:
    parser = cli.make_parser("train", "Trains.", "python -m vibe_ray.train")
    cli.add_config_flags(parser)
    return parser.parse_args(argv)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_without_flags_the_config_is_the_recipe(recipe: str) -> None:
    assert cli.read_config(parse("--recipe", recipe)) == RECIPES[recipe]()


def test_changes_apply_in_order_and_data_first() -> None:
    config = cli.read_config(
        parse("--data", "here", "--set", "epochs=3", "--set", " epochs = 4", "--set", "seed=5")
    )
    assert (config.data.root, config.epochs, config.seed) == ("here", 4, 5)


def test_a_value_may_hold_an_equals_sign() -> None:
    assert cli.read_config(parse("--set", "data.root=s3://b/a=1")).data.root == "s3://b/a=1"


def test_a_change_without_equals_sign_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--set 'epochs' has no '=': expected a\.b=value"):
        cli.read_config(parse("--set", "epochs"))


def test_dry_run_prints_the_config_that_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    train.main(["--recipe", "smoke", "--set", "epochs=9", "--dry-run"])
    expected = {**to_dict(RECIPES["smoke"]()), "epochs": 9}
    assert json.loads(capsys.readouterr().out) == expected


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), FileNotFoundError("no"), PermissionError("no"), ImportError("no")],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: argparse.Namespace) -> None:
        raise error

    with pytest.raises(SystemExit) as exit_info:
        cli.run(cli.make_parser("train", "Trains.", "python"), fail, [])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "python -m vibe_ray.train: no\n"


def test_our_own_mistakes_keep_their_traceback() -> None:
    def fail(args: argparse.Namespace) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run(cli.make_parser("train", "Trains.", "python"), fail, [])


def test_an_unknown_setting_ends_in_the_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        train.main(["--set", "optim.gen_lr=1", "--dry-run"])
    assert exit_info.value.code == 2
    assert "did you mean 'optim.generator_lr'?" in capsys.readouterr().err


def test_logging_is_left_to_the_commands() -> None:
    assert not logging.getLogger("vibe_ray").handlers


@pytest.mark.parametrize("flag", [["--data"], ["--recipe", "smoke", "--storage"]])
def test_a_store_that_does_not_answer_is_told_at_once(
    flag: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "AKIATESTONLY",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        train.main([*flag, "s3://bucket/prefix", "--workers", "0"])
    message = capsys.readouterr().err
    assert "cannot reach bucket 'bucket': Could not connect to the endpoint URL" in message
    assert "AWS_ENDPOINT_URL" in message
    assert "a-secret" not in message
