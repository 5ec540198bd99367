"""The method on one page: one update of the generator and of the discriminator.

Read beside the paper's Sec. 3: the generator (temporal encoder and regressor) turns features into
SMPL parameters, is told by key-points and parameters where those are known (Eq. 1-2), and by the
motion discriminator whether the motion looks captured (Eq. 5-6). Nothing here knows Ray.

Every rank runs the same graph at every step. A loss is a masked sum over a count; the counts are
summed over the ranks, so that N workers compute what one worker with all windows would.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from vibe_ray.body.params import SmplParams
from vibe_ray.data.batches import MotionBatch, PoseBatch, StepBatch
from vibe_ray.geometry.cameras import project_weak_perspective
from vibe_ray.losses.adversarial import (
    discriminator_fake_term,
    discriminator_real_term,
    generator_term,
    turn_gradient,
)
from vibe_ray.losses.masked import MaskedTerm, num_items
from vibe_ray.losses.prior import motion_prior_term
from vibe_ray.losses.supervised import supervised_counts, supervised_terms
from vibe_ray.training.state import TrainState

Terms = dict[str, MaskedTerm]
"""By player and name: `generator/kp_2d`, ..., `discriminator/fake`."""


def adversarial_step(state: TrainState, batch: StepBatch) -> dict[str, Tensor]:
    """Update both networks once and return every loss term, detached, unweighted, on the device.

    Each returned value is this rank's share of the mean over all ranks' windows: their sum over
    the ranks is the term. `train/generator/total` is the weighted sum that was descended.

    Dropout draws from a stream seeded by (seed, rank, step), so a step does not depend on what the
    process did before it: a resumed run needs no random state.
    """
    torch.manual_seed(state.dropout_seed())
    counts = _counts_over_ranks(batch)
    parts = _parts(batch, state.config.optim.accumulate)
    metrics: dict[str, Tensor] = {}
    state.zero_grad()
    for number, part in enumerate(parts, start=1):
        with state.sharing_gradients(number == len(parts)):
            terms = _terms(state, part)
            shares = {name: term.total / counts[name] for name, term in terms.items()}
            weighted = {name: _weight(state, name) * share for name, share in shares.items()}
            # DDP averages gradients over the ranks; the world size undoes that.
            (_world_size() * torch.stack(list(weighted.values())).sum()).backward()
        of_generator = [value for name, value in weighted.items() if name.startswith("generator/")]
        shares["generator/total"] = torch.stack(of_generator).sum()
        for name, share in shares.items():
            metrics[f"train/{name}"] = metrics.get(f"train/{name}", 0) + share.detach()
    state.update()
    return metrics


def _terms(state: TrainState, batch: StepBatch) -> Terms:
    """Return what either player descends, in one graph."""
    with state.products():
        params: SmplParams = state.synced_generator(batch.pose.features)
    kp_3d = state.keypoints(params.betas, params.rotmat)  # (B, T, 49, 3), no mesh is built
    kp_2d = project_weak_perspective(kp_3d, params.cam)
    supervised = supervised_terms(params, kp_3d, kp_2d, batch.pose)
    terms = {f"generator/{name}": term for name, term in supervised.items()}
    if state.prior is not None:
        latent = state.prior.encode(params.rotmat[..., 1:, :, :])
        terms["generator/motion_prior"] = motion_prior_term(latent.mean)
    if state.config.is_adversarial:
        view = state.discriminator.view
        fake, real = view.of_rotmat(params.rotmat), view.of_pose(batch.motion.pose)
        with state.products():
            terms |= _adversarial_terms(state, fake, real)
    return terms


def _adversarial_terms(state: TrainState, fake: Tensor, real: Tensor) -> Terms:
    """Let the discriminator look at both (B, T, P), once if the players may share one pass."""
    if not state.discriminator_learns:
        return {"generator/adversarial": generator_term(_frozen_score(state, fake))}
    if state.config.optim.one_pass:
        real_score, fake_score = _scores(state, real, fake)
        fake_score = turn_gradient(fake, fake_score)
        opinion = fake_score.detach()  # its gradient comes with that of the discriminator's term
    else:
        opinion = _frozen_score(state, fake)
        real_score, fake_score = _scores(state, real, fake.detach())
    return {
        "generator/adversarial": generator_term(opinion),
        "discriminator/real": discriminator_real_term(real_score),
        "discriminator/fake": discriminator_fake_term(fake_score),
    }


def _scores(state: TrainState, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Score both in one forward pass of the network that DDP wraps, which bears no second."""
    scores = state.synced_discriminator(torch.cat([real, fake]))
    real_score, fake_score = scores.split([len(real), len(fake)])
    return real_score, fake_score


def _frozen_score(state: TrainState, fake: Tensor) -> Tensor:
    """Score by the raw network, frozen: it learns nothing here and wakes no reducer."""
    state.discriminator.requires_grad_(False)
    score: Tensor = state.discriminator(fake)
    state.discriminator.requires_grad_(True)
    return score


def _weight(state: TrainState, name: str) -> float:
    """The released code weights the discriminator's loss by the adversarial weight, too."""
    player, term = name.split("/")
    losses = state.config.losses
    weight: float = getattr(losses, term) if player == "generator" else losses.adversarial
    return weight


def _counts_over_ranks(batch: StepBatch) -> dict[str, Tensor]:
    """By what each term's sum is divided; where nothing is valid anywhere, one: it is zero then."""
    generated, captured = (
        num_items(pose[:, 0, 0]) for pose in (batch.pose.pose, batch.motion.pose)
    )
    counts = {f"generator/{name}": n for name, n in supervised_counts(batch.pose).items()}
    counts |= {"generator/adversarial": generated, "generator/motion_prior": generated}
    counts |= {"discriminator/real": captured, "discriminator/fake": generated}
    table = torch.stack(list(counts.values()))
    if dist.is_initialized():
        dist.all_reduce(table)
    return dict(zip(counts, table.clamp(min=1.0).unbind(), strict=True))


def _parts(batch: StepBatch, num_parts: int) -> list[StepBatch]:
    """Cut a rank's share into micro-batches, none of them empty; fewer where the share is small."""
    sizes = len(batch.pose.features), len(batch.motion.pose)  # no motion: nobody looks at it
    num_parts = max(1, min([num_parts, *(size for size in sizes if size)]))
    captured = batch.motion.pose.tensor_split(num_parts)
    columns = {name: x.tensor_split(num_parts) for name, x in vars(batch.pose).items()}
    return [
        StepBatch(
            PoseBatch(**{name: pieces[part] for name, pieces in columns.items()}),
            MotionBatch(captured[part]),
        )
        for part in range(num_parts)
    ]


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1
