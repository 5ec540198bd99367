"""Which S3 store is asked, and is a bucket there?

The bucket is asked for by boto3, whose client says within seconds what is wrong. It takes a third
of a second to import: its imports stand in the function.
"""

import os
import re

ENDPOINT_NAMES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGION_NAMES = ("AWS_REGION", "AWS_DEFAULT_REGION")
_USER = re.compile(r"//[^/@\s]*@")
_QUERY = re.compile(r"\?[^\s\"']*")


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


def without_secrets(text: str) -> str:
    """Return a text without the users and query strings of addresses in it."""
    return _QUERY.sub("", _USER.sub("//", text))


def check_bucket(bucket: str) -> None:
    """Ask for the bucket by itself; what reads and writes would wait for minutes.

    Raises:
        FileNotFoundError: There is none of this name.
        PermissionError: The credentials are missing, or not good for it.
        ConnectionError: The store does not answer, or not as one does.
        ValueError: The endpoint is no address, the name is none that a bucket can have, or the
            bucket lies in another region.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        ParamValidationError,
    )

    config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
    try:
        client = boto3.Session().client("s3", config=config, region_name=region())
        answer = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        raise _refusal(bucket, error.response["ResponseMetadata"]["HTTPStatusCode"]) from None
    except NoCredentialsError as error:
        raise no_credentials(bucket) from error
    except ParamValidationError:
        raise ValueError(f"{bucket!r} is no name of a bucket: expected s3://BUCKET/...") from None
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


def no_bucket(bucket: str) -> FileNotFoundError:
    """Return the error of a bucket that is not there."""
    return FileNotFoundError(f"no bucket {bucket!r}: create it first")


def no_credentials(bucket: str) -> PermissionError:
    """Return the error of a process without credentials."""
    return PermissionError(
        f"no credentials for bucket {bucket!r}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )


def _refusal(bucket: str, status: int) -> OSError:
    if status == 404:
        return no_bucket(bucket)
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
    """Compare regions: Amazon sends a request for another one elsewhere."""
    lies_in = headers.get("x-amz-bucket-region", region())
    if not endpoint() and lies_in != region():
        raise ValueError(
            f"bucket {bucket!r} lies in region {lies_in}, requests are signed for {region()}: set "
            f"AWS_REGION={lies_in}"
        )
