"""Files in S3, on moto's server: read, gone on with, and every refusal in words."""

import gzip
import http.client
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from meters.archive import drop, export, restore
from meters.models import Event, EventSource, ImportedFile, ImportRun, RejectedEvent
from meters.partitions import month_of
from meters.sources import s3
from meters.sources.lines import UnreadableError
from meters.sources.places import FoundFile
from meters.sources.preview import first_rows_of
from meters.sources.runs import run_source
from tests.meters.files import HEADER, counts, import_file, quiet, rows_of
from tests.meters.making import rolled

pytestmark = pytest.mark.usefixtures("committed")
BUCKET = "usage-logs"
PLACE = f"s3://{BUCKET}/daily/"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def client(address: str) -> Any:
    given = {"region_name": "us-east-1", "aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    made = boto3.client("s3", endpoint_url=address, **given)
    made.create_bucket(Bucket=BUCKET)
    return made


@pytest.fixture
def bucket(address: str, client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for old in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=old["Key"])
    return client


def put(client: Any, key: str, content: bytes) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=content)


def csv(number: int, start: int = 0) -> bytes:
    return (HEADER + rows_of(number, start)).encode()


def parquet(number: int) -> bytes:
    target = io.BytesIO()
    columns = {"id": [f"p{n}" for n in range(number)], "time": ["2026-01-05T10:00:00Z"] * number}
    pq.write_table(
        pa.table({**columns, "customer": ["c"] * number, "tokens": range(number)}), target, row_group_size=100
    )
    return target.getvalue()


def failed(place: str, **more: Any) -> str:
    run = import_file(place, **more)
    assert run.state == ImportRun.State.FAILED
    return run.message


def test_a_prefix_is_read_in_every_format_and_then_known(bucket: Any) -> None:
    put(bucket, "daily/1.csv", csv(30))
    put(bucket, "daily/2.csv.gz", gzip.compress(csv(30, 20)))
    put(bucket, "daily/deep/3.parquet", parquet(500))
    put(bucket, "daily/_SUCCESS", b"")
    put(bucket, "other/4.csv", csv(99))
    run = import_file(PLACE)
    assert (run.state, run.files, counts(run)) == ("done", 3, (550, 10, 0, 0))
    assert Event.objects.count() == 550
    put(bucket, "daily/1.csv", csv(31))
    again = import_file(PLACE)
    assert (again.files, again.skipped, counts(again)) == (1, 2, (0, 31, 0, 0))


def test_one_object_named_whole_is_that_object(bucket: Any) -> None:
    put(bucket, "daily/1.csv", csv(3))
    put(bucket, "daily/1.csv.gz", gzip.compress(csv(9)))
    assert counts(import_file(f"{PLACE}1.csv")) == (3, 0, 0, 0)


def test_objects_are_read_in_ranges_and_gone_on_with(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "BLOCK", 1000)
    put(bucket, "daily/1.csv", csv(200))
    import_file(PLACE, batch=50)
    half = csv(100)
    ImportedFile.objects.update(finished_at=None, position=len(half), line=101)
    asked: list[str] = []
    read = s3.Bucket.read

    def noted(self: s3.Bucket, file: FoundFile, start: int, size: int) -> bytes:
        asked.append(f"{start}")
        return read(self, file, start, size)

    monkeypatch.setattr(s3.Bucket, "read", noted)
    assert counts(import_file(PLACE, batch=50)) == (0, 100, 0, 0)
    assert asked[:2] == ["0", str(len(half))]


def test_an_object_that_changes_while_it_is_read(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "BLOCK", 1000)
    put(bucket, "daily/1.csv", csv(500))
    read = s3.Bucket.read

    def changing(self: s3.Bucket, file: FoundFile, start: int, size: int) -> bytes:
        if start > 3000:
            put(bucket, "daily/1.csv", csv(600))
        return read(self, file, start, size)

    monkeypatch.setattr(s3.Bucket, "read", changing)
    message = failed(PLACE, batch=10)
    assert "changed while it was read: repeat when it is complete" in message
    assert "rows before that are kept" in message
    monkeypatch.undo()


def without_if_match(params: Any, **_: Any) -> None:
    del params["headers"]["If-Match"]


def test_a_store_without_if_match_is_found_out_by_its_etag(bucket: Any) -> None:
    put(bucket, "daily/1.csv", csv(3))
    place = s3.Bucket(PLACE)
    (file,) = place.find()
    put(bucket, "daily/1.csv", csv(4))
    place._client.meta.events.register("before-call.s3.GetObject", without_if_match)
    with pytest.raises(UnreadableError, match="changed while it was read"):
        place.read(file, 0, 10)


