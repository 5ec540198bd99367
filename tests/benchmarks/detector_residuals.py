"""`python -m tests.benchmarks.detector_residuals`: does the simulated detector err as the real one?

Real: MoveNet's key-points in four calibrated views of a real person (VIBE_RAY_TEST_DATA), against
their triangulation. Simulated: the same points in the same cameras, seen by `synthetic.detector`,
many times, and triangulated alike: an error that all views share shows in neither.

Shapes: V views, N frames, D = 17 key-points of COCO.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.people import print_rows
from tests.fitting.real_views import views_file
from vibe_ray.body.skeletons import COCO_17
from vibe_ray.data.synthetic.detector import DETECTED, DetectorConfig, Projected, detect, part_of
from vibe_ray.geometry.arrays import Array

SEEN = 0.3
"""Confidence below which a key-point is not asked."""
FAR = 0.06
"""Shares of the body's height beyond which an error is a mistake, and no part of the spread."""
BODY_M = 1.7
PAIRS = [(5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)]


def triangulated(kp: Array, projection: Array) -> Array:
    """Points (N, D, 3) of key-points (V, N, D, 3) by their confidences, and cameras (V, 3, 4)."""
    weight = np.where(kp[..., 2] > SEEN, kp[..., 2], 0.0)[..., None]
    rows = [
        weight
        * (kp[..., axis, None] * projection[:, None, None, 2] - projection[:, None, None, axis])
        for axis in (0, 1)
    ]
    system = np.concatenate(rows).transpose(1, 2, 0, 3)  # (N, D, 2 V, 4)
    points = np.linalg.svd(system)[2][..., -1, :]
    return np.asarray(points[..., :3] / points[..., 3:])


def projected(points: Array, projection: Array) -> tuple[Array, Array]:
    """Pixels (V, N, D, 2) and depths (V, N, D), meters."""
    ahead = np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1)
    seen = np.einsum("vij,ndj->vndi", projection, ahead)
    scale = np.linalg.norm(projection[:, 2, :3], axis=-1)[:, None, None]
    return seen[..., :2] / seen[..., 2:], seen[..., 2] / scale


def heights_px(points: Array, projection: Array) -> Array:
    """Pixels of the standing body's height at the body's middle (V, N)."""
    middle = np.nanmedian(points, axis=1)
    here = projected(middle[:, None], projection)[0]
    steps = [projected((middle + 0.01 * a)[:, None], projection)[0] - here for a in np.eye(3)]
    jacobian = np.stack(steps, axis=-1)[:, :, 0] / 0.01  # (V, N, 2, 3)
    return BODY_M * np.linalg.svd(jacobian)[1].mean(axis=-1)


def described(kp: Array, projection: Array) -> dict[str, dict[str, float]]:
    """Describe what a detector saw, by part of the body; spreads in thousandths of the height."""
    points = triangulated(kp, projection)
    off = (kp[..., :2] - projected(points, projection)[0]) / heights_px(points, projection)[
        ..., None, None
    ]
    off = np.where(kp[..., 2:] > SEEN, off, np.nan)
    parts = np.array([part_of(name) for name in COCO_17])
    found = {}
    for part in dict.fromkeys(parts.tolist()):
        series = off[:, :, parts == part].transpose(0, 2, 3, 1).reshape(-1, kp.shape[1])
        constant = np.nanmedian(series, axis=1)
        rest = np.clip(series - constant[:, None], -FAR, FAR)
        lags = [np.nanmean(rest[:, : rest.shape[1] - lag] * rest[:, lag:]) for lag in range(3)]
        jitter = max(0.0, lags[0] - 2 * lags[1] + lags[2])  # what no line through the lags explains
        conf = kp[:, :, parts == part, 2]
        found[part] = {
            "constant": 1000 * float(np.sqrt(np.nanmean(constant**2))),
            "slow": 1000 * float(np.sqrt(max(0.0, lags[0] - jitter))),
            "jitter": 1000 * float(np.sqrt(jitter)),
            "far off, %": 100 * float(np.nanmean(np.abs(series) > FAR)),
            "not seen, %": 100 * float((conf <= SEEN).mean()),
            "confidence": float(np.median(conf)),
        }
    pixels = projected(points, projection)[0]
    swapped = []
    for a, b in PAIRS:
        same, other = (
            np.linalg.norm(kp[:, :, [a, b], :2] - pixels[:, :, order], axis=-1).sum(axis=-1)
            for order in ([a, b], [b, a])
        )
        swapped.append((other < same).mean())
    found["all"] = {"pairs swapped, %": 100 * float(np.mean(swapped))}
    return found


def simulated(points: Array, projection: Array, size: Array, fps: float, seed: int) -> Array:
    """Key-points (V, N, D, 3) of the simulated detector; each view is a clip of its own."""
    rows = [COCO_17.index(name) if name in COCO_17 else 15 for name in DETECTED]  # feet: not asked
    pixels, depth = projected(points, projection)
    true = Projected(
        kp=torch.from_numpy(pixels[:, :, rows]).float(),
        depth=torch.from_numpy(depth[:, :, rows]).float(),
        height_px=torch.from_numpy(heights_px(points, projection)).float(),
        image_size=torch.from_numpy(size).float().expand(len(projection), 2),
        fps=fps,
    )
    kp, conf = detect(true, DetectorConfig(), torch.Generator().manual_seed(seed))
    seen = torch.cat([kp, conf[..., None]], dim=-1)[:, :, : len(COCO_17)]
    return seen.double().numpy()


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print and write a table."""
    parser = argparse.ArgumentParser(
        prog="tests.benchmarks.detector_residuals", description=__doc__
    )
    parser.add_argument("--draws", type=int, default=100, help="of the simulated detector")
    parser.add_argument("--json", type=Path, default=Path("runs/bench/detector_residuals.json"))
    args = parser.parse_args(argv)
    if (file := views_file()) is None:
        raise FileNotFoundError("VIBE_RAY_TEST_DATA names no folder with real_views/views.npz")
    with np.load(file) as data:
        kp, projection = data["kp_2d_px"], data["projection"]
        size, fps = data["image_size"], float(data["fps"])
    real, points = described(kp, projection), triangulated(kp, projection)
    draws = [
        described(simulated(points, projection, size, fps, seed), projection)
        for seed in range(args.draws)
    ]
    rows: list[dict[str, Any]] = []
    for part, numbers in real.items():
        for name, value in numbers.items():
            others = [draw[part][name] for draw in draws]
            low, middle, high = np.percentile(others, [10, 50, 90])
            row = {"part": part, "what": name, "real": value, "simulated": float(middle)}
            rows.append({**row, "10 % below": float(low), "10 % above": float(high)})
    print_rows("detector", rows)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
