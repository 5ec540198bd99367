"""One update: against a second implementation, on one rank and on several."""

from functools import partialmethod

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from tests.training.naive_step import NaiveTrainer
from tests.training.ranks import (
    PARITY,
    PARITY_STEPS,
    Outcome,
    first_gradients,
    parity_case,
    run_steps,
)
from tests.training.tiny import (
    DROPOUT,
    NO_DROPOUT,
    gradients_of,
    in_precision,
    largest_difference,
    random_batch,
    tiny,
    tiny_state,
    to_precision,
    weights_of,
)
from vibe_ray.data.batches import StepBatch
from vibe_ray.settings import override
from vibe_ray.training.state import TrainState
from vibe_ray.training.step import adversarial_step

PLAIN = {
    "generator.temporal_encoder.gru.residual_frames": 1,
    "generator.temporal_encoder.gru.bidirectional": False,
}
RELEASED_ARCHITECTURE = {**NO_DROPOUT, **PLAIN, "optim.generator_lr": 5e-5}


def make_pair(**changes: object) -> tuple[TrainState, NaiveTrainer]:
    """Ours and a naive one with the same weights, in float64 and in poses of no half turn."""
    config = tiny(**RELEASED_ARCHITECTURE, **changes)
    state = tiny_state(config)
    torch.manual_seed(1)
    state.generator.regressor.init_pose.copy_(torch.randn(1, 144))
    for head in ("decpose", "decshape", "deccam"):
        torch.nn.init.normal_(getattr(state.generator.regressor, head).weight, std=0.02)
    to_precision(state, torch.float64)
    copies = (
        {name: value.detach().double() for name, value in network.state_dict().items()}
        for network in (state.generator, state.discriminator)
    )
    naive = NaiveTrainer(
        config, state.body, *({k: v.clone() for k, v in w.items()} for w in copies)
    )
    return state, naive


def naive_weights(naive: NaiveTrainer) -> dict[str, Tensor]:
    return {f"generator.{k}": v.detach() for k, v in naive.G.items()} | {
        f"discriminator.{k}": v.detach() for k, v in naive.D.items()
    }


# The body's constants are stored in float32, which is what is left of the difference in float64.
@pytest.mark.parametrize(
    ("pool", "one_pass"), [("attention", True), ("attention", False), ("concat", True)]
)
def test_updates_are_those_of_the_paper(pool: str, one_pass: bool) -> None:
    state, naive = make_pair(discriminator__pool=pool, optim__one_pass=one_pass)
    before = weights_of(state)
    for step in range(2):
        batch = in_precision(random_batch(2, 3, 4, seed=step), torch.float64)
        found = {name: float(v) for name, v in adversarial_step(state, batch).items()}
        expected = naive.step(batch)
        assert found == pytest.approx(expected, rel=1e-8)
        assert largest_difference(weights_of(state), naive_weights(naive)) < 1e-8
    assert largest_difference(before, weights_of(state)) > 4e-5  # something was to be seen


def in_float64(**changes: object) -> TrainState:
    state = tiny_state(tiny(**NO_DROPOUT, **changes))
    to_precision(state, torch.float64)
    return state


def step_in_float64(batch: StepBatch, **changes: object) -> dict[str, Tensor]:
    """Take one step and return gradients and metrics."""
    state = in_float64(**changes)
    metrics = adversarial_step(state, in_precision(batch, torch.float64))
    return gradients_of(state) | metrics


@pytest.mark.parametrize("root_motion", [False, True])
@pytest.mark.parametrize("pose", ["axis_angle", "rot6d"])
def test_one_pass_gives_both_players_what_separate_passes_do(pose: str, root_motion: bool) -> None:
    batch = random_batch(2, 3, 4)
    seen = {"discriminator__pose": pose, "discriminator__root_motion": root_motion}
    together = step_in_float64(batch, optim__one_pass=True, **seen)
    apart = step_in_float64(batch, optim__one_pass=False, **seen)
    assert largest_difference(together, apart) < 1e-12


def know_norms(network: nn.Module) -> None:
    """Bring the estimates of the weights' norms to their end: each look at one is a step."""
    weights = [
        (module, name)
        for module in network.modules()
        if is_parametrized(module)
        for name in module.parametrizations
    ]
    assert weights
    for _ in range(1000):
        for module, name in weights:
            getattr(module, name)


def test_with_bounded_weights_too_once_their_norms_are_known() -> None:
    """Each training pass goes on with estimating them, which here has come to its end."""
    apart, together = (
        in_float64(optim__one_pass=one_pass, discriminator__spectral_norm=True)
        for one_pass in (False, True)
    )
    with torch.no_grad():
        know_norms(apart.discriminator)
    together.discriminator.load_state_dict(apart.discriminator.state_dict())
    found = []
    for state in (apart, together):
        metrics = adversarial_step(state, in_precision(random_batch(2, 3, 4), torch.float64))
        found.append(gradients_of(state) | metrics)
    assert any("original" in name for name in found[0])
    assert largest_difference(*found) < 1e-9


