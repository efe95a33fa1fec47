"""The arrows of the house: who may import whom, and what never loads torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EVERYBODY = (
    "core.errors",
    "core.messages",
    "core.messages_choice",
    "core.messages_chat",
    "core.messages_data",
    "core.messages_distributed",
    "core.messages_steps",
    "core.messages_training",
    "core.messages_ppo",
    "core.messages_push",
    "core.messages_pipeline",
    "core.messages_predict",
    "core.messages_runs",
    "core.messages_serving",
    "core.messages_annotate",
    "core.messages_evaluate",
    "core.messages_merge",
    "core.system",
    "core.late",
    "core.hardware",
    "core.records",
    "core.records_merge",
    "core.records_evaluation",
    "core.records_reward",
    "core.records_ppo",
    "core.records_push",
    "core.records_report",
    "core.report_figure",
    "core.records_predict",
    "core.rules",
    "core.alarms",
    "core.spikes",
    "core.intervals",
    "core.references",
    "core.rundir",
    "core.notes",
    "core.imported",
    "core.tails",
    "core.workspace",
    "core.report",
    "core.children",
    "core.disk",
    "core.hubs",
)

# From each package, the project's own modules that it may import; its own are always allowed.
MAY_IMPORT = {
    "core.configs": EVERYBODY,
    "core.data": (*EVERYBODY, "core.configs"),
    "core.annotating": (*EVERYBODY, "core.configs", "core.data"),
    "core.models": (*EVERYBODY, "core.data", "core.configs"),
    "core.jobs": (
        *EVERYBODY,
        "core.annotating",
        "core.configs",
        "core.data",
        "core.models.awaited",
        "core.models.library",
        "core.models.parents",
        "core.models.runs",
        "core.models.context",
        "core.models.families",
        "core.models.sources",
        "core.models.stages_of",
        "core.models.answering",
    ),
    "core.fit": (*EVERYBODY, "core.configs", "core.data", "core.models"),
    "core.evaluation": (*EVERYBODY, "core.annotating", "core.configs", "core.data", "core.models", "core.training"),
    "core.training": (*EVERYBODY, "core.configs", "core.data", "core.models"),
    "core.ppo": (
        *EVERYBODY,
        "core.annotating",
        "core.configs",
        "core.data",
        "core.models",
        "core.training",
        "core.evaluation",
    ),
    "core.recipes": (
        *EVERYBODY,
        "core.annotating",
        "core.configs",
        "core.data",
        "core.models",
        "core.training",
        "core.evaluation",
        "core.ppo",
    ),
    "core.serving": (
        *EVERYBODY,
        "core.configs",
        "core.data",
        "core.models",
        "core.jobs",
        "core.training.heads",
        "core.training.judges",
    ),
    "core.runs": (
        *EVERYBODY,
        "core.configs",
        "core.data.store",
        "core.jobs",
        "core.models.library",
        "core.models.runs",
    ),
    "core.pipeline": (*EVERYBODY, "core.configs", "core.data", "core.jobs", "core.models"),
    "core.cli": ("core",),
    "webui": (
        *EVERYBODY,
        "core.annotating.people",
        "core.annotating.prompts",
        "core.configs",
        "core.data",
        "core.jobs",
        "core.runs",
        "core.pipeline",
        "core.talks",
        "core.votes",
        "core.models.awaited",
        "core.models.library",
        "core.models.card",
        "core.models.sources",
        "core.models.disk_use",
        "core.models.starter",
        "core.models.tiny",
        "core.models.weights",
        "core.models.runs",
        "core.models.families",
        "core.models.parents",
        "core.fit",
        "core.models.lineage",
        "core.serving.client",
        "core.serving.session",
        "core.serving.options",
    ),
}
LEAVES = {  # the few that everybody imports may import each other, and the configs' table
    "core.chat": ("core.serving", "core.models", "core.data", *EVERYBODY),
    "core.talks": ("core.data.store.building", *EVERYBODY),
    "core.votes": ("core.intervals", "core.talks", "core.data", *EVERYBODY),
    "core.errors": ("core.messages",),
    "core.report": ("core.configs.stages", "core.messages", *EVERYBODY),
    "core.workspace": EVERYBODY,
    "core.rundir": EVERYBODY,
    "core.notes": EVERYBODY,
    "core.imported": EVERYBODY,
    "core.tails": EVERYBODY,
    "core.references": ("core.errors",),
    "core.records": (),
    "core.records_merge": ("core.records",),
    "core.records_evaluation": ("core.records",),
    "core.records_reward": ("core.records",),
    "core.records_ppo": ("core.records",),
    "core.records_push": ("core.records",),
    "core.records_report": ("core.records", "core.records_evaluation"),
    "core.report_figure": ("core.records_report",),
    "core.records_predict": ("core.records",),
    "core.spikes": (),
    "core.intervals": (),
    "core.hardware": EVERYBODY,
    "core.messages": (
        "core.messages_choice",
        "core.messages_chat",
        "core.messages_data",
        "core.messages_distributed",
        "core.messages_steps",
        "core.messages_training",
        "core.messages_ppo",
        "core.messages_models",
        "core.messages_push",
        "core.messages_pipeline",
        "core.messages_predict",
        "core.messages_runs",
        "core.messages_serving",
        "core.messages_annotate",
        "core.messages_evaluate",
        "core.messages_merge",
    ),
    "core.messages_choice": (),
    "core.messages_chat": (),
    "core.messages_data": (),
    "core.messages_distributed": (),
    "core.messages_steps": (),
    "core.messages_training": (),
    "core.messages_ppo": (),
    "core.messages_models": (),
    "core.messages_push": (),
    "core.messages_pipeline": (),
    "core.messages_predict": (),
    "core.messages_runs": (),
    "core.messages_serving": (),
    "core.messages_annotate": (),
    "core.messages_evaluate": (),
    "core.messages_merge": (),
    "core.rules": (),
    "core.alarms": (),
    "core.system": (),
    "core.late": (),
    "core.children": EVERYBODY,
    "core.disk": EVERYBODY,
    "core.hubs": EVERYBODY,
}


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(file: Path) -> set[str]:
    """The project's modules that `file` imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("core", "webui")}


