"""The doctor on rows that have the right shape and are wrong all the same; what it says of a file as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.__main__ import main
from core.configs.files import resolve
from core.data.check.doctor import KEPT_PROBLEMS, CheckReport, check_file, preview_rows
from core.data.check.faults import faults
from core.data.check.fit import Fit
from core.data.check.severity import severity_of
from core.data.encode.encoding import Encoder
from core.errors import ConfigError, DataError, Problem
from tests.conftest import build_tokenizer, conversations, write_jsonl


def chat(*texts: str, roles: str = "ua") -> dict:
    """A ShareGPT row; `roles` are u, a and s, repeated as needed."""
    names = {"u": "human", "a": "gpt", "s": "system"}
    return {"conversations": [{"from": names[roles[i % len(roles)]], "value": text} for i, text in enumerate(texts)]}


def pair(chosen: object, rejected: object, **more: object) -> dict:
    return {"prompt": "q", "chosen": chosen, "rejected": rejected, **more}


def dialogue(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def look(folder: Path, *rows: dict, good: int = 3) -> CheckReport:
    """The report on some good rows of the first row's shape, and `rows` behind them."""
    first = pair("a", "b") if "chosen" in rows[0] else chat("问题？", "回答。")
    return check_file(write_jsonl(folder / "rows.jsonl", [first] * good + list(rows)))


HH = "\n\nHuman: {0}\n\nAssistant: {1}\n\nHuman: q\n\nAssistant: {2}"
CASES: list[tuple[dict, str, dict]] = [
    (chat("q", "a", "b", "c", roles="uaau"), "data.same_role_twice", {"turn": 3, "before": 2, "role": "assistant"}),
    (chat("q", "r", "a", roles="uua"), "data.same_role_twice", {"turn": 2, "role": "user"}),
    (chat("q", "a", "s", "q", roles="uas"), "data.system_in_middle", {"turn": 3}),
    (chat("q", "a", roles="au"), "data.role_order", {"turn": 1, "found": "assistant"}),
    (chat("q", "a", "r"), "data.no_answer", {}),
    (chat("q", " \n"), "data.empty_turn", {"turn": 2}),
    (chat("q", "\u200b"), "data.nothing_visible", {"names": "U+200B"}),
    (chat("q", "q "), "data.answer_is_prompt", {"turn": 2}),
    (chat("q", "a", "?" * 40, "?" * 40), "data.answer_is_prompt", {"turn": 4}),
    ({"conversations": [{"from": "tool", "value": "{}"}]}, "data.tool_role", {"turn": 1, "role": "tool"}),
    ({"conversations": [{"from": "reasoning", "value": "…"}]}, "data.reasoning_role", {"turn": 1}),
    (pair("a ", " a"), "data.same_pair", {}),
    (pair("q", "b"), "data.answer_is_prompt", {"turn": 2}),
    (pair("a", dialogue("q", "b")), "data.pair_shapes", {"first": "string (1)", "second": "array (2)"}),
    (pair(dialogue("q", "a"), dialogue("q", "a", "q", "b")), "data.pair_shapes", {"first": "array (2)"}),
    (pair(dialogue("q", "a", "q", "a"), dialogue("q", "b", "q", "b")), "data.pair_prompts_differ", {"turn": 2}),
    (pair(HH.format("x", "a", "c"), HH.format("x", "b", "r")), "data.pair_prompts_differ", {"turn": 2}),
    (chat("q", 5), "data.turn_not_text", {"found": "number"}),  # type: ignore[arg-type]
    (chat("q", "bell\x07 and \x1b[1mbold"), "data.control_characters", {"count": 2, "names": "U+0007, U+001B"}),
    (chat("q", "锟斤拷锟斤拷"), "data.mojibake", {"found": "锟斤拷"}),
    (chat("q", "烫烫烫烫"), "data.mojibake", {}),
    (chat("q", "冒\ufffd\ufffd\ufffd湾"), "data.mojibake", {}),
    (chat("q", "Le cafÃ© est fermÃ©"), "data.double_encoded", {"found": "Ã© est fermÃ", "meant": "é est fe"}),
    (chat("q", "é—®é¢˜"), "data.double_encoded", {"meant": "问题"}),
    (chat("q", "浣犲ソ锛屼笘鐣?"), "data.mojibake", {}),  # "你好，世界" with a byte lost
    (chat("q", "糖尿病患者应注意饮食".encode().decode("gb18030")), "data.double_encoded", {}),
    (chat("q", "血压<br>血糖&nbsp;"), "data.markup", {"found": "<br>"}),
    (chat("q", "零\u200b宽"), "data.invisible_characters", {"count": 1}),
    (chat("q", "一个\ufffd字"), "data.replacement_character", {}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "code", "params"), CASES, ids=[f"{at}-{case[1]}" for at, case in enumerate(CASES)])
