"""`python -m vibe_ray.serve`: answer `POST /v1/infer` with a checkpoint, on Ray Serve."""

import argparse
from collections.abc import Sequence

from vibe_ray import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and serve until interrupted."""
    parser = cli.make_parser(
        "serve",
        "Serve a checkpoint over HTTP: POST /v1/infer, GET /v1/model, GET /healthz; the interface "
        "is described at /docs. Anyone who reaches the port may use it.",
        "python -m vibe_ray.serve --checkpoint runs/demo --port 8000",
    )
    parser.add_argument(
        "--checkpoint",
        default="open",
        help="checkpoint directory, a run's folder (its best), or `open`, the packaged one (open)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (8000)")
    parser.add_argument("--replicas", type=int, default=1, help="copies of the model (1)")
    cli.run(parser, _serve, argv)


def _serve(args: argparse.Namespace) -> None:
    try:
        from vibe_ray.distributed.serving import serve_checkpoint
    except ImportError as error:
        raise ImportError(
            f"{error}; serving needs an extra: pip install 'vibe_ray[serve]'"
        ) from error
    serve_checkpoint(args.checkpoint, args.host, args.port, replicas=args.replicas)


if __name__ == "__main__":
    main()