@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("shape", [(4, 3, 5), (0, 3, 2), (3, 0, 1)], ids=str)
@pytest.mark.parametrize("num_parts", [2, 3, 50])
def test_micro_batches_add_up_to_the_share(
    num_parts: int, shape: tuple[int, int, int], one_pass: bool
) -> None:
    """Also where the parts are uneven, lack a kind of supervision, or were to be too many."""
    batch = random_batch(*shape)
    whole = step_in_float64(batch, optim__one_pass=one_pass)
    parts = step_in_float64(batch, optim__one_pass=one_pass, optim__accumulate=num_parts)
    assert largest_difference(whole, parts) < 1e-11


@pytest.mark.slow
def test_compiled_parts_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that `torch.compile` does but write C++; on steps with and without D's update."""
    compile_as_asked = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", partialmethod(compile_as_asked, backend="aot_eager"))
    config = tiny(**NO_DROPOUT, optim__discriminator_every=2, optim__average_decay=0.9)
    eager, compiled = tiny_state(config), tiny_state(override(config, {"compile": True}))
    for state in (eager, compiled):
        to_precision(state, torch.float64)
    for step in range(2):
        batch = in_precision(random_batch(2, 3, 4, seed=step), torch.float64)
        expected, found = (adversarial_step(state, batch) for state in (eager, compiled))
        assert found.keys() == expected.keys()
        assert largest_difference(gradients_of(compiled), gradients_of(eager)) < 1e-10
        for name, value in expected.items():
            assert float(found[name]) == pytest.approx(float(value), rel=1e-10)
    assert weights_of(compiled).keys() == weights_of(eager).keys()
    best = compiled.best_generator.folded()  # as validation does
    assert best(batch.pose.features).rotmat.isfinite().all()


def test_a_long_gradient_is_shortened_network_by_network() -> None:
    batch, bound = random_batch(2, 3, 4), 1e-3
    free = step_in_float64(batch)
    bounded = step_in_float64(batch, optim__gradient_clip=bound)
    loose = step_in_float64(batch, optim__gradient_clip=1e9)
    assert largest_difference(free, loose) == 0
    for network in ("generator.", "discriminator."):
        names = [name for name in free if name.startswith(network)]
        norm = torch.stack([free[name].norm() for name in names]).norm()
        assert norm > 2 * bound
        for name in names:
            expected = free[name] * (bound / norm)
            torch.testing.assert_close(bounded[name], expected, rtol=1e-2, atol=0)


def test_the_average_follows_the_weights() -> None:
    decay, expected = 0.6, None
    state = tiny_state(tiny(optim__average_decay=decay, optim__generator_lr=1e-2))
    for step in range(1, 8):
        before = {k: v.clone() for k, v in state.generator.state_dict().items()}
        expected = before if expected is None else expected
        adversarial_step(state, random_batch(2, 3, 4, seed=step))
        kept = min(decay, step / (step + 9))  # 0.1, 2/11, ...: 0.6 from the fourteenth on
        raw = state.generator.state_dict()
        expected = {k: kept * v + (1 - kept) * raw[k] for k, v in expected.items()}
        found = dict(state.best_generator.state_dict())
        assert largest_difference(found, expected) < 1e-6
        assert largest_difference(found, raw) > 1e-4
    assert not any(p.requires_grad for p in state.best_generator.parameters())


def test_without_an_average_the_generator_itself_is_best() -> None:
    state = tiny_state(tiny())
    assert state.best_generator is state.generator


def changed(state: TrainState, before: dict[str, Tensor], network: str) -> bool:
    after = weights_of(state)
    return any(not torch.equal(before[k], after[k]) for k in before if k.startswith(network))


def test_without_an_adversarial_weight_the_discriminator_is_left_alone() -> None:
    state = tiny_state(tiny(losses__adversarial=0.0))
    before = weights_of(state)
    metrics = adversarial_step(state, random_batch(2, 3, 4))
    assert changed(state, before, "generator")
    assert not changed(state, before, "discriminator")
    assert not [name for name in metrics if "discriminator" in name or "adversarial" in name]
    assert not state.descents["discriminator"].optimizer.state


def test_the_discriminator_is_updated_every_so_many_steps() -> None:
    state = tiny_state(tiny(optim__discriminator_every=3))
    updated = []
    for step in range(7):
        before = weights_of(state)
        metrics = adversarial_step(state, random_batch(2, 3, 4, seed=step))
        updated.append(changed(state, before, "discriminator"))
        assert ("train/discriminator/real" in metrics) == updated[-1]
    assert updated == [True, False, False, True, False, False, True]
    assert state.step == 7


def test_the_generators_term_leaves_the_discriminators_gradients_alone() -> None:
    """Its backward pass fills them in VIBE's code; there they are thrown away."""
    state = tiny_state(tiny(optim__discriminator_every=2))
    adversarial_step(state, random_batch(2, 3, 4))
    for parameter in state.discriminator.parameters():
        parameter.grad = None
    adversarial_step(state, random_batch(2, 3, 4, seed=1))  # no update of the discriminator
    assert all(p.grad is None and p.requires_grad for p in state.discriminator.parameters())


