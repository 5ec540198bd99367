"""The outcome of a search that nobody ran."""

import json
import math
from pathlib import Path

from vibe_ray.config import TrainConfig
from vibe_ray.recipes import ablation
from vibe_ray.runs.log import SCORE, score_name
from vibe_ray.settings import override
from vibe_ray.tuning.candidates import baseline, plan_trials
from vibe_ray.tuning.plan import Search, SearchKind, first_candidates
from vibe_ray.tuning.ranking import Outcome, Ranked, rank
from vibe_ray.tuning.records import Subject, run_dir
from vibe_ray.tuning.spaces import Space

BASE = override(ablation(), {"epochs": 4})
WHY = "loss term train/generator/total was not finite at step 7 <&>"


def rows(name: str, final: float, epochs: int) -> list[dict[str, float]]:
    others = {"val/mpjpe_mm": 1.5 * final, "val/accel_error_mm_per_frame2": 14.0}
    return [
        {
            "epoch": epoch,
            "step": 80.0 * epoch,
            name: final + math.exp(-epoch),
            **(others if name == SCORE else {"val/frame/reconstruction_mm": 1.25 * final}),
        }
        for epoch in range(1, epochs + 1)
    ]


def made_up(
    directory: Path, space: Space, stopped: int = 0, failed: int = 0, base: TrainConfig = BASE
) -> list[Ranked]:
    """Rank candidates, each a millimeter worse than the one before, each seed a tenth.

    The last candidates were stopped, those before them have failed.
    """
    kind: SearchKind = "random" if space.has_ranges else "grid"
    candidates = first_candidates(base, space, Search(name="any", search=kind))
    outcomes = []
    for trial in plan_trials(base, candidates, 3):
        number = trial.candidate.number
        left = len(candidates) - number
        epochs = 2 if left <= stopped else base.epochs
        if left <= stopped and trial.seed:
            continue
        history = rows(score_name(base), 50.0 + number + 0.1 * trial.seed, epochs)
        folder = Path(run_dir(str(directory), trial))
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
        if stopped < left <= stopped + failed:
            outcomes.append(Outcome(trial=trial, state="failed", error=WHY))
            continue
        outcomes.append(
            Outcome(
                trial=trial,
                state="stopped" if left <= stopped else "finished",
                metrics=history[-1],
                score=history[-1][score_name(base)],
                num_epochs=epochs,
                checkpoint=str(folder / "step_0000320"),
            )
        )
    return rank(outcomes, baseline(base, candidates))


def subject(space: Space, base: TrainConfig = BASE) -> Subject:
    kind: SearchKind = "random" if space.has_ranges else "grid"
    hashes = {"open_3d/val": "abc123"}
    return Subject(base=base, space=space, scheduler="none", search=kind, data_hashes=hashes)
