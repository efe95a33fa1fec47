"""The documents: every command can be typed, what they name is there, no link is dead, generated pages are fresh."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from core.jobs.hosts import commands
from core.rundir import RunDir, write_json
from tests import architecture_page
from tests.docs_checking import complaint
from tests.docs_names import all_options, known_preset, known_variable, misnamed, wrong_path, wrong_setting
from tests.docs_place import Place, make_place
from tests.docs_tools import (
    HISTORY,
    ROOT,
    Command,
    anchors,
    blocks,
    command_lines,
    commands_of,
    documents,
    links,
    prose,
    spans,
)
from webui.field_pages import FOLDER, pages

DOCUMENTS = documents()
GENERATED = "docs/fields/"  # made from declarations, and compared with them
NOW = [file for file in DOCUMENTS if file not in HISTORY and not file.startswith(GENERATED)]
WITH_COMMANDS = [file for file in DOCUMENTS if command_lines(file)]
PRESET = re.compile(r"(?:[Pp]resets?|预设)\s*`([\w-]+)`")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Place:
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return make_place(folder, tiny_model)


@pytest.mark.parametrize("file", WITH_COMMANDS)
def test_every_command_can_be_typed(place: Place, file: str) -> None:
    wrong = []
    for line in command_lines(file):
        for command in commands_of(line.text):
            said = complaint(place, command)
            wrong += [f"{line}\n    {said}"] if said else []
    assert not wrong, "\n".join(wrong)


def test_no_command_stands_outside_of_a_bash_block() -> None:
    begun = re.compile(r"^\s*(?:\$ )?(?:python|pip|torchrun) -{0,2}\w", re.MULTILINE)
    found = [f"{file}: {line}" for file in DOCUMENTS for line in begun.findall(prose(file))]
    assert not found
    unnamed = [str(block) for file in DOCUMENTS for block in blocks(file, "") if begun.search(block.text)]
    assert not unnamed


def test_what_is_typed_on_each_host_is_what_a_run_says(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "sft")
    shared = {"strategy": "fsdp", "hosts": 2, "rendezvous": "10.0.0.1:29500"}
    write_json(run.config_json, {"distributed": shared, "devices": {"use": [f"cuda:{n}" for n in range(8)]}})
    folder = str(run.path.resolve())
    said = [line.replace(folder, "/shared/workspace/runs/RUN").replace(run.id, "RUN") for line in commands(run)]
    assert [line.text for line in command_lines("docs/scaling.md") if line.text.startswith("torchrun")] == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("python -m core sfft data.train=FILE", "no command `sfft`"),
        ("python -m core data chekc FILE", "no command `data chekc`"),
        ("python -m core sft --preset starter-gpu data.train=FILE", "no preset"),
        ("python -m core sft --preset starter-cpu data.trian=FILE", "data.trian"),
        ("python -m core sft --preset starter-cpu data.train=FILE optim.learning_rate=fast", "optim.learning_rate"),
        ("python -m core sft --preset starter-cpu data.train=FILE --detatch", "--detatch"),
        ("python -m core sft --preset starter-cpu data.train=gone.jsonl", "gone.jsonl"),
        ("python -m core reward --preset starter-cpu data.train=FILE", "preference"),
        ("python -m core ppo --preset starter-cpu data.train=PROMPTS rewards.models=RUN", "no reward model"),
        ("python -m core data check FILE --stage sfft", "--stage"),
        ("python -m core data export medical --to FILE.jsonl --as apalca", "apalca"),
        ("python -m core chat base_model=starter lora_modle=RUN", "lora_modle"),
        ("python -m core serve lora_model=my-stf", "my-stf"),
        ("python -m core model import SOURCE nmae=x", "nmae"),
        ("python -m core jobs resume my-sft optim.learning_rate=1", "learning_rate"),
        ("python -m core data get huatuo-liet", "huatuo-liet"),
        ("python run_webui.py --prot 1", "--prot"),
        ("python run_webui.py --host 0.0.0.0", "without a password"),
        ("GALEN_PASWORD=x python run_webui.py", "GALEN_PASWORD"),
        ("pip install -r requirement.txt", "requirement.txt"),
        ("python -m benchmarks.stf", "benchmarks/stf"),
        ("python -m benchmarks.sft --row 3", "--row"),
        ("curl http://127.0.0.1:8000/v1/chat", "/v1/chat"),
        ("ssh -N -L 7860:127.0.0.1:8080 HOST", "8080"),
        ("python -m core pipeline model.base=starter sft=starter-gpu sft.data.train=FILE", "starter-gpu"),
        ("torchrun --nodes 2 -m core.jobs.worker RUN", "--nodes"),
        ("torchrun --nnodes 2 -m core.jobs.workers RUN", "no such module"),
        ("make all", "tests/docs_checking.py"),
    ],
)  # fmt: skip
def test_a_command_that_nobody_could_type_is_found(place: Place, line: str, said: str) -> None:
    (command,) = commands_of(line)
    assert said in complaint(place, command)


@pytest.mark.parametrize("file", NOW)
def test_what_is_named_is_there(file: str) -> None:
    wrong = []
    for span in spans(file):
        found = wrong_setting(span.text) or wrong_path(span.text) or _wrong_word(span.text)
        wrong += [f"{span}\n    {found}"] if found else []
    text = (ROOT / file).read_text(encoding="utf-8")
    wrong += [f"{file}: no preset {name}" for name in PRESET.findall(text) if not known_preset(name)]
    assert not wrong, "\n".join(wrong)


def _wrong_word(text: str) -> str:
    """What is wrong with a command, an option or a variable of the environment that is named in running text."""
    if text.startswith("python "):
        return misnamed(commands_of(text)[0].words[1:])
    if re.fullmatch(r"--[a-z-]+", text) and text not in all_options():
        return f"no command has {text}"
    if re.fullmatch(r"(GALEN|HF)_[A-Z_]+", text) and not known_variable(text):
        return f"nothing reads {text}"
    return ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data.trian", "no setting"), ("lora.rank=many", "does not take"), ("lora.rank=-1", "does not take"),
        ("core/nothing.py", "there is no"), ("webui/pages/{data,nothing}.py", "nothing.py"), ("--dettach", "--dettach"),
        ("GALEN_NOTHING", "nothing reads"), ("python -m core data chek", "no command"),
        ("python -m core sft --preset none", "none"), ("python -m benchmarks.stf", "there is no"),
    ],
)  # fmt: skip
def test_a_name_of_nothing_is_found(text: str, said: str) -> None:
    assert said in (wrong_setting(text) or wrong_path(text) or _wrong_word(text))


@pytest.mark.parametrize("file", [file for file in DOCUMENTS if blocks(file, "python")])
def test_python_in_the_documents_compiles_and_imports_what_is_there(file: str) -> None:
    for block in blocks(file, "python"):
        for node in ast.walk(ast.parse(block.text, str(block))):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert all(hasattr(module, each.name) for each in node.names), block


def test_no_link_is_dead() -> None:
    wrong = []
    for file in DOCUMENTS:
        for link in links(file):
            name, _, anchor = link.text.partition("#")
            target = (ROOT / file).parent / name if name else ROOT / file
            there = target.exists() and target.resolve().is_relative_to(ROOT)
            if there and anchor:
                there = anchor in anchors(str(target.resolve().relative_to(ROOT)))
            wrong += [] if there else [str(link)]
    assert not wrong, "\n".join(wrong)


def test_the_pages_of_settings_are_what_the_declarations_say() -> None:
    made = pages()
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    assert sorted(there) == sorted(made)
    old = [name for name, text in made.items() if there[name] != text]
    assert not old, f"python -m webui.field_pages: {old}"


def test_the_readme_leads_to_its_other_language_and_says_as_much() -> None:
    english, chinese = (len(command_lines(file)) for file in ("README.md", "README.zh.md"))
    assert english == chinese
    assert any(link.text == "README.zh.md" for link in links("README.md"))
    assert any(link.text == "README.md" for link in links("README.zh.md"))


def test_a_command_is_found_in_its_line() -> None:
    line = "A=1 python -m core sft 'x=[a]' # no && more && pip install -r x > y"
    assert commands_of(line) == [Command(("python", "-m", "core", "sft", "x=[a]"), ("A=1",))]
    assert [each.words for each in commands_of("pip install x && python y > z | cat")] == [
        ("pip", "install", "x"), ("python", "y"), ("cat",)
    ]  # fmt: skip


def test_links_and_words_in_code_are_found_across_lines(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "`x` and [the\nother](b.md#c), `data.trian\n=1`\n\n```bash\n[d](e)\n```\n# A `b`: c!\n# A b c\n"
    )
    file = str(tmp_path / "a.md")
    assert [(each.line, each.text) for each in links(file)] == [(1, "b.md#c")]
    assert [each.text for each in spans(file)] == ["x", "data.trian =1", "b"]
    assert anchors(file) == {"a-b-c", "a-b-c-1"}


def test_the_architecture_page_shows_the_files_and_the_arrows_that_there_are() -> None:
    text = architecture_page.PAGE.read_text(encoding="utf-8")
    assert text == architecture_page.page(text), "python -m tests.architecture_page"
    listed = set(re.findall(r"^\| `([\w.]+/?)", text[text.index("## The tree") :], re.MULTILINE))
    there = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))}
    assert {name.rstrip("/") for name in listed} >= there - {"workspace", "shared"}
