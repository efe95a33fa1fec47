"""The tokenizer of ChatGLM-6B: from `ice_text.model`, a SentencePiece file, to tokenizer.json. Torch-free.

    convert(folder / "ice_text.model", target)        tokenizer.json, tokenizer_config.json, chat_template.jinja

The rules are those of tokenization_chatglm.py in THUDM/chatglm-6b, for its file of 130 344 pieces (unigram, with bytes
for what it lacks). Before SentencePiece sees a text, a newline becomes `<n>`, a tab `<|tab|>`, and 2 to 80 blanks
`<|blank_2|>` … `<|blank_80|>`, longest first; these are pieces that win over all others. Every text begins with `▁`,
and so does what follows a special token, as question and answer are encoded apart there. Special tokens are never put
in by themselves: the authors' `[gMASK]<sop>` behind a prompt is the chat template's work here.

Left out: the first files, from before April 2023, whose special tokens and blanks stood in the code and whose ids began
at 20 000; they are refused. Two things differ, both by the tokenizers library: it drops a combining accent behind a
character that Unicode takes apart (ﬁ), and a typed `<0x0A>` is that byte where the pieces lack its characters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from sentencepiece import sentencepiece_model_pb2 as proto
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers

from core.data.encode.named import template_text
from core.data.encode.tokenizer import load_tokenizer
from core.errors import ModelError
from core.models.spm import BYTE, CONTROL, UNIGRAM, UNKNOWN, USER_DEFINED
from core.rundir import write_text

NEWLINE, TAB, BLANK = "<n>", "<|tab|>", "<|blank_{}|>"
BLANKS = range(80, 1, -1)
SPECIAL = ("[MASK]", "[gMASK]", "[sMASK]", "<unused_0>", "<sop>", "<eop>", "<ENC>", "<dBLOCK>")
SETTINGS = {
    "tokenizer_class": "TokenizersBackend",
    "bos_token": "<sop>",
    "eos_token": "<eop>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "[MASK]",
    "padding_side": "left",
    "clean_up_tokenization_spaces": False,
    "model_max_length": 2048,
}


def convert(source: Path, folder: Path) -> None:
    """Write the tokenizer in the file `source` to `folder`. Raises ModelError `model.ice_text`."""
    folder.mkdir(parents=True, exist_ok=True)
    fast_tokenizer(read(source)).save(str(folder / "tokenizer.json"))
    write_text(folder / "tokenizer_config.json", orjson.dumps(SETTINGS, option=orjson.OPT_INDENT_2).decode())
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = template_text("chatglm-6b", tokenizer)
    tokenizer.save_pretrained(folder)


def read(source: Path) -> Any:
    """The SentencePiece model in a file, a `ModelProto`. Raises ModelError `model.ice_text` for another one."""
    model = proto.ModelProto()
    try:
        model.ParseFromString(source.read_bytes())
    except Exception as error:  # protobuf raises errors of its own, by version
        raise ModelError("model.ice_text", path=str(source), detail="it is damaged") from error
    missing = {*SPECIAL, "<pad>", NEWLINE, TAB, *map(BLANK.format, BLANKS)} - {one.piece for one in model.pieces}
    if model.trainer_spec.model_type != UNIGRAM:
        raise ModelError("model.ice_text", path=str(source), detail="its model is no unigram model")
    if missing:
        raise ModelError("model.ice_text", path=str(source), detail=f"it lacks {min(missing)}")
    return model


def fast_tokenizer(model: Any) -> Tokenizer:
    """The same as a tokenizer of the tokenizers library; ids are places among the pieces."""
    unknown = next(place for place, one in enumerate(model.pieces) if one.type == UNKNOWN)
    bytes_too = any(one.type == BYTE for one in model.pieces)
    tokenizer = Tokenizer(models.Unigram(_scored(model), unk_id=unknown, byte_fallback=bytes_too))
    tokenizer.normalizer = _normalizer(model.normalizer_spec)
    tokenizer.decoder = _decoder()
    special = [one.piece for one in model.pieces if one.type in (UNKNOWN, CONTROL) or one.piece in SPECIAL]
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in special])
    return tokenizer


def _scored(model: Any) -> list[tuple[str, float]]:
    """Every piece with its score. Those that the user defined win wherever they stand, as in SentencePiece
    (unigram_model.cc: −0.1, and no other piece is so likely); control pieces and bytes are no text and never do."""
    never = 10 * min(one.score for one in model.pieces) - 1000
    scores = {CONTROL: never, BYTE: never, USER_DEFINED: -0.1}
    return [(one.piece, scores.get(one.type, one.score)) for one in model.pieces]


def _normalizer(spec: Any) -> Any:
    """The replacements of the authors first, then what SentencePiece does to a text."""
    steps = [normalizers.Replace("\n", NEWLINE), normalizers.Replace("\t", TAB)]
    steps += [normalizers.Replace(" " * count, BLANK.format(count)) for count in BLANKS]
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:  # single ones at the edges, and what the step before turned into blanks
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend("▁"))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])


def _decoder() -> Any:
    first = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    blanks = [decoders.Replace(BLANK.format(count), " " * count) for count in BLANKS]
    return decoders.Sequence([*first, decoders.Replace(NEWLINE, "\n"), decoders.Replace(TAB, "\t"), *blanks])
