"""A SentencePiece file as a tokenizer of the tokenizers library: the same ids and the same text back. Torch-free.

    backend = from_sentencepiece(folder / "tokenizer.model")
    disagreements(backend, folder / "tokenizer.model", lines)     [] where it is the same

Everything comes from the file itself: pieces and scores, BPE or unigram, the normaliser's table, what happens to blanks
at the ends, bytes for what the vocabulary lacks. Transformers' own reading of such a file leaves out the blank that
SentencePiece puts before a text, so that every first token is another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from core.errors import ModelError

SPM_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
BLANK = "▁"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # kinds of pieces
UNIGRAM, BPE = 1, 2  # kinds of models

# What a tokenizer may stumble over; a converted one has to agree with SentencePiece on all of it.
PROBES = (
    "The patient has had a fever of 39.5 °C since 3 p.m.; give 500 mg paracetamol.",
    "患者三天前出现发热、咳嗽，体温最高39.5℃，伴有乏力。",
    "糖尿病（Diabetes mellitus）的早期症状包括：多饮、多尿、体重下降。",
    "def dose(weight: float) -> float:\n    return round(weight * 15, 1)  # mg\n",
    "\tfor i in range(10):\n\t\tprint(f'{i:>3}')\n\n",
    "two  blanks   three    four", " one before", "   three before", "one after ", "three after   ", " ", "   ", "\n\n",
    "a\u3000b\u00a0c", "ＦＵＬＬ　ｗｉｄｔｈ ①②", "naïve café — “quoted” … ﬁ", "😀👩‍⚕️🩺", "ไทย עברית العربية",
    "1234567890 0.001 1,000,000 10^-6", "<html>&amp;</html> $x_{1}$ \\frac{a}{b}", "a" * 60, "血" * 40, "\u0000\u0007",
)  # fmt: skip


def find_file(folder: Path) -> Path | None:
    """The SentencePiece file of a model folder."""
    return next((folder / name for name in SPM_FILES if (folder / name).is_file()), None)


def read_proto(path: Path) -> Any:
    """The parsed file. Raises ModelError `tokenizer.unreadable`."""
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ModelError("tokenizer.unreadable", path=str(path), detail="it is no SentencePiece file") from error
    if not proto.pieces:
        raise ModelError("tokenizer.unreadable", path=str(path), detail="it holds no pieces")
    return proto


def from_sentencepiece(path: Path) -> Tokenizer:
    """The tokenizer in `path`. Raises ModelError `tokenizer.unreadable`, `tokenizer.unsupported`."""
    proto = read_proto(path)
    kind, spec = proto.trainer_spec.model_type, proto.normalizer_spec
    if kind not in (UNIGRAM, BPE):
        raise ModelError("tokenizer.unsupported", path=str(path), detail="it cuts words or characters")
    if proto.trainer_spec.treat_whitespace_as_suffix or not spec.escape_whitespaces:
        raise ModelError("tokenizer.unsupported", path=str(path), detail="it keeps blanks in an unusual way")
    tokenizer = Tokenizer(_bpe(proto) if kind == BPE else _unigram(proto))
    cut_out = any(piece.type == USER_DEFINED for piece in proto.pieces)
    tokenizer.normalizer = _normaliser(spec, cut_out)
    if spec.add_dummy_prefix and cut_out:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(BLANK, prepend_scheme="first", split=False)
    tokenizer.decoder = _decoder(proto)
    whole = [(piece.piece, piece.type == CONTROL) for piece in proto.pieces if piece.type in (CONTROL, USER_DEFINED)]
    whole += [(piece.piece, True) for piece in proto.pieces if piece.type == UNKNOWN]
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=special) for text, special in whole])
    return tokenizer


# -- parts ------------------------------------------------------------------------------------------------------------
def _bpe(proto: Any) -> models.BPE:
    """SentencePiece joins the neighbours whose piece has the highest score; the library, those that come first."""
    numbers = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    made = ((piece.piece, piece.score) for piece in proto.pieces if piece.type in (NORMAL, USER_DEFINED))
    merges: list[tuple[float, int, tuple[str, str]]] = []
    for text, score in made:
        for at in range(1, len(text)):
            pair = text[:at], text[at:]
            if pair[0] in numbers and pair[1] in numbers:
                merges.append((-score, numbers[text], pair))
    merges.sort(key=lambda entry: entry[:2])
    return models.BPE(
        vocab=numbers,
        merges=[pair for *_, pair in merges],
        unk_token=proto.trainer_spec.unk_piece,
        fuse_unk=True,
        byte_fallback=proto.trainer_spec.byte_fallback,
    )


def _unigram(proto: Any) -> models.Unigram:
    never = 10 * min(piece.score for piece in proto.pieces) - 1000  # control pieces and bytes are no text
    pieces = [(piece.piece, never if piece.type in (CONTROL, BYTE) else piece.score) for piece in proto.pieces]
    return models.Unigram(pieces, proto.trainer_spec.unk_id, proto.trainer_spec.byte_fallback)


def _normaliser(spec: Any, cut_out: bool) -> normalizers.Normalizer:
    """Of a text, or of a part between two tokens that were cut out whole.

    SentencePiece puts one blank before a text, and none before what follows a piece that its makers defined. Where
    there are such pieces (`cut_out`) the pre-tokenizer, which knows the first part, does it; but not for a part that
    begins with a blank, which is doubled here. After `</s>` and its like, every part begins anew.
    """
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip(left=True, right=True)]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Replace(Regex(r"\A "), "  ") if cut_out else normalizers.Prepend(BLANK))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", BLANK)])


def _decoder(proto: Any) -> decoders.Decoder:
    steps: list[decoders.Decoder] = [decoders.Replace(BLANK, " ")]
    if proto.trainer_spec.byte_fallback:
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if proto.normalizer_spec.add_dummy_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)


# -- is it the same? --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Disagreement:
    """A text on which the two differ; `expected` and `found` are ids, or the text that they give back."""

    text: str
    expected: Any
    found: Any


def _as_likely(judge: Any, ids: list[int], expected: list[int]) -> bool:
    """Whether two cuts of a text are equally likely: which of them a unigram model takes is nobody's rule."""
    one, other = (sum(judge.get_score(number) for number in each) for each in (ids, expected))
    return judge.decode(ids) == judge.decode(expected) and abs(one - other) < 1e-3


def disagreements(backend: Tokenizer, path: Path, lines: Iterable[str], most: int = 5) -> list[Disagreement]:
    """The first `most` lines on which `backend` is not what SentencePiece makes of the file in `path`."""
    from sentencepiece import SentencePieceProcessor

    judge = SentencePieceProcessor(model_file=str(path))
    unigram = read_proto(path).trainer_spec.model_type == UNIGRAM
    found: list[Disagreement] = []
    for line in lines:
        expected, ids = judge.encode(line), backend.encode(line, add_special_tokens=False).ids
        if ids != expected and not (unigram and _as_likely(judge, ids, expected)):
            found.append(Disagreement(line, expected, ids))
        elif judge.unk_id() in ids or ids != expected:
            continue  # SentencePiece writes a sign of its own for what it does not know
        elif (back := backend.decode(ids, skip_special_tokens=False)) != (text := judge.decode(ids)):
            found.append(Disagreement(line, text, back))
        if len(found) == most:
            break
    return found
