"""Forms that are sound but for one field: paths out of the workspace, one field at a time, through the page's start.

    python -m tests.attack.paths --count 9

`count` is how many ways of writing a path are tried: whole, by `..`, over a link in the workspace, relative, `file://`
and more. Each goes into every field of every form that names a file, folder, dataset or model, while all the others
hold what a run would start with; then the handler of its Start button is called, as the page calls it. Other texts of
the form get the same and are taken as far as a start takes them (`pin`). Found is: a start that does not say that the
path is outside; a new run or dataset; a file outside that was read (its time of access tells).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import gradio as gr

from core.configs.files import fields_of
from core.configs.sections import inner
from core.configs.stages import STAGES
from core.configs.steps import STEPS
from core.data.bring.samples import SAMPLES
from core.data.store.library import import_file, list_datasets
from core.errors import GalenError
from core.jobs import store
from core.jobs.pinning import pin
from core.models.tiny import NAME as TINY
from core.models.tiny import bring_in
from core.models.weights import ADAPTER_CONFIG
from core.records import RootBase
from core.rundir import RunDir, state_of, write_json, write_record
from core.workspace import Workspace
from tests.attack.handlers import Outside
from tests.attack.tools import Tally, command
from tests.runs_tools import made
from webui.app import App
from webui.confine import NAMING, WRITTEN, confine
from webui.forms import Form
from webui.recipe_draft import Draft, DraftStep, Mixed, check_draft

REFUSED = "is outside the folders that Galen may read"
PATHS = {*NAMING, *WRITTEN}
OWN_START = (False, "", None)  # what stands before the form's values: in no other run's place
NO_PATHS = ("-" * 5000, "a\0b")  # nothing can be called so: refused in words of ours
KINDS = {"text": "pretrain", "chat": "sft", "pairs": "reward", "prompts": "ppo", "choice": "evaluate"}  # whose samples
MODELS = "model"  # where a field names a model or a run
# What the fields of a form hold; the rest of them is as it is when the page is opened.
SOUND: dict[str, dict[str, Any]] = {
    "pretrain": {"model.base": TINY, "data.train": "text"},
    "sft": {"model.base": TINY, "data.train": "chat"},
    "reward": {"model.base": TINY, "data.train": "pairs"},
    "dpo": {"model.base": TINY, "data.train": "pairs"},
    "ppo": {"model.base": TINY, "data.train": "prompts", "rewards.rules": "length low=4 high=40"},
    "merge": {"model.base": "{run}"},
    "push": {"model.base": "{run}", "to.repo": "someone/something"},
    "evaluate": {"models.runs": [TINY], "data.rows": ["chat"], "data.shots": "1", "data.dev": "choice"},
    "predict": {"model.base": TINY, "data.file": "prompts"},
    "annotate": {"data.rows": "text", "task.kind": "instruct", "annotator.kind": "model", "annotator.base": TINY,
                 "data.output": "made"},
    "vocabulary": {"model.base": TINY, "words.corpus": "text"},
    "perplexity": {"model.base": TINY, "data.rows": "text"},
    "fetch": {"model.source": "someone/something"},
}  # fmt: skip
# What kind of thing a field names, where it is not what the stage is trained on, or a model.
NAMED = {
    "data.general": "text", "data.dev": "choice", "words.corpus": "text", "words.list": "text", "new.against": "chat",
    "report.domain": "choice", "report.general": "choice", "safety.file": "chat", "data.rows": "chat",
    "data.prompts": "prompts", "data.file": "prompts", "data.train": "chat", "data.predictions": "prompts",
}  # fmt: skip


@dataclass(frozen=True)
class Door:
    """A way from a form to a start. `press`: what the page answers to these values, by dotted key."""

    name: str
    stage: str
    keys: Sequence[str]
    press: Callable[[Mapping[str, Any]], Any]
    form: Form | None = None


def ways(outside: Path, workspace: Path, name: str) -> dict[str, str]:
    """How the path of `outside / name` may be written."""
    return {
        "a whole path": f"{outside}/{name}",
        "a path by ..": f"{workspace}/datasets/../../outside/{name}",
        "a path over a link": f"{workspace}/link/{name}",
        "file://": f"file://{outside}/{name}",
        "a relative path": os.path.relpath(outside / name),
        "a relative path over a link": os.path.relpath(workspace / "link" / name),
        "the folder": str(outside),
        "a path with slashes and dots": f"{outside}//.//{name}",
        "another user's home": "~root/.ssh",
    }


def kind_of(door: Door, key: str) -> str:
    """What `key` names: one of KINDS, or MODELS."""
    section = key.partition(".")[0]
    if section in ("model", "models", "annotator", "answers", "judging") or key == "rewards.models":
        return MODELS
    trained = SOUND.get(door.stage, {}).get("data.train")
    return str(trained) if trained and key not in ("data.general",) else NAMED[key]


class Attack:
    """A workspace with all that the forms need, what lies beside it, and the doors of the page."""

    def __init__(self, folder: Path, tally: Tally) -> None:
        self.tally = tally
        self.workspace = Workspace(folder / "workspace")
        bring_in(self.workspace)
        for name, stage in KINDS.items():
            import_file(self.workspace, SAMPLES / stage / "en.jsonl", name)
        self.run = self._run().id
        self.outside = Outside(folder, self.workspace)
        for name, stage in KINDS.items():
            shutil.copy(SAMPLES / stage / "en.jsonl", self.outside.folder / f"{name}.jsonl")
        shutil.copytree(self.workspace.models_dir / TINY, self.outside.folder / "model", dirs_exist_ok=True)
        self.outside.begin()
        self.app = App(self.workspace, "en")
        self.app.build()
        self.before = self._there()

    def _run(self) -> RunDir:
        """A run with an adapter, as its files say it."""
        run = made(self.workspace, "sft", "made before")
        manifest = run.manifest()
        assert manifest is not None
        root = RootBase(source=TINY, path=str(self.workspace.models_dir / TINY))
        write_json(run.output / "adapter" / ADAPTER_CONFIG, {"peft_type": "LORA", "r": 8})
        write_record(run.manifest_file, manifest.model_copy(update={"root_base": root}))
        return run

    def _there(self) -> set[str]:
        return {run.id for run in self.workspace.runs()} | {each.ref for each in list_datasets(self.workspace)}

    # -- the doors ----------------------------------------------------------------------------------------------------
    def doors(self) -> Iterator[Door]:
        app, data = self.app, self.app.data
        for stage, page in app.stages.items():
            launch = page.panel.launch
            yield self._of_form(
                f"the tab {stage}", page.form, lambda *values, launch=launch: launch("en", *OWN_START, *values)
            )
            if stage in app.chain.forms:
                yield Door(f"the chain's {stage}", stage, page.form.keys, self._chain(stage))
        yield Door(
            "the path of a file", "import", ["data.train"], lambda read: data.bring.take_path(read["data.train"], "en")
        )
        annotate, shelf = data.annotate, app.stages["sft"].shelf
        yield Door("Annotate", "annotate", ["data.rows", *annotate.form.keys], self._annotate, annotate.form)
        yield self._of_form("the model shelf", shelf.form, lambda *values: shelf.fetch("en", *values))
        worth, vocabulary = (card.card for card in app.stages["pretrain"].cards)
        yield Door("Is it worth it?", "perplexity", ["model.base", "data.rows"],
                   lambda read: worth.begin("en", read["model.base"], read["data.rows"], False))  # fmt: skip
        words = app.stages["pretrain"].cards[1].form
        yield Door(
            "the vocabulary",
            "vocabulary",
            ["model.base", *words.keys],
            lambda read: vocabulary.begin("en", read["model.base"], None, False, *filled(words, read)),
        )
        (send,) = app.stages["merge"].cards
        yield self._of_form("sending", send.form, lambda *values: send.side.begin("en", *values))
        for stage, which in STAGES.items():
            left = sorted(PATHS & set(fields_of(which.config)))
            yield Door(f"what any form of {stage} may read", stage, left, self._confined)

    def _confined(self, read: Mapping[str, Any]) -> list[str]:
        return [str(problem) for problem in confine(read, self.workspace)]

    @staticmethod
    def _of_form(name: str, form: Form, press: Callable[..., Any]) -> Door:
        return Door(name, form.stage, form.keys, lambda read: press(*filled(form, read)), form)

    def _annotate(self, read: Mapping[str, Any]) -> Any:
        part = self.app.data.annotate
        return part.launch(read["data.rows"], "en", *filled(part.form, read))

    def _chain(self, stage: str) -> Callable[[Mapping[str, Any]], Any]:
        def press(read: Mapping[str, Any]) -> Any:
            chain = self.app.chain
            held = [filled(form, read if name == stage else {}) for name, form in chain.forms.items()]
            values = [value for each in held for value in each]
            return list(chain.act(gr.EventData(None, {"do": "queue", "stages": [stage]}), "en", *values))

        return press

    # -- the attack ---------------------------------------------------------------------------------------------------
    def sound(self, door: Door) -> dict[str, Any]:
        found = SOUND.get(door.stage, {})
        return {key: self.run if value == "{run}" else value for key, value in found.items()}

    def ways(self, name: str) -> list[tuple[str, str]]:
        return list(ways(self.outside.folder, self.workspace.path, name).items())

    def is_sound(self, door: Door) -> None:
        """A form that would be refused anyway would hide what its paths do."""
        if door.form is not None:
            try:
                self.take(door, self.sound(door))
            except GalenError as error:
                self.tally.find(f"{door.name}: its form is not sound: {error} {[str(each) for each in error.problems]}")
            self.before = self._there()

    def take(self, door: Door, read: Mapping[str, Any]) -> None:
        """As far as a start goes before it submits. Raises GalenError."""
        assert door.form is not None
        form = door.form
        values = filled(form, read)
        if door.stage == "annotate":
            config = self.app.data.annotate._config(read["data.rows"], values)
        else:
            config = form.resolve(values, self.workspace)
        pin(self.workspace, STAGES[door.stage], config)

    def attack(self, door: Door, first: int, count: int) -> None:
        self.is_sound(door)
        for key in door.keys:
            if key in PATHS:
                name = kind_of(door, key)
                name = name if name == MODELS else f"{name}.jsonl"
                for how, text in self.ways(name)[first : first + count]:
                    self.refused(door, key, how, text)
                for text in ("linked", *NO_PATHS) if door.form is not None else ():
                    self.harmless(door, key, wrapped(door, key, text))
            elif door.form is not None and is_text(door.form, key):
                for _, text in self.ways("chat.jsonl")[first : first + 1]:
                    self.harmless(door, key, text)

    def refused(self, door: Door, key: str, how: str, text: str) -> None:
        about = f"{door.name}: {key} with {how}, {text}"
        answer = door.press({**self.sound(door), key: wrapped(door, key, text)})
        self.tally.done["paths in fields that name something"] += 1
        if REFUSED not in repr(answer):
            self.tally.find(f"{about}: it is not said to be outside")
        self.judge(about)

    def harmless(self, door: Door, key: str, text: Any) -> None:
        self.tally.done["paths in other texts"] += 1
        try:
            self.take(door, {**self.sound(door), key: text})
        except GalenError:
            self.tally.done["paths in other texts: refused"] += 1
        except Exception as error:
            self.tally.find(f"{door.name}: {key} with {str(text)[:60]!r}: {str(error)[-200:]!r}")
        self.judge(f"{door.name}: {key} with {str(text)[:60]}")

    def recipes(self, first: int, count: int) -> None:
        """The cleaning recipe: what it reads, and what its steps name."""
        for _, text in self.ways("chat.jsonl")[first : first + count]:
            drafts = {"its dataset": Draft(text, []), "what is mixed in": Draft("chat", [], [Mixed(text)])}
            for name, step in STEPS.items():
                for field in (*step.files, *step.datasets, *step.runs):
                    drafts[f"{name}.{field}"] = Draft("chat", [DraftStep(1, name, {field: text})])
            for what, draft in drafts.items():
                config, _, _ = check_draft(draft, self.workspace)
                self.tally.done["paths in recipes"] += 1
                if config is not None:
                    self.tally.find(f"a recipe: {what} with {text}: it is taken")
                self.judge(f"a recipe: {what} with {text}")

    def judge(self, about: str) -> None:
        """Nothing outside was read, and nothing came of it."""
        touched = self.outside.touched()
        if touched:
            self.tally.find(f"{about}: touched outside: {touched}")
            self.outside.begin()
        new = self._there() - self.before
        if new:
            self.tally.find(f"{about}: made {sorted(new)}")
            self.before |= new

    def end(self) -> None:
        for run in self.workspace.runs():
            if state_of(run).live:
                store.kill(run)


def filled(form: Form, read: Mapping[str, Any]) -> list[Any]:
    """The values of the form's widgets: what `read` has, and else what they hold when the page is opened."""
    return [read.get(key, form.show_one(key, form.default(key))) for key in form.keys]


def is_text(form: Form, key: str) -> bool:
    kind, _ = inner(form.known[key].annotation)
    return kind is str or (get_origin(kind) is list and get_args(kind) == (str,))


def wrapped(door: Door, key: str, text: str) -> Any:
    """As the field's widget gives it: a picker of several gives a list."""
    form = door.form
    default = form.show_one(key, form.default(key)) if form is not None and key in form.known else ""
    return [text] if isinstance(default, list) else text


def look(folder: Path, count: int, first: int, tally: Tally) -> None:
    """Every door with `count` ways of writing a path, from the `first` on."""
    attack = Attack(folder, tally)
    try:
        for door in attack.doors():
            attack.attack(door, first, count)
        attack.recipes(first, count)
    finally:
        attack.end()


def attack(count: int, seed: int) -> Tally:
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        os.environ["GALEN_LOCK_DIR"] = f"{name}/locks"
        look(Path(name), count, seed, tally)
    return tally


def main() -> int:
    return command(attack, count=9, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
