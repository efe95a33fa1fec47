"""What the Merge tab shows of a run: what was proved of the merged model, read from its output. No gradio."""

from __future__ import annotations

from core.records_merge import Verification, verification_file
from core.rundir import read_record
from webui.figures import count, esc, figure
from webui.text import t
from webui.views import Snapshot

PROBE_COLUMNS = ("merge.col_probe", "merge.col_before", "merge.col_after", "merge.col_difference")
NOT_COMPARED = {"config": "merge.unasked_config", "memory": "merge.unasked_memory"}


def verification(shot: Snapshot, lang: str) -> str:
    """What was compared, its numbers or its answers or both, whether they agree, and the probes that were asked."""
    found = read_record(verification_file(shot.run.output), Verification)
    if found is None:
        return f'<div class="chart-empty">{esc(t("merge.not_yet", lang))}</div>'
    tone = "good" if found.passed else "bad"
    head, *rest = _sentences(found, lang)
    lines = "".join(f"<p>{esc(line)}</p>" for line in rest)
    cells = "".join(
        f'<div class="figure" title="{esc(t(meaning, lang))}"><span>{esc(t(name, lang))}</span>'
        f"<b>{esc(value)}</b></div>"
        for name, value, meaning in _figures(found, lang)
    )
    return (
        f'<div class="notice {tone}" role="status"><b>{esc(head)}</b>{lines}</div>'
        f'<div class="figures">{cells}</div>{_probes(found, lang)}'
    )


def _sentences(found: Verification, lang: str) -> list[str]:
    """What was found, first what decides."""
    numbers, said = found.weights, []
    if found.computed_in is not None:
        agrees = found.passed if found.agrees is None else found.agrees  # older records have one word for both
        key = "merge.agrees" if agrees else "merge.disagrees"
        said.append(t(key, lang, positions=count(found.positions), dtype=found.dtype, apart=_apart(found, lang)))
    if numbers is None:
        said.append(t("merge.was_in_memory", lang))
    else:
        key = "merge.numbers_agree" if numbers.passed else "merge.numbers_differ"
        sizes = {"tensors": numbers.tensors, "changed": numbers.changed, "others": numbers.tensors - numbers.changed}
        told = t(key, lang, dtype=found.dtype, **{name: count(size) for name, size in sizes.items()})
        said.insert(len(said) if numbers.passed else 0, told)
    if found.computed_in is None:
        said.append(t(NOT_COMPARED[found.unasked], lang))
    return said


def _apart(found: Verification, lang: str) -> str:
    """How far the answers are apart, and how far they may be: by what decided of it (`core.training.verifying`)."""
    figures = {"difference": figure(found.difference), "allowed": figure(found.allowed)}
    if found.kl is None or found.computed_in == found.dtype == "float32":
        return t("merge.apart_outputs", lang, **figures)
    return t("merge.apart_kl", lang, kl=figure(found.kl), same=_share(found.same), **figures)


def _share(same: float | None) -> str:
    return "–" if same is None else f"{100 * same:.1f} %"


def _figures(found: Verification, lang: str) -> list[tuple[str, str, str]]:
    """(text key of the name, value as it is shown, text key of what it means)."""
    facts = []
    if found.weights is not None:
        read = t("merge.tensors_of", lang, changed=count(found.weights.changed), tensors=count(found.weights.tensors))
        facts.append(("merge.tensors", read, "merge.tensors_help"))
        if found.weights.places is not None:
            places = t("merge.places_of", lang, places=f"{found.weights.places:.2f}")
            facts.append(("merge.places", places, "merge.places_help"))
    if found.merging is not None:
        facts.append(("merge.by_merging", figure(found.merging), "merge.by_merging_help"))
    if found.difference is not None:
        facts.append(("merge.as_written", figure(found.difference), "merge.as_written_help"))
    if found.kl is not None:
        facts.append(("merge.kl", figure(found.kl), "merge.kl_help"))
    if found.same is not None:
        facts.append(("merge.same", _share(found.same), "merge.same_help"))
    return facts


def _probes(found: Verification, lang: str) -> str:
    if not found.probes:
        return ""
    heads = "".join(f"<th>{esc(t(name, lang))}</th>" for name in PROBE_COLUMNS)
    rows = "".join(
        f"<tr><td>{esc(probe.prompt)}</td><td><code>{esc(shown(probe.before))}</code></td>"
        f'<td><code>{esc(shown(probe.after))}</code></td><td class="number">{figure(probe.difference)}</td></tr>'
        for probe in found.probes
    )
    return f'<table class="table probes"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def shown(token: str) -> str:
    """A token so that blanks can be seen."""
    return token.replace(" ", "␣").replace("\n", "⏎")
