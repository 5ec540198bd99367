"""VIBE's networks written a second time, slowly: equations on single time steps, no `nn.Module`.

Everything is a function of a state dict `w` and an input; plain loops, so that each line can be
held against the paper's or PyTorch's equation. Differentiable, any precision.
"""

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def gru_direction(x: Tensor, w: Weights, suffix: str) -> Tensor:
    """One layer of a GRU in one direction: x (B, T, I) -> (B, T, H); gates are stored r, z, n."""
    w_ih, w_hh = w[f"gru.weight_ih_{suffix}"], w[f"gru.weight_hh_{suffix}"]
    b_ih, b_hh = w[f"gru.bias_ih_{suffix}"], w[f"gru.bias_hh_{suffix}"]
    H = w_hh.shape[1]
    W_r, W_z, W_n = w_ih[:H], w_ih[H : 2 * H], w_ih[2 * H :]
    U_r, U_z, U_n = w_hh[:H], w_hh[H : 2 * H], w_hh[2 * H :]
    b_r, b_z, b_n = b_ih[:H], b_ih[H : 2 * H], b_ih[2 * H :]
    c_r, c_z, c_n = b_hh[:H], b_hh[H : 2 * H], b_hh[2 * H :]
    windows = []
    for window in x:
        h = torch.zeros(H, dtype=x.dtype)
        states = []
        for frame in window:
            r = 1 / (1 + torch.exp(-(W_r @ frame + b_r + U_r @ h + c_r)))
            z = 1 / (1 + torch.exp(-(W_z @ frame + b_z + U_z @ h + c_z)))
            n = torch.tanh(W_n @ frame + b_n + r * (U_n @ h + c_n))
            h = (1 - z) * n + z * h
            states.append(h)
        windows.append(torch.stack(states))
    return torch.stack(windows)


def gru(x: Tensor, w: Weights, num_layers: int, bidirectional: bool = False) -> Tensor:
    for layer in range(num_layers):
        forward = gru_direction(x, w, f"l{layer}")
        if bidirectional:
            backward = gru_direction(x.flip(1), w, f"l{layer}_reverse").flip(1)
            x = torch.cat([forward, backward], dim=2)
        else:
            x = forward
    return x


def encoder(
    x: Tensor, w: Weights, *, num_layers: int, bidirectional: bool, linear: bool, residual: bool
) -> Tensor:
    y = gru(x, w, num_layers, bidirectional)
    if linear:
        y = torch.clamp(y, min=0) @ w["linear.weight"].T + w["linear.bias"]
    return y + x if residual else y


def rot6d_to_rotmat(six: Tensor) -> Tensor:
    """One 6-vector -> (3, 3)."""
    a1 = torch.stack([six[0], six[2], six[4]])
    a2 = torch.stack([six[1], six[3], six[5]])
    b1 = a1 / torch.sqrt((a1 * a1).sum()).clamp(min=1e-6)
    rest = a2 - (b1 * a2).sum() * b1
    b2 = rest / torch.sqrt((rest * rest).sum()).clamp(min=1e-6)
    b3 = torch.stack(
        [
            b1[1] * b2[2] - b1[2] * b2[1],
            b1[2] * b2[0] - b1[0] * b2[2],
            b1[0] * b2[1] - b1[1] * b2[0],
        ]
    )
    return torch.stack([b1, b2, b3], dim=1)


def regressor(x: Tensor, w: Weights, num_iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, F) -> rotmat (N, 24, 3, 3), betas (N, 10), cam (N, 3); no dropout."""
    outputs = []
    for feature in x:
        pose, shape, cam = w["init_pose"][0], w["init_shape"][0], w["init_cam"][0]
        for _ in range(num_iterations):
            h = w["fc1.weight"] @ torch.cat([feature, pose, shape, cam]) + w["fc1.bias"]
            h = w["fc2.weight"] @ h + w["fc2.bias"]
            pose = pose + w["decpose.weight"] @ h + w["decpose.bias"]
            shape = shape + w["decshape.weight"] @ h + w["decshape.bias"]
            cam = cam + w["deccam.weight"] @ h + w["deccam.bias"]
        rotmat = torch.stack([rot6d_to_rotmat(six) for six in pose.reshape(24, 6)])
        outputs.append((rotmat, shape, cam))
    rotmats, shapes, cams = zip(*outputs, strict=True)
    return torch.stack(rotmats), torch.stack(shapes), torch.stack(cams)


def discriminator(x: Tensor, w: Weights, num_layers: int, attention_layers: int) -> Tensor:
    """Body pose (B, T, 69) -> scores (B,); `attention_layers` 0 is the concat pooling."""
    scores = []
    for frames in gru(x, w, num_layers):
        if attention_layers:
            raw = frames
            for layer in range(attention_layers):
                name = f"attention.attention.{3 * layer}"
                raw = torch.tanh(raw @ w[f"{name}.weight"].T + w[f"{name}.bias"])
            e = torch.exp(raw[:, 0])
            pooled = sum(e[t] / e.sum() * frames[t] for t in range(len(frames)))
        else:
            positive = torch.clamp(frames, min=0)
            pooled = torch.cat([positive.sum(0) / len(frames), positive.max(0).values])
        scores.append((w["fc.weight"] @ pooled + w["fc.bias"])[0])
    return torch.stack(scores)


def sub_weights(w: Weights, prefix: str) -> Weights:
    return {k.removeprefix(prefix): v for k, v in w.items() if k.startswith(prefix)}
