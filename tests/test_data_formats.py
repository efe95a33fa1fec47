"""Row shapes: each becomes its canonical row, and each way of being wrong gets its own code."""

from __future__ import annotations

import pytest

from core.data.dialogue import RowError
from core.data.shapes.formats import convert, detect


def canonical(row: dict) -> dict:
    return convert(detect([row]).shape, row)


def turns(*texts: str, system: str | None = None) -> list[dict[str, str]]:
    said = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return [{"role": "system", "content": system}, *said] if system else said


def gpt(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


HH = "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant: "

GOOD = [
    ("sharegpt", {"conversations": gpt("q", "a", "q2", "a2")}, {"messages": turns("q", "a", "q2", "a2")}),
    ("sharegpt", {"system": "s", "conversations": gpt("q", "a")}, {"messages": turns("q", "a", system="s")}),
    ("sharegpt", {"conversations": [{"from": "system", "value": "s"}, *gpt(" q ", "a\n")]},
     {"messages": turns(" q ", "a\n", system="s")}),
    ("messages", {"messages": turns("q", "a", system="s"), "id": 3}, {"messages": turns("q", "a", system="s")}),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, *turns("q", "a")[1:]]},
     {"messages": turns("q", "a")}),
    ("alpaca", {"instruction": "i", "input": "", "output": "o", "text": "i o"}, {"messages": turns("i", "o")}),
    ("alpaca", {"instruction": "i", "input": "x", "output": "o", "system": "s", "history": [["q", "a"]]},
     {"messages": turns("q", "a", "i\nx", "o", system="s")}),
    ("prompt-response", {"prompt": "q", "completion": "a"}, {"messages": turns("q", "a")}),
    ("prompt-response", {"prompt": turns("q"), "completion": turns("", "a")[1:]}, {"messages": turns("q", "a")}),
    ("prompt-response", {"question": "q", "answer": "a"}, {"messages": turns("q", "a")}),
    ("text", {"text": "t", "source": "book"}, {"text": "t"}),
    ("preference", {"conversations": gpt("q"), "chosen": "c", "rejected": "r"},
     {"prompt": turns("q"), "chosen": turns("", "c")[1:], "rejected": turns("", "r")[1:]}),
    ("preference", {"question": "q", "system": "s", "response_chosen": "c", "response_rejected": "r", "history": []},
     {"prompt": turns("q", system="s"), "chosen": turns("", "c")[1:], "rejected": turns("", "r")[1:]}),
    ("preference", {"prompt": "q", "chosen": turns("q", "c"), "rejected": turns("q", "r"), "messages": turns("q", "c")},
     {"prompt": turns("q"), "chosen": turns("", "c")[1:], "rejected": turns("", "r")[1:]}),
    ("preference", {"chosen": HH + "c", "rejected": HH + "r"},
     {"prompt": turns("q1", "a1", "q2"), "chosen": turns("", "c")[1:], "rejected": turns("", "r")[1:]}),
    ("choice", {"question": "q", "A": "1", "B": "2", "C": "3", "D": "4", "answer": "b"},
     {"question": "q", "choices": ["1", "2", "3", "4"], "answer": "B"}),
    ("choice-options", {"question": "q", "options": {"A": "1", "B": "2"}, "answer_idx": "A", "answer": "1"},
     {"question": "q", "choices": ["1", "2"], "answer": "A"}),
    ("choice-options", {"question": "q", "option": {"A": "1", "B": "2", "C": "3", "D": ""}, "answer": "CA"},
     {"question": "q", "choices": ["1", "2", "3"], "answer": "AC"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "expected"), GOOD)
def test_every_shape_becomes_its_canonical_row(name: str, row: dict, expected: dict) -> None:
    shape = detect([row]).shape
    assert shape is not None
    assert shape.name == name
    assert canonical(row) == expected


