"""Uploads as somebody careless or hostile sends them: sound files of every kind, broken in one of many ways."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = ["发烧", "糖尿病", "fever", "insulin", "a,b", 'say "x"', "é", "😀", "line\nbreak", "<b>bold</b>", "", " "]
NAMES = ("rows", "数据", "a b", "<img src=x onerror=alert(1)>", "..rows", "rows.jsonl", "x" * 120, "-rf", "nul\u200b")
MEGABYTE = 1 << 20
LONG_CELLS = 2000


class Upload(NamedTuple):
    """A file as the browser sends it; `how` it was made."""

    name: str
    data: bytes
    how: str


def text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 8)))


def row(rng: random.Random) -> dict[str, Any]:
    """One row of one of the shapes."""
    said = text(rng), text(rng)
    return rng.choice(
        [
            {"text": said[0]},
            {"instruction": said[0], "input": "", "output": said[1]},
            {"conversations": [{"from": "human", "value": said[0]}, {"from": "gpt", "value": said[1]}]},
            {"messages": [{"role": "user", "content": said[0]}, {"role": "assistant", "content": said[1]}]},
            {"question": said[0], "chosen": said[1], "rejected": text(rng)},
            {"question": said[0], "A": "1", "B": "2", "C": "3", "D": "4", "answer": "B"},
            {"prompt": said[0], "completion": said[1]},
        ]
    )


def rows_of(rng: random.Random) -> list[dict[str, Any]]:
    """Rows of one shape, mostly."""
    first = row(rng)
    same = [other for other in (row(rng) for _ in range(60)) if other.keys() == first.keys()]
    return [first, *(same if rng.random() < 0.8 else [row(rng) for _ in range(8)])]


def sound(rng: random.Random) -> tuple[str, bytes]:
    """(suffix, bytes) of a file that can be read."""
    rows = rows_of(rng)
    kind = rng.choice(["jsonl", "json", "csv", "tsv", "txt", "parquet"])
    if kind == "jsonl":
        return ".jsonl", b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in rows)
    if kind == "json":
        return ".json", json.dumps(rows, ensure_ascii=False, indent=rng.choice([None, 1])).encode()
    if kind == "txt":
        return ".txt", "\n".join(text(rng) for _ in range(20)).encode()
    if kind == "parquet":
        out = io.BytesIO()
        same = [each for each in rows if each.keys() == rows[0].keys()]
        pq.write_table(pa.Table.from_pylist(same), out, compression=rng.choice(["zstd", "snappy", "none"]))
        return ".parquet", out.getvalue()
    lines = io.StringIO()
    names = list(rows[0])
    writer = csv.DictWriter(lines, names, delimiter="," if kind == "csv" else "\t", extrasaction="ignore")
    writer.writeheader()
    writer.writerows([{name: str(each.get(name, "")) for name in names} for each in rows])
    return f".{kind}", lines.getvalue().encode()


# -- ways to break one ------------------------------------------------------------------------------------------------
Mutation = Callable[[random.Random, bytes], bytes]


def _at(rng: random.Random, data: bytes) -> int:
    return rng.randrange(len(data) + 1)


def _insert(what: bytes) -> Mutation:
    def of(rng: random.Random, data: bytes) -> bytes:
        at = _at(rng, data)
        return data[:at] + what + data[at:]

    return of


def _bits(rng: random.Random, data: bytes) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 30])):
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    return bytes(broken)


def _swapped(rng: random.Random, data: bytes) -> bytes:
    first, second = sorted((_at(rng, data), _at(rng, data)))
    return data[second:] + data[first:second] + data[:first]


def _encoded(encoding: str) -> Mutation:
    return lambda rng, data: data.decode("utf-8", "replace").encode(encoding, "replace")


def _noise(rng: random.Random, data: bytes) -> bytes:
    at = _at(rng, data)
    return data[:at] + rng.randbytes(rng.choice([1, 16, 400])) + data[at + 16 :]


def _deep(rng: random.Random, data: bytes) -> bytes:
    depth = rng.choice([200, 900, 1100, 5000, 100_000])
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return _insert(opening * depth + b"1" + (closing * depth if rng.random() < 0.5 else b"") + b"\n")(rng, data)


def _long_line(rng: random.Random, data: bytes) -> bytes:
    return _insert(rng.choice([b"x", b" ", b",", b'"', b"\\", b"\xff"]) * rng.choice([70_000, 9 * MEGABYTE]))(rng, data)


def _cut_gzip(rng: random.Random, data: bytes) -> bytes:
    packed = gzip.compress(data)
    return packed[: _at(rng, packed)] if rng.random() < 0.5 else _bits(rng, packed)


def _bomb(rng: random.Random, data: bytes) -> bytes:
    """A few hundred kilobytes that become 100 megabytes."""
    piece = rng.choice([b"\0", b" ", b"[", b"x", b'{"text": "' + b"a" * 50 + b'"}\n', b"a,b\n"])
    return gzip.compress(data + piece * (100 * MEGABYTE // len(piece)), 1)


def _long_cells(rng: random.Random, data: bytes) -> bytes:
    """Parquet that holds a text of 600 KB once and means it in every row."""
    out = io.BytesIO()
    cells: Any = pa.DictionaryArray.from_arrays(pa.array([0] * LONG_CELLS, pa.int32()), pa.array(["长" * 200_000]))
    if rng.random() < 0.5:
        roles = pa.array(["user"] * LONG_CELLS)
        turns = pa.StructArray.from_arrays([roles, cells], ["role", "content"])
        cells = pa.ListArray.from_arrays(pa.array(range(LONG_CELLS + 1), pa.int32()), turns)
    name = rng.choice(["text", "messages"])
    pq.write_table(pa.table({name: cells}), out, compression="zstd", store_schema=False)
    return out.getvalue()


def _odd_table(rng: random.Random, data: bytes) -> bytes:
    """Parquet with types that no row of ours has."""
    out = io.BytesIO()
    columns: dict[str, Any] = {
        "text": pa.array([b"\xff\xfe", None, b"x"], pa.binary()),
        "when": pa.array([2**62, -(2**62), 0], pa.timestamp("us")),
        "nan": pa.array([float("nan"), float("inf"), None]),
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    }
    names = rng.sample(sorted(columns), rng.randint(1, 4))
    pq.write_table(pa.table({name: columns[name] for name in names}), out)
    return out.getvalue()


def _workbook(rng: random.Random, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as file:
        file.writestr("xl/worksheets/sheet1.xml", b"<sheetData>" + data[:5000] + b"</sheetData>")
        file.writestr("[Content_Types].xml", b"<Types/>")
    return out.getvalue()


NUMBERS = (b"1e400", b"9" * 400, b"-1E-999", b"NaN", b"Infinity", b"0x1", b"1_000", b"00012", b"18446744073709551616")
MUTATIONS: dict[str, Mutation] = {
    "as it is": lambda rng, data: data,
    "bits flipped": _bits,
    "cut off": lambda rng, data: data[: _at(rng, data)],
    "beginning lost": lambda rng, data: data[_at(rng, data) :],
    "pieces swapped": _swapped,
    "noise": _noise,
    "empty": lambda rng, data: b"",
    "only spaces": lambda rng, data: rng.choice([b" ", b"\n", b"\r", b"\t", b"\xef\xbb\xbf"]) * rng.choice([1, 70_000]),
    "GB18030": _encoded("gb18030"),
    "UTF-16": _encoded("utf-16"),
    "UTF-16LE": _encoded("utf-16-le"),
    "UTF-32": _encoded("utf-32"),
    "ISO-8859-1": _encoded("iso-8859-1"),
    "Shift-JIS": _encoded("shift-jis"),
    "UTF-7": _encoded("utf-7"),
    "deep": _deep,
    "number": lambda rng, data: data.replace(b'"', rng.choice(NUMBERS), 1),
    "numbers": lambda rng, data: data.replace(b'""', rng.choice(NUMBERS)),
    "NUL": _insert(b"\0"),
    "many NUL": _insert(b"\0" * 5000),
    "BOM in front": lambda rng, data: b"\xef\xbb\xbf" * rng.choice([1, 2]) + data,
    "BOM within": _insert(b"\xef\xbb\xbf"),
    "other BOM": lambda rng, data: rng.choice([b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0"]) + data,
    "surrogate": _insert(b'{"text": "\\ud800"}\n'),
    "bytes of a surrogate": _insert(b"\xed\xa0\x80"),
    "control": _insert(bytes(range(32))),
    "carriage returns": lambda rng, data: data.replace(b"\n", rng.choice([b"\r", b"\r\n", b"\n\r", b"\r\r\n"])),
    "other line breaks": lambda rng, data: data.replace(b"\n", "\u2028".encode()),
    "quote": _insert(b'"'),
    "brackets": _insert(b"[{]}"),
    "long line": _long_line,
    "gz": lambda rng, data: gzip.compress(data),
    "gz of gz": lambda rng, data: gzip.compress(gzip.compress(data)),
    "broken gz": _cut_gzip,
    "two gz": lambda rng, data: gzip.compress(data) + gzip.compress(data),
    "gz and rubbish": lambda rng, data: gzip.compress(data) + rng.randbytes(40),
    "gz bomb": _bomb,
    "Parquet's marks": lambda rng, data: b"PAR1" + data + b"PAR1",
    "Parquet's length": lambda rng, data: b"PAR1" + rng.randbytes(40) + b"\xff\xff\xff\x7f" + b"PAR1",
    "Parquet of long cells": _long_cells,
    "Parquet of odd types": _odd_table,
    "xlsx": _workbook,
    "repeated keys": _insert(b'{"text": "a", "text": ["b"], "text": null}\n'),
    "odd values": _insert(b'1\n"x"\nnull\n[]\n{}\n[[]]\n{"": ""}\n{"messages": 3}\n{"conversations": [null]}\n'),
}
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".gz", ".jsonl.gz", ".xlsx", ".bin", "")
HEAVY = ("gz bomb", "Parquet of long cells", "long line")  # one of these in twenty, or an attack takes hours


def upload(rng: random.Random) -> Upload:
    """The next file; one in five has been broken twice."""
    suffix, data = sound(rng)
    names = [name for name in MUTATIONS if name not in HEAVY or rng.random() < 0.25]
    chosen = [rng.choice(names) for _ in range(1 + (rng.random() < 0.2))]
    for name in chosen:
        data = MUTATIONS[name](rng, data) if data or name not in ("bits flipped",) else data
    if rng.random() < 0.3:
        suffix = rng.choice(SUFFIXES)
    elif data.startswith(b"\x1f\x8b") and rng.random() < 0.5:
        suffix += ".gz"
    return Upload(rng.choice(NAMES) + suffix, data, " + ".join(chosen) + f" as {suffix or 'no suffix'}")
