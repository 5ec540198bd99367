import pytest

from vibe_ray.evaluation.protocols import BETTER, METRICS, PROTOCOLS, TITLES, Protocol


def test_each_metric_has_a_title_and_a_direction() -> None:
    assert set(TITLES) == set(BETTER) == set(METRICS)


def test_protocols_go_by_their_names() -> None:
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())
    assert PROTOCOLS["open"].needs_mesh
    assert not PROTOCOLS["joints"].needs_mesh


def test_unknown_metrics_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown metrics"):
        Protocol(name="x", description="", metrics=("mpjpe",))


def test_vibes_protocol_needs_windows() -> None:
    with pytest.raises(ValueError, match="windows only"):
        Protocol(name="x", description="", boundaries="vibe_compat", windowing="sequence")
