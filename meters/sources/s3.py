"""Files in S3 or what speaks its protocol, read in ranges of one version: an object that changes is noticed.

Credentials are those of boto3: a named profile, the environment, or the machine's role. None are stored by us. Region
and endpoint come from the same place (AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3 or the profile).
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from meters.sources.extras import load
from meters.sources.lines import UnreadableError
from meters.sources.places import S3, FoundFile, changed

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 8 * 1024 * 1024
TRIES = 4
REMEDIES = {
    "NoSuchBucket": ("missing_bucket", "there is no such bucket"),
    "NoSuchKey": ("not_found", "there is no such object; it may have been deleted meanwhile"),
    "InvalidBucketName": ("missing_bucket", "this is no name of a bucket"),
    "InvalidAccessKeyId": ("wrong_credentials", "the access key is not known there"),
    "SignatureDoesNotMatch": ("wrong_credentials", "the secret does not belong to the access key"),
    "AuthorizationHeaderMalformed": ("wrong_region", "the bucket lies in another region; set AWS_DEFAULT_REGION"),
    "PermanentRedirect": ("wrong_region", "the bucket lies in another region; set AWS_DEFAULT_REGION"),
    "ExpiredToken": ("wrong_credentials", "the credentials have expired"),
    "InvalidToken": ("wrong_credentials", "the session token is not valid"),
    "AccessDenied": ("access_denied", "the credentials may not read there; they need s3:ListBucket and s3:GetObject"),
    "403": ("access_denied", "the credentials may not read there; they need s3:ListBucket and s3:GetObject"),
}


class Bucket:
    """All objects whose key begins with the prefix."""

    def __init__(self, path: str, profile: str = "") -> None:
        self._path = path
        self._bucket, _, self._prefix = path.removeprefix(S3).partition("/")
        if not self._bucket:
            raise UnreadableError(f"{path}: name a bucket, as in s3://bucket/prefix.", code="missing_bucket")
        boto3 = load("boto3", extra="s3", purpose="Reading s3://")
        self._errors = load("botocore.exceptions", extra="s3", purpose="Reading s3://")
        with self._in_words(path):
            self._client = boto3.Session(profile_name=profile or None).client("s3")

    def find(self) -> list[FoundFile]:
        with self._in_words(self._path):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            found = [each for page in pages for each in page.get("Contents", ())]
        files = [
            FoundFile(f"{S3}{self._bucket}/{each['Key']}", each["Size"], each["ETag"], each["Key"] == self._prefix)
            for each in found
            if not self._is_hidden(each["Key"])
        ]
        if not files:
            raise UnreadableError(f"{self._path}: no object's key begins so.", code="empty")
        return [file for file in files if file.asked_for] or sorted(files, key=lambda file: file.path)

    @contextmanager
    def opened(self, file: FoundFile) -> Iterator[IO[bytes]]:
        with io.BufferedReader(_Object(self, file), BLOCK) as stream:
            yield cast("IO[bytes]", stream)

    def read(self, file: FoundFile, start: int, size: int) -> bytes:
        """One range of the version that was found."""
        last = start + size - 1
        key = file.path.removeprefix(f"{S3}{self._bucket}/")
        given = {"Bucket": self._bucket, "Key": key, "IfMatch": file.version, "Range": f"bytes={start}-{last}"}
        for left in reversed(range(TRIES)):
            try:
                with self._in_words(file.path):
                    answer = self._client.get_object(**given)
                    if answer["ETag"] != file.version:  # a store that knows no If-Match
                        raise changed()
                    return bytes(answer["Body"].read())
            except (self._errors.IncompleteReadError, self._errors.ReadTimeoutError, ConnectionError):
                if not left:
                    raise UnreadableError(f"{file.path}: the connection broke {TRIES} times.", code="broken") from None
        raise AssertionError

    def put(self, name: str, file: Path) -> None:
        """Write an object below the prefix; it is there whole or not at all."""
        key = "/".join(part for part in (self._prefix.rstrip("/"), name) if part)
        with self._in_words(self._path), file.open("rb") as stream:
            self._client.upload_fileobj(stream, self._bucket, key)

    def _is_hidden(self, key: str) -> bool:
        below = key.removeprefix(self._prefix)
        return key.endswith("/") or any(part[:1] in (".", "_") for part in below.split("/") if part)

    @contextmanager
    def _in_words(self, path: str) -> Iterator[None]:
        errors = self._errors
        try:
            yield
        except errors.ClientError as error:
            raise _refused(path, error.response) from None
        except (errors.NoCredentialsError, errors.PartialCredentialsError, errors.CredentialRetrievalError) as error:
            raise UnreadableError(
                f"{path}: there are no credentials ({str(error).rstrip('.')}). Set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, name a profile, or give the machine a role.",
                code="wrong_credentials",
            ) from None
        except errors.ProfileNotFound:
            raise UnreadableError(
                f"{path}: the AWS profile is not known on this machine; it belongs in ~/.aws/config or the file that "
                "AWS_CONFIG_FILE names.",
                code="wrong_credentials",
            ) from None
        except (errors.EndpointConnectionError, errors.ConnectTimeoutError, errors.ParamValidationError) as error:
            raise UnreadableError(f"{path}: {error}", code="unreachable") from None


class _Object(io.RawIOBase):
    """A seekable stream over ranges of one object."""

    def __init__(self, bucket: Bucket, file: FoundFile) -> None:
        self._bucket = bucket
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        size = min(len(view), self._file.size - self._at)
        if size <= 0:
            return 0
        read = self._bucket.read(self._file, self._at, size)
        view[: len(read)] = read
        self._at += len(read)
        return len(read)


def _refused(path: str, answer: dict[str, Any]) -> UnreadableError:
    code = str(answer.get("Error", {}).get("Code", ""))
    if code in {"PreconditionFailed", "412", "InvalidRange", "416"}:
        return changed()
    ours, reason = REMEDIES.get(code, ("refused", answer.get("Error", {}).get("Message", code)))
    return UnreadableError(f"{path}: {str(reason).rstrip('.')} ({code}).", code=ours)
