"""Ray's scheduler pauses where Ray lets it, and is left alone where not."""

import importlib.util
import logging
import sys
from types import ModuleType, SimpleNamespace

import pytest
import ray
import ray.data

from vibe_ray.distributed import pacing

CALLBACKS = "custom_execution_callback_classes"


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> ray.data.DataContext:
    """This process's context, without callbacks."""
    context = ray.data.DataContext.get_current()
    monkeypatch.setattr(context, CALLBACKS, [])
    return context


def test_it_is_registered_once(context: ray.data.DataContext) -> None:
    """With the version of Ray that is tested; another may have to do without."""
    assert pacing.let_scheduler_pause()
    assert pacing.let_scheduler_pause()
    assert getattr(context, CALLBACKS) == [pacing.Unhurried]


def test_ray_calls_it_in_each_of_its_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    monkeypatch.setattr(pacing.time, "sleep", paused.append)
    executor = object()
    callback = pacing.Unhurried()
    callback.before_execution_starts(executor)
    callback.on_execution_step(executor)
    callback.on_execution_step(executor)
    callback.after_execution_succeeds(executor)
    assert paused == [pacing.PAUSE_S] * 2


def test_a_ray_without_the_class_is_left_alone(
    context: ray.data.DataContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    hidden = "ray.data._internal.execution.execution_callback"
    monkeypatch.setitem(sys.modules, hidden, None)  # an import of it fails
    assert not imported_anew().let_scheduler_pause()
    assert getattr(context, CALLBACKS) == []
    assert f"Ray {ray.__version__} takes no callbacks" in caplog.text


def test_a_ray_whose_context_knows_no_callbacks_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray.data.DataContext, "get_current", SimpleNamespace)
    assert not pacing.let_scheduler_pause()


def imported_anew() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pacing_anew", pacing.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
