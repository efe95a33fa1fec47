"""Properties that every reader of data and of settings keeps, whatever it is given (hypothesis).

    python -m tests.attack.properties --count 2000

The count is of examples for each property. hypothesis shrinks what it finds to the smallest example.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from ruamel.yaml.error import YAMLError

from core.configs.article import from_arguments
from core.configs.files import dump_yaml, parse_yaml, read_config_file, resolve
from core.configs.stages import STAGES
from core.data.check.doctor import check_file, preview_rows
from core.data.dialogue import RowError
from core.data.files.reader import BY_NAME, Source, open_source
from core.data.shapes.formats import SHAPES, detect, rows_of
from core.errors import ConfigError, DataError, InputError
from tests.attack.tools import Tally, command

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)  # surrogates are no text
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
KEYS = st.sampled_from(
    ["text", "messages", "role", "content", "conversations", "from", "value", "instruction", "input", "output",
     "question", "answer", "A", "B", "options", "chosen", "rejected", "prompt", "response", "history", "system", "body",
     "answer_idx", "option", "score_A", "labels", "completions", "ranks", "tree", "message_id", "parent_id", "en", "zh"]
) | TEXT  # fmt: skip
VALUES = st.recursive(
    SCALARS | st.sampled_from(["user", "assistant", "human", "gpt", "Human: a\n\nAssistant: b", "A", "AB"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
ROWS = st.dictionaries(KEYS, VALUES, max_size=6)
SUFFIXES = st.sampled_from([*BY_NAME, ".gz", ".jsonl.gz", ".csv.gz", ".parquet.gz", ".xlsx", ""])
BYTES = st.binary(max_size=300) | st.lists(
    st.sampled_from([b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"\r", b"\0", b"\\", b"a", b"1", b"\xef\xbb\xbf",
                     b"\xff\xfe", b"\xd6\xd0", b"\xe4\xb8\xad", b'{"text": "a"}\n', b"text,label\n", b"PAR1", b"\t"]),
    max_size=40,
).map(b"".join)  # fmt: skip
WORDS = st.lists(
    st.sampled_from(["a", ":", " ", "\n", "- ", "{", "}", "[", "]", "&a ", "*a", "!!int ", "2001-99-99", "1e5", "0x1f",
                     '"', "'", "|", ">", "#", "%", "<<", "null", "no", "012", "2e-5", "---", "\t", "?", "～", "\x07"]),
    max_size=14,
).map("".join)  # fmt: skip


def in_file(data: bytes, suffix: str, look: Callable[[Path], Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{suffix}"
        path.write_bytes(data)
        return look(path)


def told(*words: str) -> None:
    """An error says something."""
    assert words
    assert all(words)


def values_of(path: Path) -> list[Any]:
    return [raw.value for raw in open_source(path).raws() if raw.problem is None]


# -- readers ----------------------------------------------------------------------------------------------------------
@hypothesis.given(BYTES, SUFFIXES)
def any_file_is_read_or_refused(data: bytes, suffix: str) -> None:
    """Rows by ascending lines, or DataError; and the doctor counts the same."""

    def look(path: Path) -> None:
        report = check_file(path)
        assert report.rows >= 0
        assert report.usable <= report.rows or report.kind is not None  # a row may hold several
        assert report.usable or report.counts
        try:
            source = open_source(path)
            lines = [raw.line for raw in source.raws()]
            assert lines == sorted(lines)
            assert all(line >= 1 for line in lines)
            preview_rows(path)
        except DataError:
            return
        if source.of_lines:
            stretches_are_the_whole(source)

    in_file(data, suffix, look)


def stretches_are_the_whole(source: Source) -> None:
    """Read by stretches of whole lines, as several processes do it, a file has the rows that it has."""
    parts = [row for start, stop in source.parts(5) for batch, _ in source.part(start, stop) for row in batch.values]
    assert parts == [value for batch in source.batches() for value in batch.values]


@hypothesis.given(st.lists(ROWS, min_size=1, max_size=6), st.booleans(), st.booleans(), st.integers(1, 40))
def json_comes_back(rows: list[dict[str, Any]], packed: bool, marked: bool, piece: int) -> None:
    """Objects written as JSONL, as an array and indented, packed or not, with a byte order mark or not."""
    mark = b"\xef\xbb\xbf" if marked else b""
    lines = mark + b"".join(orjson.dumps(row) + b"\n" for row in rows)
    forms = {".jsonl": lines, ".json": mark + json.dumps(rows, indent=piece % 3).encode()}
    for suffix, data in forms.items():
        found = in_file(gzip.compress(data) if packed else data, suffix + ".gz" * packed, values_of)
        assert found == rows


@hypothesis.given(st.lists(ROWS, min_size=1, max_size=4), st.sampled_from(["utf-16", "utf-16-le", "gb18030"]))
def other_encodings_come_back(rows: list[dict[str, Any]], encoding: str) -> None:
    """Rows that begin as Chinese ones do, in an encoding that is not UTF-8."""
    rows = [{"text": "患者发烧三天，应当如何处理？", **row} for row in rows]
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(encoding)
    assert in_file(data, ".jsonl", values_of) == rows


CELLS = TEXT.filter(lambda cell: "\0" not in cell and "\r" not in cell)
NAMES = st.lists(st.text("abcxyz文 ", min_size=1, max_size=6).map(str.strip).filter(bool), min_size=2, unique=True)


@hypothesis.given(NAMES, st.data(), st.sampled_from([",", "\t", ";"]))
def tables_come_back(names: list[str], data: st.DataObject, delimiter: str) -> None:
    cells = data.draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), min_size=1, max_size=4))
    cells = [row for row in cells if any(cell.strip() for cell in row)]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([names, *cells])
    if cells:
        found = in_file(out.getvalue().encode(), ".csv", values_of)
        assert found == [dict(zip(names, row, strict=True)) for row in cells]


@hypothesis.given(st.lists(TEXT, min_size=1, max_size=30), st.booleans(), st.booleans())
def parquet_comes_back(texts: list[str], nested: bool, dictionary: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"n": at, "cell": [{"role": text}] if nested else text} for at, text in enumerate(texts)
    ]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, row_group_size=7, use_dictionary=dictionary)
    assert in_file(out.getvalue(), ".parquet", values_of) == rows


@hypothesis.given(VALUES | ROWS, st.sampled_from([None, *SHAPES]))
def any_row_is_converted_or_refused(value: Any, shape: Any) -> None:
    detect([value])
    try:
        converted = rows_of(shape, value)
    except RowError as error:
        told(error.code)
    else:
        orjson.dumps(converted)


# -- settings ---------------------------------------------------------------------------------------------------------
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


@hypothesis.given(WORDS | st.text(max_size=60))
def yaml_is_read_or_refused(text: str) -> None:
    try:
        parse_yaml(text)
    except YAMLError:
        pass

    def look(path: Path) -> None:
        try:
            assert isinstance(read_config_file(path), dict)
        except InputError as error:
            told(str(error))

    in_file(text.encode("utf-8", "surrogatepass"), ".yaml", look)


@hypothesis.given(PLAIN)
def yaml_comes_back(value: Any) -> None:
    assert parse_yaml(dump_yaml(value)) == value


FIELDS = [f"{section}.{name}" for stage in STAGES.values() for section, each in stage.config.model_fields.items()
          for name in getattr(each.annotation, "model_fields", ())]  # fmt: skip
OVERRIDES = st.tuples(st.sampled_from(FIELDS) | TEXT, WORDS | TEXT | PLAIN.map(str)).map("=".join) | TEXT


@hypothesis.given(st.sampled_from(sorted(STAGES)), st.lists(OVERRIDES, max_size=4))
def settings_are_taken_or_refused(stage: str, words: list[str]) -> None:
    """`key=value`: a config whose YAML gives the same again and that JSON can hold, or every problem with its words."""
    try:
        config = resolve(stage, overrides=words)
    except ConfigError as error:
        told(*(problem.message for problem in error.problems))
        return
    except InputError as error:
        told(str(error))
        return
    data = config.model_dump(mode="json")
    orjson.dumps(data)
    assert STAGES[stage].config.model_validate(parse_yaml(dump_yaml(data))) == config


ARGUMENTS = st.dictionaries(
    st.sampled_from(["learning_rate", "num_train_epochs", "optim", "report_to", "fp16", "hub_token", "save_steps", 
                     "gpus", "save_strategy", "target_modules", "lora_r", "debug",
                     "validation_split_percentage", "run_name"])
    | TEXT,
    PLAIN,
    max_size=5,
)  # fmt: skip


@hypothesis.given(
    st.sampled_from(["pretrain", "sft", "reward", "ppo", "dpo", "predict"]),
    ARGUMENTS.map(json.dumps) | ARGUMENTS.map(repr) | ARGUMENTS.map(dump_yaml) | WORDS | st.text(max_size=60)
    | st.lists(st.sampled_from(["--lr", "--fp16", "-x", "1e5", "'", "\\\n", "--", "=", "a b"])).map(" ".join),
)  # fmt: skip
def arguments_are_taken_or_refused(stage: str, text: str) -> None:
    try:
        found = from_arguments(stage, text)
    except InputError as error:
        told(str(error))
        return
    orjson.dumps(found.as_dict(), default=str, option=orjson.OPT_NON_STR_KEYS)
    try:
        resolve(stage, values=found.values)
    except ConfigError as error:
        told(*(problem.message for problem in error.problems))


PROPERTIES: tuple[Callable[[], None], ...] = (
    any_file_is_read_or_refused, json_comes_back, other_encodings_come_back, tables_come_back, parquet_comes_back,
    any_row_is_converted_or_refused, yaml_is_read_or_refused, yaml_comes_back, settings_are_taken_or_refused,
    arguments_are_taken_or_refused,
)  # fmt: skip


def holds(prove: Callable[[], None], count: int, seed: int) -> None:
    """Try a property on so many examples. Raises what the smallest of those that break it raises."""
    quiet = hypothesis.settings(max_examples=count, deadline=None, database=None, print_blob=False,
                                suppress_health_check=list(hypothesis.HealthCheck))  # fmt: skip
    hypothesis.seed(seed)(quiet(prove))()


def attack(count: int, seed: int) -> Tally:
    tally = Tally()
    for prove in PROPERTIES:
        try:
            holds(prove, count, seed)
        except BaseException as error:
            notes = " ".join(getattr(error, "__notes__", ()))
            tally.find(f"{prove.__name__}: {error!r} {notes}")
        tally.done[f"examples of {prove.__name__}"] += count
    return tally


def main() -> int:
    return command(attack, count=2000, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
