"""PostgreSQL arrays in binary form, joined by hand: psycopg's list dumpers cost more than the insert itself."""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from psycopg import adapt
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap
from psycopg.pq import Format

UUID, INT4, TIMESTAMPTZ, JSONB = 2950, 23, 1184, 3802
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's
MICROSECOND = timedelta(microseconds=1)

_header = struct.Struct(">iiIii").pack
_length = struct.Struct(">i").pack
_timestamp = struct.Struct(">iq").pack


def microseconds(times: Sequence[datetime]) -> list[int]:
    """Times as PostgreSQL counts them."""
    return [(time - EPOCH) // MICROSECOND for time in times]


class BinaryArray:
    """The bytes of an array."""

    __slots__ = ("data",)

    def __init__(self, element: int, count: int, body: bytes) -> None:
        self.data = _header(1 if count else 0, 0, element, count, 1)[: 20 if count else 12] + body


class UuidArray(BinaryArray):
    def __init__(self, values: Sequence[bytes]) -> None:
        body = b"".join([b"\0\0\0\x10" + value for value in values])
        super().__init__(UUID, len(values), body)


class IntArray(BinaryArray):
    def __init__(self, values: Sequence[int]) -> None:
        pairs = [4] * (2 * len(values))
        pairs[1::2] = values
        super().__init__(INT4, len(values), struct.pack(f">{len(pairs)}i", *pairs))


class TimestampArray(BinaryArray):
    def __init__(self, values: Sequence[int]) -> None:
        """From microseconds, as `microseconds` makes them."""
        body = b"".join([_timestamp(8, value) for value in values])
        super().__init__(TIMESTAMPTZ, len(values), body)


class JsonbArray(BinaryArray):
    def __init__(self, values: Sequence[bytes]) -> None:
        # Each element: its length, the version of the format (1), the JSON text.
        body = b"".join([_length(len(value) + 1) + b"\x01" + value for value in values])
        super().__init__(JSONB, len(values), body)


ARRAY_OIDS = {UuidArray: 2951, IntArray: 1007, TimestampArray: 1185, JsonbArray: 3807}


class _Dumper(adapt.Dumper):
    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> Buffer:
        return obj.data


def register(adapters: AdaptersMap) -> None:
    for kind, oid in ARRAY_OIDS.items():
        adapters.register_dumper(kind, type(f"{kind.__name__}Dumper", (_Dumper,), {"oid": oid}))
