"""Against a naive decoder: loops over people, key-points and cells."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vibe_ray.video.movenet.decoding import (
    DISTANCE_CELLS,
    MIN_CONFIDENCE,
    SPREAD,
    decode_people,
    decode_person,
)

H, W, D, P = 10, 14, 3, 6


def random_maps(seed: int, batch: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(channels: int, scale: float) -> Tensor:
        return scale * torch.randn(batch, channels, H, W, generator=generator)

    return {
        "center": draw(1, 2.0),
        "box_size": 4 + draw(2, 2.0),
        "box_offset": draw(2, 0.3),
        "kp_heatmap": draw(D, 2.0) - 1,
        "kp_from_center": draw(2 * D, 2.0),
        "kp_offset": draw(2 * D, 0.3),
    }


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def peaks(center: list[list[float]]) -> list[tuple[float, int, int]]:
    found = []
    for y in range(H):
        for x in range(W):
            around = [
                center[i][j]
                for i in range(max(0, y - 2), min(H, y + 3))
                for j in range(max(0, x - 2), min(W, x + 3))
            ]
            if center[y][x] == max(around):
                found.append((center[y][x], y, x))
    return sorted(found, reverse=True)[:P]


def best_cell(values: list[list[float]], near: Sequence[float]) -> tuple[int, int]:
    cells = [(i, j) for i in range(H) for j in range(W)]
    return max(
        cells,
        key=lambda at: logistic(values[at[0]][at[1]]) / (math.dist(at, near) + DISTANCE_CELLS),
    )


def test_people_are_decoded_as_a_loop_does() -> None:
    maps = random_maps(0)
    found = decode_people(maps)
    for b in range(2):
        m = {name: values[b].tolist() for name, values in maps.items()}
        center = [[logistic(v) for v in row] for row in m["center"][0]]
        best = peaks(center)
        assert len(best) == P
        weight = torch.zeros(P, D, H, W, dtype=torch.float64)
        for p, (_, y, x) in enumerate(best):
            height, width = (max(m["box_size"][i][y][x], 0) for i in (0, 1))
            middle = (y + m["box_offset"][0][y][x], x + m["box_offset"][1][y][x])
            top, bottom = (min(max(middle[0] + s * height / 2, 0), H) for s in (-1, 1))
            left, right = (min(max(middle[1] + s * width / 2, 0), W) for s in (-1, 1))
            expected = torch.tensor([left, top, right, bottom]) * 4
            torch.testing.assert_close(found.boxes[b, p], expected, rtol=1e-4, atol=1e-3)
            for d in range(D):
                guess = [at + m["kp_from_center"][2 * d + i][y][x] for i, at in enumerate((y, x))]
                for i in range(H):
                    for j in range(W):
                        squared = (i - guess[0]) ** 2 + (j - guess[1]) ** 2
                        if top <= i < bottom and left <= j < right:
                            near = math.exp(-squared / (SPREAD * min(H, W)))
                            weight[p, d, i, j] = logistic(m["kp_heatmap"][d][i][j]) * near
        for p, (height, _, _) in enumerate(best):
            conf = []
            for d in range(D):
                i, j = divmod(int(weight[p, d].argmax()), W)
                conf.append(max(float(weight[q, d, i, j]) for q in range(P)))
                if conf[-1] < 1e-3:  # outside every map: any cell is as good
                    continue
                expected = torch.tensor(
                    [j + m["kp_offset"][2 * d + 1][i][j], i + m["kp_offset"][2 * d][i][j]]
                )
                torch.testing.assert_close(found.kp[b, p, d], 4 * expected, rtol=1e-4, atol=1e-3)
            counted = [value for value in conf if value > MIN_CONFIDENCE]
            score = height * sum(counted) / max(len(counted), 1)
            torch.testing.assert_close(found.conf[b, p], torch.tensor(conf), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(float(found.scores[b, p]), score, rtol=1e-4, atol=1e-4)


def test_one_person_is_decoded_as_a_loop_does() -> None:
    maps = random_maps(1)
    kp, conf = decode_person(maps)
    for b in range(2):
        m = {name: values[b].tolist() for name, values in maps.items()}
        y, x = best_cell(m["center"][0], near=(H / 2, W / 2))
        for d in range(D):
            guess = [at + m["kp_from_center"][2 * d + i][y][x] for i, at in enumerate((y, x))]
            i, j = best_cell(m["kp_heatmap"][d], near=guess)
            offset = [m["kp_offset"][2 * d + axis][i][j] for axis in (1, 0)]
            expected = 4 * torch.tensor([j + offset[0], i + offset[1]])
            torch.testing.assert_close(kp[b, d], expected, rtol=1e-4, atol=1e-3)
            torch.testing.assert_close(
                float(conf[b, d]), logistic(m["kp_heatmap"][d][i][j]), rtol=1e-4, atol=1e-4
            )


def test_a_box_is_cut_to_the_image() -> None:
    maps = random_maps(2)
    maps["box_size"] += 100
    left, top, right, bottom = decode_people(maps).boxes.unbind(-1)
    assert (left == 0).all()
    assert (top == 0).all()
    assert (right == 4 * W).all()
    assert (bottom == 4 * H).all()
