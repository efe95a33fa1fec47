"""What Galen says about merges: (sentence, remedy) by code. The Chinese wording is `webui/text_zh_merge.py`."""

from __future__ import annotations

MERGE: dict[str, tuple[str, str]] = {
    "merge.disagrees": (
        "The merged model does not say what {run} says: its outputs are {difference} apart, more than rounding.",
        "Nothing was delivered. Try model.dtype=fp32; if that is no better, please report it.",
    ),
    "merge.wrong_numbers": (
        "The files of the merged model do not hold the sums of {run} and its base: a number is off by {places} of its "
        "last places.",
        "Nothing was delivered. Check the disk and try again; if that is no better, please report it.",
    ),
    "merge.torn_files": (
        "The files of the merged model do not hold what was written for {run}.",
        "Nothing was delivered. Check the disk and try again.",
    ),
    "merge.overflow": (
        "A weight of {run}, merged, is no number in {dtype}.",
        "Nothing was delivered. What is too large for model.dtype=fp16 fits into bf16 or fp32; with these it is the "
        "training that diverged: choose an earlier checkpoint.",
    ),
    # Why a merge is not made file by file; the log says it.
    "merge.joined": (
        "The merge is made on the whole model in memory: {tensor} is no tensor of the base's files by itself.",
        "",
    ),
    "merge.quantised_files": (
        "The merge is made on the whole model in memory: the base's files are quantised.",
        "",
    ),
}
