"""The model card of a finished run: the README.md of whoever gets its adapter or its model. Torch-free.

    model_card(workspace, workspace.run("sft-2026…-ab12"))

What it says stands in a file: the manifests of the run and of those beneath it, the cards of its base and its datasets,
the tables of comparisons. What none of these says is left out, or said to be unknown; nothing is computed, and nothing
is praised. No path of this machine gets in. `usage.REPO` stands for the repository's id, which the sending puts in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml

from core.models.origin import Origin, origin_of
from core.models.subject import Subject, Used, manifest_of, subject_of
from core.models.usage import usage
from core.models.weights import adapter_facts
from core.records import Manifest
from core.records_evaluation import Cell, Evaluation, evaluation_file
from core.rundir import RunDir, read_record
from core.workspace import Workspace

HUGGING_FACE = "huggingface: "  # how the origin of a dataset from there begins (`core.recipes.import_data`)
LANGUAGES = {"zh": ("zh",), "en": ("en",), "mixed": ("zh", "en")}  # of rows, as the hub calls them
LEAST = 0.05  # share of the rows that a language needs to be named
KINDS = {
    "adapter": "a LoRA adapter", "model": "a whole model", "merged": "a whole model", "reward": "a reward model",
}  # fmt: skip
STAGES = {
    "pretrain": "continued pretraining", "sft": "supervised fine-tuning", "reward": "learning from preference pairs",
    "ppo": "PPO", "dpo": "DPO", "vocabulary": "an extension of the vocabulary",
}  # fmt: skip
OF_A_MERGE = {
    "merging": "largest difference of two outputs made by merging", "difference": "the same of the files as written",
    "kl": "divergence from the adapters, nats a token", "same": "share of tokens that both find likeliest",
}  # fmt: skip


def model_card(workspace: Workspace, run: RunDir) -> str:
    """The whole README.md of a finished run. Raises ModelError `model.run_no_weights` where it has delivered none."""
    subject = subject_of(workspace, run)
    sections = (
        _front(subject), _about(subject), _usage(subject), _chain(subject), _base(subject), _data(subject),
        _figures(subject), _limits(), _making(subject),
    )  # fmt: skip
    return "\n\n".join(section for section in sections if section) + "\n"


# -- front matter -----------------------------------------------------------------------------------------------------
def _front(subject: Subject) -> str:
    """What the hub reads: https://huggingface.co/docs/hub/model-cards#model-card-metadata."""
    base = subject.base if subject.is_adapter else subject.bottom
    licence = _licence(subject)
    front: dict[str, Any] = {
        "base_model": base.repo,
        "base_model_relation": ("adapter" if subject.is_adapter else "finetune") if base.repo else "",
        "library_name": "peft" if subject.is_adapter else "transformers",
        "pipeline_tag": "text-classification" if subject.scores else "text-generation",
        "language": _languages(subject.used),
        "license": licence.split(", ") if ", " in licence else licence,
        "datasets": _hub_sets(subject.used),
        "tags": ["galen", *(["lora"] if subject.is_adapter else []), *subject.stages],
    }
    said = {key: value for key, value in front.items() if value}
    return f"---\n{yaml.safe_dump(said, sort_keys=False, allow_unicode=True)}---"


def _licences(subject: Subject) -> dict[str, str | None]:
    """What applies, by whose work is in the files that are sent: the base's, and that of each adapter that others have
    trained. An adapter that was only brought in holds nothing of its base."""
    found = {_source(each): each.origin.get("licence") for each in subject.brought}
    alone = subject.is_adapter and bool(found) and not subject.stages
    return found if alone else {subject.bottom.name: subject.bottom.licence, **found}


def _licence(subject: Subject) -> str:
    """The one licence of all that is in it; "" where they differ, or one is not known: nobody's work is relicensed."""
    licences = set(_licences(subject).values())
    return (licences.pop() or "") if len(licences) == 1 else ""


def _no_licence(subject: Subject) -> str:
    """Why the top of the card names no licence, where others' adapters are in it."""
    if _licence(subject) or not subject.brought:
        return ""
    named = "; ".join(f"{name}: {licence or 'not known'}" for name, licence in _licences(subject).items())
    return f"No licence is named at the top, because others' work is in it ({named}). Ask them before you pass it on."


def _languages(used: Iterable[Used]) -> list[str]:
    """Those of the rows, as the datasets' cards count them."""
    counts: Counter[str] = Counter()
    rows = 0
    for each in used:
        for language, count in (each.card.languages if each.card is not None else {}).items():
            rows += count
            counts.update(dict.fromkeys(LANGUAGES.get(language, ()), count))
    return sorted(language for language, count in counts.items() if count >= LEAST * rows)


