"""Which store is asked, is a bucket there, and what is in it? By boto, which tells what is wrong.

A part of `object_store.py`, the private half of `storage.py`. boto takes half a second to import
and is not needed to read and write: its imports stand in the functions.
"""

import functools
import os
from typing import Any

from vibe_ray.storage.retrying import retry, without_secrets

ENDPOINT_NAMES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGION_NAMES = ("AWS_REGION", "AWS_DEFAULT_REGION")
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
"""A request on which no byte moves for so long has failed."""
ATTEMPTS = 2
"""A client's own, at once, of which nothing is said."""


def endpoint() -> str:
    """Return the address of the store, empty for Amazon's."""
    return _first(ENDPOINT_NAMES).rstrip("/")


def region() -> str:
    """Return the region that requests are signed for."""
    return _first(REGION_NAMES) or "us-east-1"


def key_id() -> str:
    """Return the id of the environment's key, by which clients are told apart; it is no secret."""
    return os.environ.get("AWS_ACCESS_KEY_ID", "")


def _first(names: tuple[str, ...]) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def store_name() -> str:
    """Return what is asked, for messages."""
    return f"the object store {without_secrets(endpoint())}".rstrip()


def check_bucket(bucket: str) -> None:
    """Ask for the bucket by itself, within seconds: pyarrow's own errors do not say what is wrong.

    Raises:
        FileNotFoundError: There is none of this name.
        PermissionError: The credentials are missing, or not good for it.
        ConnectionError: The store does not answer, or not as one does.
        ValueError: The endpoint is no address, or the bucket lies in another region.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
    try:
        client = boto3.Session().client("s3", config=config, region_name=region())
        answer = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        raise _refusal(bucket, error.response["ResponseMetadata"]["HTTPStatusCode"]) from None
    except NoCredentialsError as error:
        raise PermissionError(
            f"no credentials for bucket {bucket!r}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except BotoCoreError as error:
        raise ConnectionError(
            f"cannot reach bucket {bucket!r}: {without_secrets(str(error))}; check "
            "AWS_ENDPOINT_URL, the network, and whether the store is up"
        ) from None
    except ValueError:
        raise ValueError(
            f"AWS_ENDPOINT_URL is {without_secrets(endpoint())!r}, expected http://HOST:PORT or "
            "https://HOST"
        ) from None
    _check_region(bucket, answer["ResponseMetadata"]["HTTPHeaders"])


def _refusal(bucket: str, status: int) -> OSError:
    if status == 404:
        return FileNotFoundError(f"no bucket {bucket!r}: create it first")
    if status >= 500:
        return ConnectionError(
            f"bucket {bucket!r}: the store answers with status {status}: it is busy, starting, or "
            "no object store; try again, and check AWS_ENDPOINT_URL"
        )
    return PermissionError(
        f"bucket {bucket!r} refused with status {status}: check AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY and the bucket's policy"
    )


def _check_region(bucket: str, headers: dict[str, str]) -> None:
    """Compare regions: Amazon sends a request for another one elsewhere, where pyarrow stays."""
    lies_in = headers.get("x-amz-bucket-region", region())
    if not endpoint() and lies_in != region():
        raise ValueError(
            f"bucket {bucket!r} lies in region {lies_in}, requests are signed for {region()}: set "
            f"AWS_REGION={lies_in}"
        )


def list_objects(path: str) -> list[str]:
    """Return the names (bucket/key) of all objects at or below a path; none is fine.

    Of pyarrow's answer the folders, which it makes of keys, would have to be taken out again.

    Raises:
        FileNotFoundError: There is no such bucket.
        OSError: The store refused, or stayed away.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, below = path.strip("/").partition("/")
    client = _connect(endpoint(), region(), key_id())

    def request() -> list[str]:
        try:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=below)
            return [item["Key"] for page in pages for item in page.get("Contents", [])]
        except ClientError as error:  # both in pyarrow's words, which `retrying.py` knows
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 404:
                raise _refusal(bucket, status) from None
            kind, said = f"UNKNOWN (HTTP status {status})", error.response["Error"].get("Code")
        except BotoCoreError as error:
            kind, said = "NETWORK_CONNECTION", str(error)
        raise OSError(f"AWS Error {kind} during ListObjectsV2 operation: {said}")

    keys = retry(request, store_name())
    return [
        f"{bucket}/{key}"
        for key in keys
        if not key.endswith("/") and f"{key}/".startswith(f"{below}/" if below else "")
    ]


@functools.cache
def _connect(endpoint: str, region: str, key_id: str) -> Any:
    """Connect, once per process and surroundings; boto finds the secret by itself."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=SILENCE_SECONDS,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
    )
    return boto3.Session().client("s3", config=config, region_name=region)
