"""What two small runs of the Pretrain tab found, as HTML: how well a model predicts a corpus already, and what new
tokens do for it. Read from their records alone. No gradio.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.records import Measured, NewToken, VocabularyReport, WorthIt
from core.rundir import RunDir, read_record
from webui.figures import count, esc, figure, size
from webui.messages import code_text
from webui.text import t

EXAMPLES = 3  # documents of each kind that are shown
TOKENS = 60  # new tokens that are shown
TONES = {"worth.known": "bad", "worth.noise": "bad", "worth.new": "good"}  # of the verdicts; calm for the others


# -- is it worth it? --------------------------------------------------------------------------------------------------
def worth(run: RunDir, lang: str) -> str:
    """The verdict of a perplexity run over documents in words, the figures behind it, and examples."""
    found = read_record(run.verdict_file, WorthIt)
    if found is None:
        return ""
    said, remedy = code_text(found.code, found.params, lang)
    facts = t(
        "worth.facts", lang, rows=count(found.rows), tokens=count(found.tokens), size=size(found.bytes),
        perplexity=figure(found.perplexity), bits=figure(found.bits_per_byte),
    )  # fmt: skip
    examples = _examples(found.best, "worth.best", lang) + _examples(found.worst, "worth.worst", lang)
    return (
        f'<div class="notice {TONES.get(found.code, "calm")} verdict" role="status"><b>{esc(said)}</b> {esc(remedy)}'
        f'<p class="quiet">{esc(facts)}</p>{_buckets(found, lang)}'
        f"<details><summary>{esc(t('worth.examples', lang))}</summary>{examples}</details></div>"
    )


def _buckets(found: WorthIt, lang: str) -> str:
    """A bar for the share of the documents that need so many bits a byte."""
    total = sum(bucket.rows for bucket in found.buckets)
    if not total:
        return ""
    parts = []
    for at, bucket in enumerate(found.buckets):
        if bucket.rows:
            bits = figure(bucket.low) + (" +" if bucket.high is None else f" – {figure(bucket.high)}")
            hint = t("worth.bucket", lang, bits=bits, rows=count(bucket.rows))
            shade = 25 + round(65 * at / max(1, len(found.buckets) - 1))
            parts.append(
                f'<i style="flex:{bucket.rows};--shade:{shade}%" title="{esc(hint)}">'
                f"<span>{esc(bits)}</span><b>{100 * bucket.rows / total:.0f} %</b></i>"
            )
    return f'<div class="bits" aria-label="{esc(t("worth.buckets", lang))}">{"".join(parts)}</div>'


def _examples(found: Sequence[Measured], key: str, lang: str) -> str:
    items = "".join(
        f"<li><b>{figure(each.bits_per_byte)}</b> <span>{esc(t('worth.line', lang, line=count(each.line)))}</span> "
        f"{esc(each.excerpt)}</li>"
        for each in found[:EXAMPLES]
    )
    return f'<p class="quiet">{esc(t(key, lang))}</p><ul class="measured">{items}</ul>' if items else ""


# -- vocabulary -------------------------------------------------------------------------------------------------------
def vocabulary(run: RunDir, lang: str) -> str:
    """What a vocabulary run has added, characters per token before and after, and what was left out."""
    found = read_record(run.vocabulary_file, VocabularyReport)
    if found is None:
        return ""
    said = t("vocabulary.rate", lang, before=f"{found.rate_before:.2f}", after=f"{found.rate:.2f}")
    facts = t(
        "vocabulary.facts", lang, units=count(found.units), parts=count(found.parts), before=count(found.tokens_before),
        after=count(found.tokens),
    )  # fmt: skip
    left = [
        t(f"vocabulary.left_{name}", lang, n=count(number))
        for name in ("known", "double", "blank", "failed", "room")
        if (number := getattr(found, name))
    ]
    out = f'<p class="quiet">{esc(t("vocabulary.left", lang, what=", ".join(left)))}</p>' if left else ""
    return (
        f'<div class="notice good" role="status"><b>{esc(said)}</b> {esc(facts)}{out}'
        f"<details><summary>{esc(t('vocabulary.shown', lang))}</summary>{_tokens(found.shown)}</details></div>"
    )


def _tokens(shown: Sequence[NewToken]) -> str:
    chips = "".join(
        f'<span class="chip" title="{count(each.count)} × {each.tokens}">{esc(each.text)}</span>'
        for each in shown[:TOKENS]
    )
    return f'<div class="chips">{chips}{" …" if len(shown) > TOKENS else ""}</div>'