def test_what_is_wrong_with_a_row_is_named(tmp_path: Path, row: dict, code: str, params: dict) -> None:
    report = look(tmp_path, row)
    assert report.counts == {code: 1}
    [problem] = report.problems
    assert (problem.code, problem.line) == (code, 4)
    assert params.items() <= problem.params.items()
    assert report.usable == (3 if severity_of(code) == "error" else 4)
    assert "{" not in problem.message + problem.remedy
    assert problem.remedy
    assert (problem.excerpt or "").isprintable() or "\n" in (problem.excerpt or "")


FINE = [
    "CAFÉ… ÉTÉ, São Paulo, NÃO", "烫伤后用冷水冲，屯田", "“你好”——他说…", "37°C ± 2，5 µg", "鐵路、鋼鐵與金錢",
    "```html\n<div>x</div>\n```", "用 HTML 的 <br> 标签换行", "| 名称 | 功能 |\n| a | 甲<br>乙 |", "“锟斤拷”是一种乱码",
    "if a<b && c>d: x &= y", "第一行\t制表\r\n第二行", "👩‍⚕️ 👍🏽", "P<0.05 & n=12", "नमस्ते, สวัสดี, שלום", "E/A<1",
]  # fmt: skip


@pytest.mark.parametrize("text", FINE)
def test_ordinary_text_raises_no_alarm(tmp_path: Path, text: str) -> None:
    assert look(tmp_path, chat("q", text), chat(text, "a")).counts == {}


def test_a_short_echo_in_a_longer_dialogue_is_no_fault(tmp_path: Path) -> None:
    assert look(tmp_path, chat("你好", "你好", "再见", "再见")).ok


def test_a_key_that_stands_twice_is_found_however_it_is_written(tmp_path: Path) -> None:
    lines = [
        '{"instruction": "i", "output": "o"}',
        '{"instruction": "a", "instruction": "b", "output": "o"}',
        '{"instruction" : "spaces \\": before", "output" : "colons"}',
        '{"instruction":"i","output":"o","more":{"a":[{"b":1,"b":2}]}}',
        '{"instruction":"says \\"x\\": y","output":"ends in \\\\"}',
        '{"instruction":"i","output":"o","conversations":[{"from":"human","value":"x"}]}',
    ]
    path = tmp_path / "twice.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = {(problem.line, problem.code): problem for problem in check_file(path, format="alpaca").problems}
    assert set(found) == {(2, "data.duplicate_key"), (4, "data.duplicate_key")}
    assert [problem.params["key"] for problem in found.values()] == ["instruction", "b"]


def test_several_faults_of_a_row_are_all_told_and_it_counts_once(tmp_path: Path) -> None:
    report = look(tmp_path, chat("q", "\x07 and <br>"), chat("q", "q"))
    assert report.counts == {"data.control_characters": 1, "data.markup": 1, "data.answer_is_prompt": 1}
    assert (report.rows, report.usable, report.errors, report.warnings) == (5, 3, 2, 1)
    assert not report.ok


