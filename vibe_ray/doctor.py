"""`python -m vibe_ray.doctor`: what is installed, does it work, and what is to be done?"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from vibe_ray.diagnosis import Finding, examine, examine_all


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, run all checks and print what they found.

    Exit code 1 if something is broken, 0 if at most something is missing that one can do without.
    """
    # What the commands share (`cli.py`) needs a sound installation, which is in question here.
    parser = argparse.ArgumentParser(
        prog="python -m vibe_ray.doctor",
        description="Check packages, devices, weights, the body, videos, storage and Ray.",
        epilog="example:\n  python -m vibe_ray.doctor --storage s3://bucket/vibe",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--body", metavar="P", default="open", help="a licensed body (open)")
    parser.add_argument("--storage", metavar="P", default="", help="folder that has to be writable")
    parser.add_argument("--no-ray", action="store_true", help="start no Ray, which takes seconds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    findings = list(_findings(args.body, args.storage, with_ray=not args.no_ray))
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print_table(findings)
    sys.exit(any(finding.state == "broken" for finding in findings))


def _findings(body: str, store: str, *, with_ray: bool) -> Iterator[Finding]:
    yield from examine_all(body, store)
    if with_ray:
        yield examine("Ray", _check_ray)
    else:
        yield Finding("Ray", "skipped", "not asked for")


def _check_ray() -> Finding:
    from vibe_ray import cli

    cli.set_ray_defaults()
    from vibe_ray.distributed.diagnosis import check_ray

    return check_ray()


def _print_table(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colors = {"ok": "green", "missing": "yellow", "broken": "red", "skipped": "dim"}
    table = Table("", "", "found", "what to do")
    for finding in findings:
        state = Text(finding.state, colors[finding.state])
        table.add_row(finding.subject, state, Text(finding.found), Text(finding.advice))
    Console().print(table)
    broken = [finding.subject for finding in findings if finding.state == "broken"]
    print(f"broken: {', '.join(broken)}" if broken else "nothing is broken")


if __name__ == "__main__":
    main()