def test_a_broken_connection_is_tried_again(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bucket, "daily/1.csv", csv(3))
    place = s3.Bucket(PLACE)
    (file,) = place.find()
    whole = place._client.get_object
    failures = [ConnectionResetError()] * (s3.TRIES - 1)

    def shaky(**given: Any) -> Any:
        if failures:
            raise failures.pop()
        return whole(**given)

    monkeypatch.setattr(place._client, "get_object", shaky)
    assert place.read(file, 0, 2) == b"id"
    failures += [ConnectionResetError()] * s3.TRIES
    with pytest.raises(UnreadableError, match="the connection broke 4 times"):
        place.read(file, 0, 2)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://no-such-bucket/x", "there is no such bucket (NoSuchBucket)"),
        ("s3://Not_A_Bucket!/x", "Invalid bucket name"),
        ("s3://", "name a bucket, as in s3://bucket/prefix"),
        (f"s3://{BUCKET}/nothing/", "no object's key begins so"),
    ],
)
def test_places_that_are_not_there(bucket: Any, place: str, said: str) -> None:
    assert said in failed(place)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("InvalidAccessKeyId", "the access key is not known there"),
        ("SignatureDoesNotMatch", "the secret does not belong to the access key"),
        ("AccessDenied", "they need s3:ListBucket and s3:GetObject"),
        ("ExpiredToken", "the credentials have expired"),
        ("PermanentRedirect", "the bucket lies in another region"),
        ("SlowDown", "Please reduce your request rate (SlowDown)"),
    ],
)
def test_refusals_are_put_in_words(bucket: Any, monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    put(bucket, "daily/1.csv", csv(3))
    answer: Any = {"Error": {"Code": code, "Message": "Please reduce your request rate."}}

    def refuse(*args: Any, **given: Any) -> Any:
        raise ClientError(answer, "GetObject")

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", refuse)
    assert said in failed(PLACE)


def test_a_key_that_the_store_does_not_know(bucket: Any, address: str) -> None:
    """The store itself checks: nothing stands in for its refusal."""
    put(bucket, "daily/1.csv", csv(3))
    authorized_after(address, 0)
    try:
        assert "the access key is not known there" in failed(PLACE)
    finally:
        authorized_after(address, 10**9)
    assert not Event.objects.exists()


def authorized_after(address: str, requests: int) -> None:
    """From so many requests on the store asks who sends them."""
    server = http.client.HTTPConnection(address.removeprefix("http://"))
    server.request("POST", "/moto-api/reset-auth", str(requests))
    assert server.getresponse().status == 200
    server.close()


def test_without_credentials(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "there are no credentials" in failed(PLACE)


def test_credentials_by_profile(bucket: Any, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(
        f"[profile logs]\nregion = us-east-1\nendpoint_url = {address}\n"
        "aws_access_key_id = a\naws_secret_access_key = b\n"
    )
    with pytest.raises(UnreadableError, match="no object's key begins so"):
        s3.Bucket(PLACE, "logs").find()
    with pytest.raises(UnreadableError, match="the AWS profile is not known on this machine"):
        s3.Bucket(PLACE, "other")


def test_nobody_answers(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert "Could not connect to the endpoint" in failed(PLACE)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    assert failed(PLACE) == "Reading s3:// needs boto3: install countinghouse[s3]."


def test_a_source_in_a_bucket_shows_its_first_rows_and_is_read(bucket: Any) -> None:
    put(bucket, "daily/1.csv", csv(30))
    put(bucket, "daily/2.csv.gz", gzip.compress(csv(30, 30) + b"broken\n"))
    source = EventSource(key="logs", name="Logs", place=PLACE, event_type="llm", every_minutes=5)
    source.full_clean()
    source.save()
    preview = first_rows_of(source)
    assert (preview.path, preview.files, len(preview.events)) == (f"{PLACE}1.csv", 2, 20)
    assert not Event.objects.exists()
    run = run_source(source, quiet)
    assert run
    assert (run.source, run.state, counts(run)) == (source, "done", (60, 0, 0, 1))
    assert RejectedEvent.objects.get().message.endswith(f"({PLACE}2.csv.gz, line 32)")


def test_a_month_of_events_leaves_for_a_bucket_and_comes_back(bucket: Any) -> None:
    put(bucket, "daily/1.csv", csv(30))
    import_file(PLACE)
    rolled()
    month = month_of(Event.objects.values_list("time", flat=True)[0])
    archive = export(month, f"s3://{BUCKET}/archive/")
    drop(archive)
    assert Event.objects.count() == 0
    restore(archive)
    assert Event.objects.count() == 30
    with pytest.raises(UnreadableError, match="no such bucket"):
        export(month, "s3://elsewhere/archive")
    archive.delete()