@pytest.mark.parametrize("shape", [(5, 0, 3), (0, 5, 3), (1, 0, 1)], ids=str)
def test_a_kind_of_supervision_may_be_absent(shape: tuple[int, int, int]) -> None:
    state = tiny_state(tiny())
    metrics = adversarial_step(state, random_batch(*shape))
    assert all(value.isfinite() for value in metrics.values())
    assert all(value.isfinite().all() for value in weights_of(state).values())
    for name in ("kp_3d", "pose", "betas"):
        assert (metrics[f"train/generator/{name}"] > 0) == (shape[1] > 0)


def test_what_is_not_known_may_be_nan() -> None:
    batch, dirty = random_batch(2, 3, 4), random_batch(2, 3, 4)
    dirty.pose.kp_2d[dirty.pose.kp_2d_conf == 0] = torch.nan
    dirty.pose.kp_3d[dirty.pose.has_kp_3d == 0] = torch.nan
    dirty.pose.betas[dirty.pose.has_smpl == 0] = torch.nan
    dirty.pose.pose[dirty.pose.has_smpl == 0] = torch.nan
    states = tiny_state(tiny()), tiny_state(tiny())
    for state, given in zip(states, (batch, dirty), strict=True):
        adversarial_step(state, given)
    assert largest_difference(weights_of(states[0]), weights_of(states[1])) == 0


def test_dropout_depends_on_seed_rank_and_step_alone() -> None:
    batch = random_batch(2, 3, 4)

    def total(rank: int = 0, step: int = 0, before: int = 0, **changes: object) -> float:
        state = tiny_state(tiny(**DROPOUT, **changes), rank)
        state.step = step
        torch.rand(before)
        return float(adversarial_step(state, batch)["train/generator/total"])

    assert total() == total(before=99)
    assert len({total(), total(rank=1), total(step=1), total(rank=1, step=1)}) == 4


def test_the_regressor_may_learn_more_slowly() -> None:
    state = tiny_state(tiny(optim__generator_lr=1e-2, optim__regressor_lr_share=0.1))
    before = weights_of(state)
    adversarial_step(state, random_batch(2, 3, 4))
    # Adam's first step is as long as the rate, whatever the gradient.
    moved = {name: float((v - before[name]).abs().max()) for name, v in weights_of(state).items()}
    assert moved["generator.encoder.linear.weight"] == pytest.approx(1e-2, rel=1e-2)
    assert moved["generator.regressor.fc2.weight"] == pytest.approx(1e-3, rel=1e-2)


def test_both_networks_stay_the_same_on_all_ranks(ranks: list[Outcome]) -> None:
    weights = [outcome["replicas"]["weights"] for outcome in ranks]
    assert largest_difference(*weights) == 0
    initial = weights_of(tiny_state(tiny(**DROPOUT)))
    for name, value in weights[0].items():
        assert name.startswith("generator.regressor.init_") == torch.equal(value, initial[name])


def test_ranks_draw_different_dropout(ranks: list[Outcome]) -> None:
    fakes = [outcome["replicas"]["history"][0]["train/discriminator/fake"] for outcome in ranks]
    assert fakes[0] != fakes[1]


@pytest.mark.parametrize("name", PARITY)
def test_two_workers_compute_what_one_would(ranks: list[Outcome], name: str) -> None:
    alone = run_steps(*parity_case(name), PARITY_STEPS, rank=0, num_ranks=1)
    together = ranks[0][name]
    assert largest_difference(ranks[0][name]["weights"], ranks[1][name]["weights"]) == 0
    assert largest_difference(alone["weights"], together["weights"]) < 1e-10
    shares = [outcome[name]["history"] for outcome in ranks]
    for step, expected in enumerate(alone["history"]):
        found = {term: float(sum(share[step][term] for share in shares)) for term in expected}
        assert found == pytest.approx({k: float(v) for k, v in expected.items()}, rel=1e-10)


@pytest.mark.parametrize("name", PARITY)
def test_in_float32_one_worker_and_two_are_as_near_as_it_gets(
    ranks: list[Outcome], name: str
) -> None:
    """How near that is depends on the processor's products: a few roundings of 6e-8."""
    exact = first_gradients(*parity_case(name), torch.float64)
    alone = first_gradients(*parity_case(name), torch.float32)
    together = ranks[0][name]["gradients in float32"]
    for network in ("generator.", "discriminator."):
        assert relative_error(alone, exact, network) < 1e-5
        assert relative_error(together, exact, network) < 1e-5


def relative_error(found: dict[str, Tensor], exact: dict[str, Tensor], network: str) -> float:
    names = [name for name in exact if name.startswith(network)]
    error = torch.stack([(found[name] - exact[name]).norm() for name in names]).norm()
    return float(error / torch.stack([exact[name].norm() for name in names]).norm())