def within(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in allowed)


def test_imports_follow_the_arrows() -> None:
    wrong = []
    for file in sorted([*ROOT.glob("core/**/*.py"), *ROOT.glob("webui/**/*.py")]):
        module = module_of(file)
        if module in ("core", "core.__main__"):
            continue
        package = next((name for name in MAY_IMPORT if within(module, (name,))), None)
        allowed = LEAVES[module] if package is None else (package, *MAY_IMPORT[package])
        wrong += [f"{module} imports {name}" for name in sorted(imports(file)) if not within(name, allowed)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", ["core/recipes", "webui/pages"])
def test_siblings_do_not_import_each_other(folder: str) -> None:
    own = folder.replace("/", ".")
    for file in (ROOT / folder).glob("*.py"):
        siblings = {name for name in imports(file) if name.startswith(own + ".")}
        assert not siblings, f"{file.name} imports {siblings}"


@pytest.mark.parametrize(
    "modules",
    [
        "core.configs.files, core.data.store.library, core.data.encode.encoding, core.data.check.doctor",
        "core.data.recipe.prepare, core.data.look.view, core.jobs.store, core.pipeline.rehearsal, core.report",
        "core.annotating.endpoint, core.annotating.asking, core.ppo.judge",
        "core.runs.curve_files, core.runs.differences, core.runs.lineage, core.runs.checkpoints, core.runs.bringing_in",
        "core.models.library, core.models.lineage, core.serving.client, core.serving.session, core.__main__",
        "core.talks, core.votes, webui.alone",
        "webui.app",
    ],
)
def test_these_load_no_torch(modules: str) -> None:
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_core_does_not_know_the_page() -> None:
    for file in ROOT.glob("core/**/*.py"):
        assert not {name for name in imports(file) if name.startswith("webui")}, file


def test_no_shell_is_ever_started() -> None:
    for file in [*ROOT.glob("core/**/*.py"), *ROOT.glob("webui/**/*.py"), ROOT / "run_webui.py"]:
        text = file.read_text(encoding="utf-8")
        assert "shell=True" not in text, file
        assert "os.system(" not in text, file