def _hub_sets(used: Iterable[Used]) -> list[str]:
    """The ids of datasets that came from Hugging Face; a recipe joins the origins of its parents by ` / `."""
    origins = [origin for each in used if each.card is not None for origin in each.card.origin.split(" / ")]
    ids = [origin.removeprefix(HUGGING_FACE).partition("@")[0] for origin in origins if origin.startswith(HUGGING_FACE)]
    return list(dict.fromkeys(ids))


# -- sections ---------------------------------------------------------------------------------------------------------
def _about(subject: Subject) -> str:
    manifest, base = subject.manifest, subject.base
    on = f" for {_called(base)}" if subject.is_adapter else f" made from {_called(subject.bottom)}"
    what = KINDS[manifest.kind]
    if subject.scores:
        what += ", a LoRA adapter with a score head" if subject.is_adapter else ", a sequence classifier with one score"
    stages = ", then ".join(STAGES.get(stage, stage) for stage in subject.stages)
    does = "It gives an answer a score; it writes none." if subject.scores else "It writes answers."
    how = f" Trained by {stages}." if stages else ""
    how += "".join(f" {_brought(each)}" for each in subject.brought)
    name = escape(" ".join((manifest.name or manifest.run).split()), quote=False)
    text = f"# {name}\n\nThis is {what}{on}.{how} {does}"
    said = _no_licence(subject)
    return f"{text}\n\n{said}" if said else text


def _brought(manifest: Manifest) -> str:
    """Whose work an adapter is that was brought in from elsewhere."""
    origin = manifest.origin
    at = f" at {origin['commit'][:12]}" if origin.get("commit") else ""
    licence = f", licence {origin['licence']}" if origin.get("licence") else ", whose licence is not known here"
    return f"In it is the adapter {_source(manifest)}{at}{licence}, which others have trained."


def _source(manifest: Manifest) -> str:
    """What a brought-in adapter is called; a path of this machine by its last part."""
    source = manifest.origin.get("source", "") or manifest.name
    return Path(source).name if Path(source).is_absolute() else source


def _usage(subject: Subject) -> str:
    lines = []
    base, shape = subject.base, subject.shape
    if subject.is_adapter and not base.repo:
        lines.append(
            f"Its base, **{base.name}**, has no id on Hugging Face that is known here: put the folder, or the id, "
            "under which you have it into `BASE`. The SHA-256 of its weights stands below; on any other weights the "
            "adapter answers wrongly, without a word."
        )
    if subject.is_adapter and base.note:
        lines.append(base.note)
    if subject.scores and subject.is_adapter:
        lines.append("The score head lies in the adapter; the one that Transformers adds to the base is untrained.")
    if subject.own_class:
        lines.append(
            "Its class is not one of Transformers': `from core.models import architectures; architectures.register()` "
            "of Galen makes it known first."
        )
    if subject.manifest.trust_remote_code:
        lines.append(
            "The base comes with Python code of its own, which Transformers runs only if told to trust it: read it "
            "first."
        )
    return _section("How to use", *lines, f"```python\n{usage(shape)}\n```")


def _chain(subject: Subject) -> str:
    """A row for each run whose training is in the weights."""
    rows = []
    for place, run in enumerate(subject.trained, 1):
        manifest = manifest_of(subject.workspace, run)
        stage = RunDir(Path(run)).stage
        if manifest is None:
            rows.append((place, stage, f"`{run}`", "its run has been deleted", "", ""))
            continue
        start = f"`{manifest.parent}`" if manifest.parent else origin_of(subject.workspace, manifest.root_base).called
        adapter = " (its adapter trained further)" if manifest.parent_adapter == "continued" else ""
        steps = manifest.final_metrics.get("step")
        method = _method(RunDir(subject.workspace.runs_dir / run), manifest)
        rows.append((place, stage, f"`{run}`", start + adapter, method, "" if steps is None else f"{steps:.0f}"))
    table = _table(("", "stage", "run", "started from", "method", "steps"), rows)
    merged = "The adapters were then merged into the base." if subject.manifest.method == "merge" else ""
    return _section("Chain", table, merged)


def _method(run: RunDir, manifest: Manifest) -> str:
    place = manifest.adapter_stage or manifest.adapter_root
    facts = adapter_facts(run.output / place) if place else None
    quantised = f", base in {manifest.quantisation}" if manifest.quantisation else ""
    return manifest.method + (f": {facts.sentence()}" if facts is not None else "") + quantised