BAD = [
    ({"conversations": []}, "data.empty_value", {"key": "conversations"}),
    ({"conversations": "q"}, "data.not_turns", {"found": "string"}),
    ({"conversations": [1]}, "data.turn_not_object", {"turn": 1}),
    ({"conversations": [{"speaker": "x"}]}, "data.turn_keys", {"found": "speaker"}),
    ({"conversations": [{"from": "function_call", "value": "x"}]}, "data.tool_role", {"role": "function_call"}),
    ({"conversations": gpt("q", " \n")}, "data.empty_turn", {"turn": 2, "role": "assistant"}),
    ({"conversations": gpt("q", 5)}, "data.turn_not_text", {"turn": 2, "found": "number"}),
    ({"conversations": gpt("q", "a", "q2")}, "data.no_answer", {}),
    ({"conversations": [*gpt("q"), *gpt("q", "a")]}, "data.same_role_twice", {"turn": 2, "role": "user"}),
    ({"conversations": gpt("q", "a")[::-1]}, "data.role_order", {"turn": 1, "found": "assistant"}),
    ({"messages": [*turns("q", "a"), *turns("q", "a", system="s")]}, "data.system_in_middle", {"turn": 3}),
    ({"messages": turns(system="only")}, "data.no_answer", {}),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "data.turn_parts", {"found": "image"}),
    ({"instruction": "i", "output": ""}, "data.empty_value", {"key": "output"}),
    ({"instruction": "i", "output": None}, "data.unknown_shape", {"found": "instruction, output"}),
    ({"instruction": "i", "output": 3}, "data.not_text", {"key": "output", "found": "number"}),
    ({"instruction": "i", "output": "o", "input": 3}, "data.not_text", {"key": "input"}),
    ({"instruction": "i", "output": "o", "history": [["q"]]}, "data.history_pair", {}),
    ({"text": "  "}, "data.empty_value", {"key": "text"}),
    ({"prompt": "q", "chosen": "a", "rejected": "a"}, "data.same_pair", {}),
    ({"prompt": "q", "chosen": "a", "rejected": ""}, "data.empty_value", {"key": "rejected"}),
    ({"chosen": "a", "rejected": "b"}, "data.no_prompt", {}),
    ({"prompt": "q", "chosen": turns("x", "a"), "rejected": turns("y", "b")}, "data.pair_prompts_differ", {"turn": 1}),
    ({"conversations": gpt("q", "a"), "chosen": "a", "rejected": "b"}, "data.no_question", {}),
    ({"question": "q", "A": "1", "B": "2", "answer": "E"}, "data.choice_answer", {"answer": "E"}),
    ({"Instruction": "i", "Response": "r"}, "data.unknown_shape", {}),
]


@pytest.mark.parametrize(("row", "code", "params"), BAD)
def test_every_wrong_row_gets_its_code(row: dict, code: str, params: dict) -> None:
    with pytest.raises(RowError) as caught:
        canonical(row)
    assert caught.value.code == code
    assert params.items() <= caught.value.params.items()


def test_wrong_keys_name_the_shape_that_is_near() -> None:
    with pytest.raises(RowError) as caught:
        canonical({"Instruction": "i", "outputs": "r"})
    assert "alpaca (instruction, input, output)" in caught.value.params["would"]


def test_the_shape_of_most_rows_is_that_of_the_file() -> None:
    found = detect([{"instruction": "i", "output": "o"}] * 3 + [{"text": "t"}, [1]])
    assert found.shape is not None
    assert (found.shape.name, found.matched, found.looked_at) == ("alpaca", 3, 5)
    assert "alpaca: 3 of the first 5 rows" in found.evidence.message
    with pytest.raises(RowError) as caught:
        convert(found.shape, {"text": "t"})
    assert caught.value.code == "data.missing_key"
    with pytest.raises(RowError) as caught:
        convert(found.shape, [1])
    assert (caught.value.code, caught.value.params["found"]) == ("data.not_object", "array")
