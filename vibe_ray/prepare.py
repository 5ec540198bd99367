"""`python -m vibe_ray.prepare`: turn raw data into shards, check them; weights in and out."""

import argparse
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vibe_ray import cli
from vibe_ray.data.sources import SOURCES, Source, gather_motion

if TYPE_CHECKING:
    from vibe_ray.body.model import BodyConfig
    from vibe_ray.data.recordings import ReadEach
    from vibe_ray.data.sources.conversion import ConversionConfig

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and prepare."""
    parser = cli.make_parser(
        "prepare",
        "Turn raw data into shards, check shards, import released weights, export trained ones.",
        "python -m vibe_ray.prepare open --out data/open",
    )
    commands = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    for source in SOURCES:
        _add_source(commands, source)
    _add_videos(commands)
    _add_features(commands)
    _add_open(commands)
    _add_tools(commands)
    cli.run(parser, lambda args: args.run(args), argv)


def _add(
    commands: "Commands",
    name: str,
    text: str,
    example: str,
    run: Callable[[argparse.Namespace], None],
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"example:\n  python -m vibe_ray.prepare {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _add_source(commands: "Commands", source: Source) -> None:
    example = f"{source.name} --raw DIR --out data/{source.name}/train"
    run = {"motion": _motion, "labels": _labels}[source.kind]
    command = _add(commands, source.name, source.help, example, run)
    _add_folders(command, "folder or s3:// of the recordings")
    if source.kind == "motion":
        command.add_argument("--fps", type=cli.rate, default=25.0, help="frames per second (25)")
        _add_hints(command, source.hints)
    if source.takes_bodies:
        _add_bodies(command)
    command.set_defaults(of=source)


def _add_folders(command: argparse.ArgumentParser, raw: str) -> None:
    command.add_argument("--raw", required=True, help=raw)
    command.add_argument("--out", required=True, help="folder or s3:// of the data set")
    command.add_argument("--split", default="train", help="name of the split (train)")
    cli.add_job_workers(command, "the recordings")


def _add_bodies(command: argparse.ArgumentParser) -> None:
    for flag, which in {"": "neutral", "-male": "male", "-female": "female"}.items():
        text = f"{which} SMPL (.pkl or .npz) for 3D key-points; its regressors beside it"
        command.add_argument(f"--body{flag}", metavar="FILE", help=text)


def _add_videos(commands: "Commands") -> None:
    text = "your own videos: people are found and followed; labels in 2D, to be encoded and learned"
    command = _add(commands, "videos", text, "videos --raw DIR --out labels/mine/train", _videos)
    _add_folders(command, "a video, or a folder of them; or s3://")
    command.add_argument("--fps", type=cli.rate, default=25.0, help="frames per second (25)")
    text = (
        "folder of what another program saw, called as the videos are: OpenPose's folders, or "
        ".json of COCO's kind; without it people are looked for"
    )
    command.add_argument("--keypoints", metavar="DIR", default="", help=text)
    command.add_argument("--device", default="cpu", help="cpu, cuda, ... (cpu)")


def _add_features(commands: "Commands") -> None:
    text = "labels of an image data set or of videos, seen through a frame encoder: pose shards"
    example = "features --labels labels/penn_action/train --out data/penn_action/train"
    command = _add(commands, "features", text, example, _features)
    command.add_argument("--labels", required=True, help="folder or s3:// of the label shards")
    text = "frame encoder's folder, or resnet50, SPIN's image network, of --weights (packaged)"
    command.add_argument("--encoder", default="open", help=text)
    command.add_argument("--weights", metavar="FILE", help="SPIN's checkpoint, for resnet50")
    _add_keypoints(command)
    cli.add_job_workers(command, "the recordings")
    command.add_argument("--raw", help="where videos and images are, if they were moved")
    command.add_argument("--out", required=True, help="folder or s3:// of the data set")


def _add_keypoints(command: argparse.ArgumentParser) -> None:
    text = "key-points beside the features, for a generator that looks at them (docs/data.md)"
    command.add_argument("--keypoints", action="store_true", help=text)


def _add_hints(command: argparse.ArgumentParser, hints: Collection[str]) -> None:
    command.set_defaults(names="", source_fps="")
    if "names" in hints:
        text = (
            "which joint is which, where names and structure do not tell: lines such as "
            "`left_hip = thigh.L`, SMPL's joint first; what is not listed is recognized by itself"
        )
        command.add_argument("--names", metavar="FILE", help=text)
    if "source_fps" in hints:
        text = (
            "frames per second of the recordings, where their files tell none or a wrong one: a "
            "number for all, or a file of lines such as `salsa/* = 60`, of which the first that "
            "fits a recording's path below its folder counts"
        )
        command.add_argument("--source-fps", metavar="FPS|FILE", help=text)


def _add_open(commands: "Commands") -> None:
    text = "the open world: synthetic captures of open motion, as training and test shards"
    command = _add(commands, "open", text, "open --out data/open", _open)
    command.add_argument("--out", required=True, help="folder or s3:// of the data root")
    text = "more motion: folder or s3:// of BVH, AMC or AMASS files; may be repeated"
    command.add_argument("--motion", metavar="DIR", action="append", default=[], help=text)
    command.add_argument("--encoder", default="open", help="frame encoder's folder (packaged)")
    _add_keypoints(command)
    command.add_argument("--seed", type=int, default=0, help="seed of all captures (0)")
    text = (
        "captures of each training clip with full truth, and half as many 2D-only ones (24); 0 for "
        "none: a run may capture windows of the motion as it learns, --recipe open_world_hours"
    )
    command.add_argument("--captures", type=int, default=24, metavar="N", help=text)
    text = "captures of each clip held out (8); a frame encoder needs none, and none to train on"
    command.add_argument("--heldout", type=int, default=8, metavar="N", help=text)
    text = "smoke: one capture of each, whatever their numbers (full)"
    command.add_argument("--size", default="full", choices=("full", "smoke"), help=text)
    _add_hints(command, ("source_fps",))


def _add_tools(commands: "Commands") -> None:
    text = "check data sets: schema, units, joint order, rates, axes, duplicates, leakage"
    command = _add(commands, "validate", text, "validate data/open", _validate)
    command.add_argument("path", help="a data set, or a folder of several; local or s3://")
    text = "look at data sets: windows of each as a picture, with boxes, key-points and bodies"
    command = _add(commands, "inspect", text, "inspect data/open --out sheets", _inspect)
    command.add_argument("path", help="a data set, or a folder of several; local or s3://")
    command.add_argument("--out", required=True, help="folder or s3:// of the pictures")
    command.add_argument("--raw", help="where videos and images are, if they were moved")
    text = "a released checkpoint (.pth.tar) of VIBE or SPIN as a directory of ours"
    example = "import-checkpoint --raw vibe_model_wo_3dpw.pth.tar --out runs/vibe_released"
    command = _add(commands, "import-checkpoint", text, example, _import_checkpoint)
    command.add_argument("--raw", required=True, help="the authors' file")
    text = (
        "of a SPIN checkpoint take the regressor, for initial_regressor (spin), or the image "
        "network, for --encoder (resnet50) (vibe)"
    )
    kinds = ("vibe", "spin", "resnet50")
    command.add_argument("--architecture", default="vibe", choices=kinds, help=text)
    _add_package_flags(command)
    text = "a run's best networks in half precision, without what only training needs"
    example = "export --checkpoint runs/motion_prior --out exported/motion_prior"
    command = _add(commands, "export", text, example, _export)
    command.add_argument("--checkpoint", required=True, help="checkpoint directory or run's folder")
    _add_package_flags(command)


def _add_package_flags(command: argparse.ArgumentParser) -> None:
    text = "checkpoint directory to write: a new or empty one"
    command.add_argument("--out", required=True, help=text)
    text = "replace a checkpoint that was exported or imported there before"
    command.add_argument("--overwrite", action="store_true", help=text)


def _motion(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from vibe_ray.data.sources.requests import MotionRequest

    config = replace(_hints(args), fps=args.fps)
    _convert(args, MotionRequest(args.of, args.raw, config))


def _hints(args: argparse.Namespace) -> "ConversionConfig":
    """Read what the user knows of the recordings."""
    from vibe_ray.data.sources.conversion import ConversionConfig
    from vibe_ray.data.sources.hints import read_names, read_source_fps

    return ConversionConfig(
        names=read_names(args.names) if args.names else {},
        source_fps=read_source_fps(args.source_fps) if args.source_fps else {},
    )


def _labels(args: argparse.Namespace) -> None:
    from vibe_ray.data.sources.requests import LabelsRequest

    bodies = _bodies(args) if args.of.takes_bodies else {}
    _convert(args, LabelsRequest(args.of, args.raw, args.split, bodies))


def _bodies(args: argparse.Namespace) -> "dict[str, BodyConfig]":
    from vibe_ray.body.model import BodyConfig

    paths = {"neutral": args.body, "m": args.body_male, "f": args.body_female}
    return {gender: BodyConfig(path=path) for gender, path in paths.items() if path}


def _videos(args: argparse.Namespace) -> None:
    from vibe_ray.video.recordings import VideosRequest

    _convert(args, VideosRequest(args.raw, args.fps, args.keypoints), args.device)


def _convert(args: argparse.Namespace, request: Any, device: str = "cpu") -> None:
    found = request.recordings(device)
    read = _reader(args.workers, request, device)
    written = found.write_to(args.out, request.header(found, args.split), _watched, read)
    print(written.told(args.out))


def _reader(num_workers: int, request: Any, device: str = "") -> "ReadEach[Any] | None":
    if not num_workers:
        return None
    from vibe_ray.distributed.conversion import on_cluster

    return on_cluster(request, num_workers, device)


def _features(args: argparse.Namespace) -> None:
    from vibe_ray.features.encoding import encode_labels
    from vibe_ray.runs.imports import load_frame_encoder

    encoder = load_frame_encoder(args.encoder, args.weights, keypoints=args.keypoints)
    read = None
    if args.workers:
        from vibe_ray.distributed.conversion import EncodingRequest

        what = args.labels, args.raw, args.encoder, args.weights, args.keypoints
        read = _reader(args.workers, EncodingRequest(*what))
    known: dict[str, Any] = {"raw": args.raw, "walk": _watched, "read": read}
    print(encode_labels(args.labels, args.out, encoder, **known).told(args.out))


def _open(args: argparse.Namespace) -> None:
    from vibe_ray.body.model import BodyConfig, load_body
    from vibe_ray.data.synthetic.dataset import open_captures
    from vibe_ray.features.frame_encoder import load_encoder
    from vibe_ray.features.open_world import write_open_world
    from vibe_ray.features.with_keypoints import given_keypoints

    encoder = given_keypoints(load_encoder(args.encoder), args.keypoints)
    config = open_captures(args.size, args.seed, args.captures, args.heldout)
    motion, body = gather_motion(args.motion, _hints(args), _watched), load_body(BodyConfig())
    minutes = sum(len(clip.pose) / clip.fps for clip in motion) / 60
    logger.info("%d motion clips, %.1f minutes", len(motion), minutes)
    write_open_world(args.out, motion, encoder, config, body)
    recipe = "" if config.captures_3d else " --recipe open_world_hours"
    print(f"{args.out}: ready; try `python -m vibe_ray.train --data {args.out}{recipe}`")


def _watched(items: "Iterable[Any]") -> "Iterable[Any]":
    from rich.progress import track

    return track(items, "converting")


def _validate(args: argparse.Namespace) -> None:
    from vibe_ray.data.validate import validate

    findings = list(validate(args.path))
    for finding in findings:
        print(f"{finding.level}: {finding.message}")
    num_errors = sum(finding.level == "error" for finding in findings)
    if num_errors:
        raise SystemExit(1)
    print(f"{args.path}: no errors, {len(findings)} warnings")


def _inspect(args: argparse.Namespace) -> None:
    from vibe_ray.reports.contact_sheets import write_sheets

    print(*write_sheets(args.path, args.out, args.raw), sep="\n")


def _import_checkpoint(args: argparse.Namespace) -> None:
    from vibe_ray.runs.imports import import_checkpoint

    manifest = import_checkpoint(args.raw, args.out, args.architecture, args.overwrite)
    print(f"{args.out}: {manifest}")


def _export(args: argparse.Namespace) -> None:
    from vibe_ray.runs.exports import export_checkpoint

    manifest = export_checkpoint(args.checkpoint, args.out, args.overwrite)
    print(f"{args.out}: {manifest}")


if __name__ == "__main__":
    main()