def _base(subject: Subject) -> str:
    base, root = subject.base, subject.manifest.root_base
    facts = [("id", base.repo or "none that is known here"), ("revision", base.revision or "not known")]
    facts += [("file", base.file)] if base.file else []
    facts += [("licence", subject.bottom.licence or "not known here: ask where the base came from")]
    hashes = [(f"SHA-256 of `{weight.name}`", f"`{weight.sha256}`") for weight in root.weights]
    return _section(f"Base: {base.name}", _table(("", ""), [*facts, *hashes]), base.note)


def _data(subject: Subject) -> str:
    rows = [
        (
            f"`{each.data.dataset}`", each.stage, each.data.rows_used, each.data.rows_dropped,
            (each.card.origin if each.card is not None else "") or "not stated",
            (each.card.licence if each.card is not None else "") or "not stated",
        )
        for each in subject.used
    ]  # fmt: skip
    heads = ("dataset", "stage", "rows used", "rows dropped", "source", "licence")
    return _section("Data", _table(heads, rows) if rows else "The manifests of its runs name none.")


def _limits() -> str:
    return _section(
        "Use and limits",
        "**For research.** What it says is no medical advice: it can be wrong and sound sure of itself, and nobody "
        "should be treated, or left untreated, because of it. Nothing is known of it but the figures above; whoever "
        "puts it to use has to test it for that use. The licences of the base and of the data apply.",
    )


def _making(subject: Subject) -> str:
    manifest = subject.manifest
    facts = [f"weights in {manifest.dtype}", f"seed {manifest.seed}", *([manifest.device] if manifest.device else [])]
    facts += [f"{name} {version}" for name, version in manifest.packages.items()]
    how = "Brought in with" if manifest in subject.brought else "With"
    return _section("How it was made", f"{how} Galen, by the run `{manifest.run}`: {', '.join(facts)}.")


# -- figures ----------------------------------------------------------------------------------------------------------
def _figures(subject: Subject) -> str:
    """What the last training has recorded, what a merge has found of its own work, and comparisons."""
    learnt = [manifest_of(subject.workspace, run) for run in subject.trained[-1:] if run != subject.run.id]
    tables = [_recorded(manifest) for manifest in (*learnt, subject.manifest) if manifest is not None]
    measured = _comparisons(subject)
    tables += [_table(("compared on", "rows", "this one", "its base"), measured)] if measured else []
    return _section("Figures", *(tables if any(tables) else ["None were recorded."]))


def _recorded(manifest: Manifest) -> str:
    names = OF_A_MERGE if manifest.method == "merge" else {}
    rows = [(names.get(key, key.replace("_", " ")), f"{value:.4g}") for key, value in manifest.final_metrics.items()]
    return _table((f"of `{manifest.run}` ({manifest.stage})", ""), rows) if rows else ""


def _comparisons(subject: Subject) -> list[Sequence[Any]]:
    """What the newest finished comparison has found of the run on each dataset, and of its base if it was there."""
    found: dict[str, Sequence[Any]] = {}
    for run in subject.workspace.runs():
        table = read_record(evaluation_file(run.output), Evaluation) if run.manifest_file.is_file() else None
        own = next((at for at, each in enumerate(table.models) if each.text == subject.run.id), None) if table else None
        if table is None or own is None:
            continue
        bases = (at for at, each in enumerate(table.models) if each.run is None and each.text == table.models[own].root)
        base = next(bases, None)
        for at, exam in enumerate(table.exams):
            cell = table.cell(own, at)
            if cell is not None and cell.figures:
                beside = "" if base is None else _cell(table.cell(base, at))
                found.setdefault(exam.dataset, (f"`{exam.dataset}`", cell.rows, _cell(cell), beside))
    return list(found.values())


def _cell(cell: Cell | None) -> str:
    """`loss 2.31 ± 0.02, perplexity 10.1`; counts and standard errors are no figures of their own."""
    said = []
    for name, value in (cell.figures if cell is not None else {}).items():
        if not name.endswith("_error") and name not in ("tokens", "ties", "fewer_shots", "multiple"):
            error = cell.figures.get(f"{name}_error") if cell is not None else None
            said.append(f"{name.replace('_', ' ')} {value:.4g}" + (f" ± {error:.2g}" if error is not None else ""))
    return ", ".join(said)


# -- Markdown ---------------------------------------------------------------------------------------------------------
def _called(origin: Origin) -> str:
    return f"[{origin.name}](https://huggingface.co/{origin.repo})" if origin.repo else origin.name


def _section(title: str, *parts: str) -> str:
    return "\n\n".join([f"## {title}", *(part for part in parts if part)])


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
