"""How near an answer comes to the one in the data, and whether it repeats itself. Torch-free.

    figures = measure("多喝水。", "发烧要多喝水。")     one answer: figures by name
    corpus_bleu([overlap(…), …])                        all of them together

    bleu          sacreBLEU (Post, WMT 2018), smoothed by `exp`, tokens by `zh` for a reference in Chinese (or half so),
                  by `13a` for any other; 0 to 100. Of many answers it is that of the corpus, from the sums of their
                  n-grams, as sacreBLEU prints it, and no mean. One answer alone has effective order: orders that it is
                  too short for do not count
    char_bleu4    the same of single characters other than blanks, up to four in a row, with effective order, smoothed
                  by method 3 of Chen & Cherry (WMT 2014), which is `exp`, too; 0 to 100. Of many answers it is the
                  mean, as Chinese toolkits report it
    rouge1 rouge2 rougeL   F of n-grams and of the longest common subsequence (Lin 2004), by rouge-chinese, an n-gram
                  counting as often as it occurs (its default counts it once, which hides that an answer repeats
                  itself); 0 to 1. Words are jieba's for Chinese; for others runs of letters and digits in lower case
    exact         1 where both are the same but for case, width, blanks, and punctuation at either end
    chars         characters of the answer
    repetition    rep-4: the share of its 4-grams that stood in it before (Welleck et al., arXiv:1908.04319); of words,
                  or of characters in scripts without blanks

BLEU and ROUGE see words, not sense: they compare models on one set, and say little of one answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import regex

from core.data.figures import language_of
from core.rules import plain, repeated

ORDER = 4
NGRAM = 4  # of repetition
WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
EDGES = regex.compile(r"^[\p{P}\p{S}\s]+|[\p{P}\p{S}\s]+$")
HAN = regex.compile(r"\p{Han}")
LONGEST = 1000  # words of a text that ROUGE looks at: the longest common subsequence takes their product in memory


@dataclass(frozen=True)
class Overlap:
    """What BLEU is made of: matches and n-grams of each order, tokens of answer and reference. They can be added."""

    matches: tuple[int, ...]
    total: tuple[int, ...]
    answer: int
    reference: int

    @property
    def counts(self) -> list[int]:
        return [*self.matches, *self.total, self.answer, self.reference]


def measure(answer: str, reference: str | None) -> dict[str, float]:
    """Every figure of one answer; `chars` and `repetition` alone where there is no reference, or a blank one."""
    figures = {"chars": float(len(answer)), "repetition": repeated(answer, NGRAM)}
    if reference is None or not reference.strip():
        return figures
    chinese = in_chinese(reference)
    figures["bleu"] = float(_score(answer, reference, "zh" if chinese else "13a").score)
    figures["char_bleu4"] = float(_score(answer, reference, "char").score)
    figures |= rouge(answer, reference, chinese=chinese)
    figures["exact"] = float(same(answer, reference))
    return figures


def in_chinese(text: str) -> bool:
    """Whether words of this text have to be cut: it is in Chinese, at least in part."""
    return language_of(text) in ("zh", "mixed") or (language_of(text) == "code" and HAN.search(text) is not None)


def same(answer: str, reference: str) -> bool:
    """Whether both say the same but for case, width, blanks, and punctuation at either end."""
    return normal(answer) == normal(reference)


def normal(text: str) -> str:
    """A text of nothing but punctuation stays as it is."""
    said = plain(text)
    return EDGES.sub("", said) or said


# -- BLEU -------------------------------------------------------------------------------------------------------------
def overlap(answer: str, reference: str | None) -> Overlap | None:
    """What the BLEU of an answer is made of; None where there is no reference."""
    if reference is None or not reference.strip():
        return None
    score = _score(answer, reference, "zh" if in_chinese(reference) else "13a")
    return Overlap(tuple(map(int, score.counts)), tuple(map(int, score.totals)), score.sys_len, score.ref_len)


def _score(answer: str, reference: str, tokens: str) -> Any:
    return _bleu(tokens).sentence_score(answer, [reference])


@cache
def _bleu(tokens: str) -> Any:
    """A scorer of single answers. Imported here: most of what imports this module measures nothing."""
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize=tokens, smooth_method="exp", effective_order=True, max_ngram_order=ORDER)


def corpus_bleu(overlaps: Iterable[Overlap]) -> float:
    """BLEU of all answers together, as `sacrebleu` computes it of a corpus; 0 of none."""
    return bleu_of([sum(column) for column in zip(*(each.counts for each in overlaps), strict=True)])


def bleu_of(counts: Sequence[float]) -> float:
    """BLEU of added `Overlap.counts`, which are whole numbers."""
    from sacrebleu.metrics import BLEU

    if not counts:
        return 0.0
    whole = [round(each) for each in counts]
    matches, total, (answer, reference) = whole[:ORDER], whole[ORDER : 2 * ORDER], whole[2 * ORDER :]
    score = BLEU.compute_bleu(matches, total, answer, reference, smooth_method="exp", effective_order=False)
    return float(score.score)


# -- ROUGE ------------------------------------------------------------------------------------------------------------
def rouge(answer: str, reference: str, *, chinese: bool) -> dict[str, float]:
    """F of ROUGE-1, ROUGE-2 and ROUGE-L; 0 where one of the two has no word, or too few for an n-gram."""
    said, wanted = (words(text, chinese=chinese)[:LONGEST] for text in (answer, reference))
    if not said or not wanted:
        return dict.fromkeys(("rouge1", "rouge2", "rougeL"), 0.0)
    [found] = _rouge().get_scores([" ".join(said)], [" ".join(wanted)])
    return {f"rouge{name}": float(found[f"rouge-{name.lower()}"]["f"]) for name in "12L"}


@cache
def _rouge() -> Any:
    from rouge_chinese import Rouge

    return Rouge(exclusive=False)


def words(text: str, *, chinese: bool) -> list[str]:
    """The words of a text, without punctuation, in lower case."""
    text = text.casefold()
    cut = _jieba().lcut(text) if chinese else [text]
    return [word for piece in cut for word in WORD.findall(piece)]


@cache
def _jieba() -> Any:
    """jieba with its own dictionary, read anew (0.6 s): its cache lies where anybody may write, and it prints."""
    import jieba

    cutter = jieba.Tokenizer()
    cutter.FREQ, cutter.total = cutter.gen_pfdict(cutter.get_dict_file())
    cutter.initialized = True
    return cutter
