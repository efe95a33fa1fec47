"""What the models are measured on and asked, gathered from the settings: datasets with their roles, then questions.

    roles = roles_of(config)                       dataset → domain, general or ""; all that are to be measured
    sources, questions = gather(workspace, config)

A dataset of the report is measured as far as its rows give figures, and asked as far as they ask something. Torch-free
but for `core.evaluation.answers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.configs.stages import EvaluateConfig
from core.data import red_flags
from core.data.store.library import Dataset, open_dataset
from core.errors import DataError
from core.evaluation.answers import questions
from core.records_evaluation import ASKING, EXAM_KINDS, Question, Role, Source
from core.training.preparing import choose_rows
from core.workspace import Workspace


def roles_of(config: EvaluateConfig) -> dict[str, Role]:
    """Every dataset that is named for measuring, in the order of the table, with what it stands for."""
    roles: dict[str, Role] = dict.fromkeys(config.report.domain, "domain")
    roles |= dict.fromkeys(config.report.general, "general")
    return {**{ref: roles.get(ref, "") for ref in config.data.rows}, **roles}


def measured(workspace: Workspace, config: EvaluateConfig) -> dict[str, Role]:
    """Those of them that give figures. Raises DataError `evaluate.kind` for one that neither does nor asks anything."""
    found: dict[str, Role] = {}
    for ref, role in roles_of(config).items():
        kind = open_dataset(workspace, ref).card.kind
        if kind in EXAM_KINDS:
            found[ref] = role
        elif not role or kind not in ASKING:
            raise DataError("evaluate.kind", ref=ref, kind=kind, kinds=", ".join(EXAM_KINDS))
    return found


def gather(workspace: Workspace, config: EvaluateConfig) -> tuple[list[Source], list[Question]]:
    """The prompts, then the report's questions, then the red-flag questions, numbered from 0 on."""
    sources: list[Source] = []
    found: list[Question] = []
    for ref, role in asked_of(workspace, config).items():
        dataset = open_dataset(workspace, ref)
        rows = choose_rows(len(dataset), config.generation.max_prompts, config.run.seed).tolist()
        found += questions(dataset, rows, first=len(found), source=len(sources))
        sources.append(Source(name=ref, sha256=dataset.card.sha256, asked=len(rows), role=role))
    for name, path in flagged(config):
        asked = red_flags.read_questions(path)
        number = len(found)
        found += [each.model_copy(update={"number": number + each.number, "source": len(sources)}) for each in asked]
        sources.append(Source(name=name, sha256=red_flags.sha256_of(path), asked=len(asked), safety=True))
    return sources, found


def asked_of(workspace: Workspace, config: EvaluateConfig) -> dict[str, Role]:
    """The datasets whose questions are asked, with what each stands for."""
    roles = roles_of(config)
    prompts = [config.data.prompts] if config.data.prompts else []
    found: dict[str, Role] = {ref: roles.get(ref, "") for ref in prompts}
    if config.report.answers:
        of_report: Sequence[str] = [*config.report.domain, *config.report.general]
        found |= {ref: roles[ref] for ref in of_report if asks(open_dataset(workspace, ref))}
    return found


def asks(dataset: Dataset) -> bool:
    return dataset.card.kind in ASKING


def flagged(config: EvaluateConfig) -> list[tuple[str, Path]]:
    """(name, file) of the red-flag questions that are asked."""
    chosen = config.safety.questions
    languages = red_flags.LANGUAGES if chosen == "both" else () if chosen == "none" else (chosen,)
    found = [(f"safety/{language}", red_flags.shipped(language)) for language in languages]
    if config.safety.file:
        found.append((Path(config.safety.file).name, Path(config.safety.file)))
    return found
