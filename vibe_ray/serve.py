"""`python -m vibe_ray.serve`: answer over HTTP with a checkpoint, on Ray Serve."""

import argparse
import os
from collections.abc import Sequence

from vibe_ray import cli

TOKEN_VARIABLE = "VIBE_RAY_TOKEN"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and serve until interrupted."""
    parser = cli.make_parser(
        "serve",
        "Serve a checkpoint over HTTP: POST /v1/keypoints and /v1/infer, GET /v1/model and "
        "/healthz; the interface is described at /docs.",
        "python -m vibe_ray.serve --checkpoint runs/demo --port 8000\n"
        f"  {TOKEN_VARIABLE}=a-long-secret python -m vibe_ray.serve --host 0.0.0.0",
    )
    parser.add_argument(
        "--checkpoint",
        default="open",
        help="checkpoint directory, a run's folder (its best), or `open`, the packaged one (open)",
    )
    parser.add_argument(
        "--encoder",
        help="frame encoder of key-points that the checkpoint was trained with, for "
        "/v1/keypoints: a folder, or `open` (the packaged one, if it is that)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (8000)")
    parser.add_argument("--replicas", type=int, default=1, help="copies of the model (1)")
    parser.add_argument(
        "--token",
        metavar="T",
        help="what clients must send as `Authorization: Bearer T`; who else works on this machine "
        f"can see it here, but not in the environment variable {TOKEN_VARIABLE}",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="let other machines in without a token"
    )
    cli.add_changes_flag(parser, "change one limit (vibe_ray/serving/admission.py)")
    cli.run(parser, _serve, argv)


def _serve(args: argparse.Namespace) -> None:
    try:
        from vibe_ray.distributed.serving import Server, serve_checkpoint
    except ImportError as error:
        raise ImportError(
            f"{error}; serving needs an extra: pip install 'vibe_ray[serve]'"
        ) from error
    serve_checkpoint(
        Server(
            checkpoint=args.checkpoint,
            encoder=args.encoder,
            host=args.host,
            port=args.port,
            replicas=args.replicas,
            token=args.token if args.token is not None else os.environ.get(TOKEN_VARIABLE),
            is_insecure=args.insecure,
            changes=cli.read_changes(args),
        )
    )


if __name__ == "__main__":
    main()