def test_warnings_alone_leave_every_row_usable(tmp_path: Path, capsys) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "甲<br>乙")])
    assert check_file(path).ok
    assert main(["data", "check", str(path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [problem["severity"] for problem in printed["problems"]] == ["warning"]


def test_errors_are_not_pushed_out_by_warnings(tmp_path: Path) -> None:
    rows = [chat("q", "甲<br>乙")] * (KEPT_PROBLEMS + 50) + [chat("q", "q")] * 3
    report = check_file(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert report.counts == {"data.markup": KEPT_PROBLEMS + 50, "data.answer_is_prompt": 3}
    assert len(report.problems) == KEPT_PROBLEMS
    assert [problem.line for problem in report.problems[-3:]] == [KEPT_PROBLEMS + 51 + i for i in range(3)]


def test_duplicates_are_counted_letter_by_letter_and_normalised(tmp_path: Path) -> None:
    rows = [
        chat("头痛，怎么办？", "休息。"),
        chat("头痛怎么办", "休息!"),
        chat("头痛，怎么办？", "休息。"),
        chat("不同", "休息。"),
    ]
    report = check_file(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert report.duplicates is not None
    assert (report.duplicates.exact, report.duplicates.normalised) == (1, 2)
    assert report.as_dict()["duplicates"] == {"exact": 1, "normalised": 2}


def test_every_stage_gets_its_verdict(tmp_path: Path, capsys) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("q", "a"), chat("q", "q")])
    report = check_file(path)
    verdicts = report.as_dict()["verdicts"]
    assert {stage for stage, one in verdicts.items() if one["fits"]} == {"sft", "pretrain", "ppo"}
    assert (verdicts["sft"]["usable"], verdicts["reward"]["usable"]) == (1, 0)
    assert "rejected" in verdicts["reward"]["why"]
    good = write_jsonl(tmp_path / "good.jsonl", [chat("q", "a")])
    assert main(["data", "check", str(good), "--stage", "sft"]) == 0
    assert main(["data", "check", str(good), "--stage", "reward"]) == 2
    assert "reward: no" in capsys.readouterr().out


def test_keys_that_nothing_reads_are_noted_once(tmp_path: Path) -> None:
    rows = [{**chat("q", "a"), "tags": "x", "category": "y", "source": "book"} for _ in range(3)]
    rows[0]["conversations"][0]["weight"] = 1
    report = check_file(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert report.ok
    [note] = report.notes
    assert (note.code, note.params["keys"]) == ("data.unused_keys", "tags, conversations[].weight")


def test_the_evidence_is_a_sentence(tmp_path: Path) -> None:
    said = check_file(write_jsonl(tmp_path / "rows.jsonl", conversations(3))).as_dict()["evidence"]
    assert said.startswith("`conversations` with `from`/`value`: ShareGPT → SFT")
    assert "3 of the first 3 rows" in said


def test_a_column_that_stands_twice_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("question,answer,answer\nq,a,b\n", encoding="utf-8")
    assert [note.code for note in check_file(path).notes] == ["data.column_twice"]


# -- overruling -------------------------------------------------------------------------------------------------------
def test_format_and_columns_overrule_what_was_detected(tmp_path: Path) -> None:
    rows = [{"frage": f"q{i}", "antwort": f"a{i}", "text": "t"} for i in range(3)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    assert check_file(path).format == "text"
    chosen = check_file(path, format="alpaca", columns={"instruction": "frage", "output": "antwort"})
    assert (chosen.usable, chosen.format, chosen.kind) == (3, "alpaca", "messages")
    found = check_file(path, columns={"question": "frage", "answer": "antwort"})
    assert found.format == "prompt-response"
    assert check_file(path, format="preference").counts == {"data.missing_key": 3}


@pytest.mark.parametrize(
    ("chosen", "code", "nearest"),
    [({"format": "alpacca"}, "data.no_such_shape", "alpaca"),
     ({"columns": {"instruction": "instructions"}}, "data.no_such_column", "instruction")],
)  # fmt: skip
def test_what_is_misspelt_is_told_with_the_nearest_name(tmp_path: Path, chosen: dict, code: str, nearest: str) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"instruction": "i", "output": "o"}])
    with pytest.raises(DataError) as caught:
        check_file(path, **chosen)
    assert (caught.value.code, caught.value.params["nearest"]) == (code, nearest)


def test_first_rows_are_shown_as_they_would_be_converted(tmp_path: Path) -> None:
    rows: list[dict] = [{"q": "1", "a": "2"}, {"q": "", "a": "x"}, *[{"q": "?", "a": "!"}] * 500]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    shown = preview_rows(path, "prompt-response", {"prompt": "q", "response": "a"}, count=3)
    assert [line for line, _, _ in shown] == [1, 2, 3]
    assert shown[0][1:] == (rows[0], {"messages": dialogue("1", "2")})
    assert isinstance(shown[1][2], Problem)
    assert shown[1][2].code == "data.empty_value"


def test_first_rows_of_a_broken_file_are_problems(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text" 1}\n', encoding="utf-8")
    [_, (line, raw, problem)] = preview_rows(path)
    assert isinstance(problem, Problem)
    assert (line, raw, problem.code) == (2, '{"text" 1}', "data.json_broken")


# -- with a model -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder(build_tokenizer(tmp_path_factory.mktemp("tokenizer")), max_length=40)


def test_rows_that_leave_no_label_and_prompts_over_the_context(tmp_path: Path, encoder: Encoder) -> None:
    rows = [chat("ba", "be"), chat("ba " * 60, "be"), chat("ba " * 300, "be"), chat("ba", "be", "bi", "bo " * 60)]
    report = check_file(write_jsonl(tmp_path / "rows.jsonl", rows), fit=Fit(encoder, context=100))
    assert [(problem.line, problem.code) for problem in report.problems] == [
        (2, "data.no_label_left"), (3, "data.prompt_over_context"),
    ]  # fmt: skip
    assert (report.rows, report.usable) == (4, 2)
    assert [(note.code, note.params["count"]) for note in report.notes] == [("data.rows_truncated", 1)]
    asked = check_file(
        write_jsonl(tmp_path / "p.jsonl", [pair("a", "b"), pair("a", "b", prompt="ba " * 300)]), fit=Fit(encoder, 100)
    )
    assert asked.counts == {"data.prompt_over_context": 1}


def test_the_command_takes_a_model(tmp_path: Path, tiny_model: Path, capsys) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [chat("ba", "be"), chat("ba " * 200, "be"), chat("ba " * 900, "be")])
    assert main(["data", "check", str(path), "--model", str(tiny_model), "--max-length", "64", "--json"]) == 2
    counts = json.loads(capsys.readouterr().out.splitlines()[-1])["counts"]
    assert counts == {"data.no_label_left": 1, "data.prompt_over_context": 1}  # the model reads 512 tokens


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("基因编码的蛋白质锟斤拷锟斤拷会降解", ["data.mojibake"]),  # genes encode, which is no talk of encodings
        ("The gene encoding insulin is called â€œINSâ€\x9d today", ["data.double_encoded"]),
        ("它的字符编码错了，所以显示锟斤拷锟斤拷", []),
        ('<p class="MsoNormal">Drink water</p>', ["data.markup"]),
        ('const A = () => <div className="app">x</div>', []),
    ],
)
def test_medicine_is_not_taken_for_talk_about_computers(text: str, codes: list[str]) -> None:
    assert [fault.code for fault in faults([text])] == codes


def test_a_number_beyond_reason_is_told_beside_its_setting() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("prepare", values={"recipe.inputs": ["a"], "recipe.steps": [{"do": "sample", "rows": 10**30}]})
    assert [problem.key for problem in caught.value.problems] == ["recipe.steps[0].rows"]
