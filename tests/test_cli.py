"""The commands' shared flags: what becomes of `--set`, and how errors reach the user."""

import argparse
import json
import logging
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import started
from tests.integration.survival import Trial
from vibe_ray import cli, predict, prepare, storage, train
from vibe_ray.recipes import RECIPES
from vibe_ray.runs.step_folders import checkpoint_name, last_step
from vibe_ray.settings import to_dict


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


@pytest.fixture
def handlers() -> Iterator[None]:
    """Signals' handlers as they were: a command that was interrupted leaves none."""
    before = {number: signal.getsignal(number) for number in cli.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")],
)
def test_a_signal_is_one_line_and_the_shells_exit_code(
    number: signal.Signals,
    code: int,
    said: str,
    handlers: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(args: argparse.Namespace) -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note("the last checkpoint is here")
            raise KeyboardInterrupt from interrupt  # as Ray does, which loses the note

    def work_with_note(args: argparse.Namespace) -> None:
        try:
            work(args)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note("last checkpoint: here")
            raise

    with pytest.raises(SystemExit) as exit_info:
        cli.run(cli.make_parser("train", "Trains.", "python"), work_with_note, [])
    assert exit_info.value.code == code
    assert capsys.readouterr().err == f"python -m vibe_ray.train: {said}; last checkpoint: here\n"


def test_signals_are_as_before_when_a_command_has_ended() -> None:
    before = [signal.getsignal(number) for number in cli.SIGNALS]
    cli.run(cli.make_parser("train", "Trains.", "python"), lambda args: None, [])
    assert [signal.getsignal(number) for number in cli.SIGNALS] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_names_its_last_checkpoint(
    number: signal.Signals, shards: str, tmp_path: Path
) -> None:
    """In a process of its own, which must end by itself."""
    trial = Trial(data=Path(shards), storage=tmp_path, workers=0, epochs=10_000)
    command = trial.command("run", resume=False)
    with started(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        while not last_step(str(tmp_path / "run")):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(number)
        *_, line = process.stderr.read().decode().splitlines()
        assert process.wait() == 128 + number
    last = storage.join(str(tmp_path / "run"), checkpoint_name(last_step(str(tmp_path / "run"))))
    assert line == (
        f"python -m vibe_ray.train: {cli.SIGNALS[number]}; last checkpoint: {last}, --resume goes "
        "on from it"
    )


@pytest.mark.parametrize("workers", ["-1", "many", "1.5"])
@pytest.mark.parametrize(
    "command",
    [
        [train],
        [predict, "clip.mp4"],
        [prepare, "amass", "--raw", "here", "--out", "there"],
        [prepare, "videos", "--raw", "here", "--out", "there"],
    ],
    ids=["train", "predict", "amass", "videos"],
)
def test_a_number_of_workers_that_is_none_is_told(
    command: list[Any], workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module, *argv = command
    with pytest.raises(SystemExit) as end:
        module.main([*argv, f"--workers={workers}"])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert f"--workers: it is '{workers}', expected 0 (in this process) or more" in told


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


def test_where_credentials_were_found_is_told_to_nobody(
    s3: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "asked-nowhere-else-1")  # so that the process connects anew

    def write(args: argparse.Namespace) -> None:
        storage.write_bytes_atomic(f"{s3}/file", b"content")

    with caplog.at_level(logging.INFO):
        cli.run(cli.make_parser("train", "Trains.", "python"), write, [])
    assert storage.read_bytes(f"{s3}/file") == b"content"
    assert caplog.text == ""
