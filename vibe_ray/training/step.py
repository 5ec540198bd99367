"""The method on one page: one update of the generator, then one of the discriminator.

Read beside the paper's Sec. 3: the generator (temporal encoder and regressor) turns features into
SMPL parameters, is told by key-points and parameters where those are known (Eq. 1-2), and by the
motion discriminator whether the motion looks captured (Eq. 5-6). Nothing here knows Ray.

Every rank runs the same graph at every step. A loss is a masked sum over a count; the counts are
summed over the ranks, so that N workers compute what one worker with all windows would.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from vibe_ray.body.params import SmplParams, split_pose
from vibe_ray.data.batches import PoseBatch, StepBatch
from vibe_ray.geometry.cameras import project_weak_perspective
from vibe_ray.losses.adversarial import (
    discriminator_fake_term,
    discriminator_real_term,
    generator_term,
)
from vibe_ray.losses.masked import MaskedTerm
from vibe_ray.losses.supervised import supervised_terms
from vibe_ray.training.state import TrainState

Terms = dict[str, MaskedTerm]


def adversarial_step(state: TrainState, batch: StepBatch) -> dict[str, Tensor]:
    """Update both networks once and return every loss term, detached, unweighted, on the device.

    Each returned value is this rank's share of the mean over all ranks' windows: their sum over
    the ranks is the term. `train/generator/total` is the weighted sum that was descended.

    Dropout draws from a stream seeded by (seed, rank, step), so a step does not depend on what the
    process did before it: a resumed run needs no random state.
    """
    torch.manual_seed(state.dropout_seed())
    weights = state.config.losses
    params: SmplParams = state.synced_generator(batch.pose.features)
    terms = _supervised(state, params, batch.pose)
    if state.config.is_adversarial:
        fake = split_pose(params.pose)[1]
        # The raw network, frozen: nothing of its own to learn here, and a reducer that belongs to
        # its own update below must not be woken by this backward pass.
        state.discriminator.requires_grad_(False)
        terms["adversarial"] = generator_term(state.discriminator(fake))
        state.discriminator.requires_grad_(True)
    shares = _shares(terms)
    total = _weighted(shares, {name: getattr(weights, name) for name in shares})
    _update(state.generator_optimizer, total)
    metrics = {f"train/generator/{name}": share.detach() for name, share in shares.items()}
    metrics["train/generator/total"] = total.detach() / _world_size()
    if state.config.is_adversarial and state.step % state.config.optim.discriminator_every == 0:
        metrics |= _discriminator_update(state, fake.detach(), batch)
    state.step += 1
    return metrics


def _supervised(state: TrainState, params: SmplParams, batch: PoseBatch) -> Terms:
    kp_3d = state.keypoints(params.betas, params.rotmat)  # (B, T, 49, 3), no mesh is built
    kp_2d = project_weak_perspective(kp_3d, params.cam)
    return supervised_terms(params, kp_3d, kp_2d, batch)


def _discriminator_update(state: TrainState, fake: Tensor, batch: StepBatch) -> dict[str, Tensor]:
    """Move scores of captured motion towards 1 and of generated motion towards 0 (Eq. 6).

    One pass over real and fake together: one forward for the wrapped network, one backward. The
    released code weights this loss by the adversarial weight too, and so does this.
    """
    real = split_pose(batch.motion.pose)[1]
    scores = state.synced_discriminator(torch.cat([real, fake]))
    real_score, fake_score = scores.split([len(real), len(fake)])
    shares = _shares(
        {"real": discriminator_real_term(real_score), "fake": discriminator_fake_term(fake_score)}
    )
    weight = state.config.losses.adversarial
    _update(state.discriminator_optimizer, _weighted(shares, dict.fromkeys(shares, weight)))
    return {f"train/discriminator/{name}": share.detach() for name, share in shares.items()}


def _shares(terms: Terms) -> dict[str, Tensor]:
    """Divide each rank's sum by the count over all ranks; nothing valid anywhere gives zero."""
    counts = torch.stack([term.count for term in terms.values()])
    if dist.is_initialized():
        dist.all_reduce(counts)
    divisors = counts.clamp(min=1.0).unbind()
    return {name: term.total / n for (name, term), n in zip(terms.items(), divisors, strict=True)}


def _weighted(shares: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Sum the weighted shares; DDP averages gradients over ranks, so the world size undoes that."""
    terms = [weights[name] * share for name, share in shares.items()]
    return _world_size() * torch.stack(terms).sum()


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
