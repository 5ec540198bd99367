"""`python -m vibe_ray.predict`: a video's people as SMPL parameters, GLB, BVH and an overlay."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from vibe_ray import cli, storage
from vibe_ray.export import EXPORTS

if TYPE_CHECKING:
    from vibe_ray.prediction.many import VideoOutcome


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and predict."""
    parser = cli.make_parser(
        "predict",
        "Find the people of a video and estimate how they move. Into OUT/NAME go people.npz, "
        "person_K.glb and .bvh, overlay.mp4 and summary.json, which says how good it is.",
        "python -m vibe_ray.predict clip.mp4 --out results\n"
        "  python -m vibe_ray.predict frames/ --fps 25 --people largest --set bvh_names=mixamo\n"
        "  python -m vibe_ray.predict s3://bucket/videos --out s3://bucket/results --workers 4",
    )
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="a video, a folder of pictures, or a folder of videos; local or s3://",
    )
    parser.add_argument("--out", default="results", help="folder of all results (results)")
    parser.add_argument("--people", metavar="all|largest|N", help="who (all)")
    parser.add_argument("--checkpoint", metavar="P", help="as of evaluate (open, the packaged one)")
    parser.add_argument("--encoder", metavar="P", help="its frame encoder (open)")
    parser.add_argument(
        "--keypoints",
        metavar="P",
        help="OpenPose, COCO, AlphaPose or MMPose files, instead of detecting",
    )
    parser.add_argument("--focal", type=float, metavar="PIXELS", help="focal length")
    parser.add_argument("--fov", type=float, metavar="DEGREES", help="horizontal field of view")
    parser.add_argument("--fps", type=float, help="of a folder of pictures")
    exports = ", ".join(export.name for export in EXPORTS)
    parser.add_argument("--files", metavar="A,B", help=f"of npz, overlay, {exports} (all but usda)")
    cli.add_changes_flag(
        parser, "a setting of vibe_ray/prediction/settings.py, such as feet=free or flip=false"
    )
    parser.add_argument("--device", default="", help="cpu, cuda, ... (a GPU if there is one)")
    cli.add_job_workers(parser, "many videos")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace results of other settings"
    )
    cli.run(parser, _predict, argv)


def _predict(args: argparse.Namespace) -> None:
    from vibe_ray.prediction.console import progress, watch_of
    from vibe_ray.prediction.job import Tools
    from vibe_ray.prediction.many import plan, predict_here
    from vibe_ray.prediction.outputs import check_installed
    from vibe_ray.prediction.settings import PredictConfig
    from vibe_ray.settings import override

    flags = {
        "people": args.people,
        "checkpoint": args.checkpoint,
        "encoder": args.encoder,
        "keypoints": args.keypoints,
        "focal.focal_px": args.focal,
        "focal.fov_deg": args.fov,
        "fps": args.fps,
        "files": args.files,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    config = override(PredictConfig(), given | cli.read_changes(args)).everywhere()
    check_installed(config)
    jobs = plan(args.videos, args.out)
    storage.check_writable(args.out)
    if args.workers:
        from vibe_ray.distributed.videos import predict_videos

        found = predict_videos(jobs, config, args.workers, args.device, overwrite=args.overwrite)
        outcomes = _shown(found, print)
    else:
        tools = Tools(config, args.device)
        with progress() as bars:
            watches = (watch_of(job, bars) for job in jobs)
            found = predict_here(jobs, tools, watches, overwrite=args.overwrite)
            show = partial(bars.console.print, markup=False, highlight=False, soft_wrap=True)
            outcomes = _shown(found, show)
    if not any(outcome.summary for outcome in outcomes):
        raise ValueError(f"nothing was predicted: {outcomes[0].reason}")


def _shown(outcomes: "Iterable[VideoOutcome]", show: Callable[[str], None]) -> "list[VideoOutcome]":
    """Say what came of each video as soon as it is known."""
    from vibe_ray.prediction.console import told

    done = []
    for outcome in outcomes:
        show(told(outcome))
        done.append(outcome)
    return done


if __name__ == "__main__":
    main()
