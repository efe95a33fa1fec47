"""The Look part without a browser: what its views say, and what its panes answer to a session."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from core.data.look.pieces import Piece
from core.data.look.tokens import Reading
from core.data.look.view import Query, View
from core.data.store import edits
from core.data.store.dataset import Dataset, Meta
from core.errors import StopRequested
from core.models.library import describe, write_card
from core.workspace import Workspace
from tests.conftest import build_tokenizer
from tests.look_tools import make_dataset, said
from webui import look_tokens, look_work, views_figures, views_look, views_tokens
from webui.look_row import RowPane
from webui.look_state import LookState
from webui.look_table import TablePane
from webui.look_tokens import Options
from webui.look_work import Desk
from webui.text import t

NASTY = "<img src=x onerror=alert(1)> & \"quotes\" 'too'\n\n second"


@pytest.fixture
def dataset(workspace: Workspace) -> Dataset:
    return make_dataset(workspace, [said(f"{NASTY} {at}", f"answer {at}\n</textarea><b>") for at in range(120)])


def texts(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html)


def drawn(pane: TablePane, state: LookState, dataset: Dataset, lang: str = "en") -> tuple[str, Any]:
    """The bar and the table once no work is under way."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pending = edits.pending(pane.workspace, dataset)
        bar, table, busy = pane.draw(state, dataset, pending, lang, "session")
        if not busy:
            return bar, table
    raise AssertionError("the table is not ready")


# -- views ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_rows_are_shown_exactly_and_escaped(workspace: Workspace, dataset: Dataset, lang: str) -> None:
    view = View(workspace, dataset)
    query = Query(search="<IMG")
    page = view.page(view.positions(query), 1, search=query.search)
    html = views_look.table(page, query, "messages", edits.Edits(dropped=[1], changed={2: {}}), 3, lang)
    assert "<img" not in html
    assert "<mark>&lt;img</mark> src=x" in html
    assert 'data-row="1" tabindex="0" class="gone"' in html
    assert 'data-row="2" tabindex="0" class="edited"' in html
    assert 'data-row="3" tabindex="0" class="chosen"' in html
    foot = views_look.foot(page, query, 50, lang)
    assert t("look.rows_found", lang, first="1", last="50", total="120") in texts(foot)
    assert 'data-page="3"' in foot
    row = dataset.take([5])[0]
    bubbles = views_look.bubbles("messages", row, "", lang)
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; &quot;quotes&quot; &#x27;too&#x27;\n\n second 5" in bubbles
    editor = views_look.editor("messages", row, "k", "", False, lang)
    assert editor.count("<textarea") == 2
    assert "&lt;/textarea&gt;&lt;b&gt;" in editor


def test_heads_say_how_the_table_is_sorted(workspace: Workspace, dataset: Dataset) -> None:
    view = View(workspace, dataset)
    query = Query(sort="chars", descending=True)
    page = view.page(view.positions(query), 2)
    html = views_look.table(page, query, "messages", edits.Edits(), None, "en")
    assert 'class="c-chars" aria-sort="descending"' in html
    assert html.count('aria-sort="none"') >= 3
    assert "Characters, largest first" in views_look.foot(page, query, 50, "en")
    nothing = view.page(view.positions(Query(search="nowhere")), 1)
    assert t("look.nothing", "zh") in views_look.table(nothing, query, "messages", edits.Edits(), None, "zh")


def test_every_kind_has_its_bubbles() -> None:
    pair = {
        "prompt": [{"role": "user", "content": "p"}],
        "chosen": [{"role": "assistant", "content": "c"}],
        "rejected": [{"role": "assistant", "content": "r"}],
    }
    html = views_look.bubbles("preference", pair, "", "en")
    assert html.index("bubble assistant chosen") < html.index("bubble assistant rejected")
    ranked = {"prompt": pair["prompt"], "answers": [{"content": "x", "score": 2.5}, {"content": "y", "score": None}]}
    assert "Answer 1 · score 2.5" in views_look.bubbles("ranked", ranked, "", "en")
    choice = {"question": "q", "choices": ["a", "b"], "answer": "B"}
    assert '<li class="right"><b>B</b>b <em>right</em></li>' in views_look.bubbles("choice", choice, "", "en")
    assert "plain" in views_look.bubbles("text", {"text": "x"}, "", "en")


def test_tokens_are_shaded_struck_and_told_apart() -> None:
    pieces = [
        Piece((1,), "<|im_start|>", "", False, False, True),
        Piece((5, 6), "饕", "", True, False, False),
        Piece((7,), "", "E9", True, False, False),
        Piece((8,), "a\n<b>", "", False, True, False),
    ]
    html = views_tokens.readings([Reading("row", pieces, 4, 3, 1)], "sft", 4, "en")
    assert '<span class="tok read special" title="token 1">&lt;|im_start|&gt;</span>' in html
    assert 'class="tok learnt joined" title="2 tokens that make a character together: 5 6">饕' in html
    assert 'class="tok learnt raw" title="part of a character: bytes E9, token 7">E9' in html
    assert 'class="tok cut"' in html
    assert "↵</i>\n&lt;b&gt;" in html
    assert "4 tokens" in html
    assert "3 learnt (75%)" in html
    assert "1 cut off" in html
    many = [Piece((at,), "x", "", False, True, False) for at in range(1000)]
    long = views_tokens.readings(
        [Reading("chosen", many, 0, 0, 1000), Reading("rejected", refused="no")], "reward", 4, "zh"
    )
    assert long.count('class="tok cut"') == 2 * views_tokens.CUT_SHOWN + 1  # and one in the key
    assert t("look.more_tokens", "zh", n="760") in long
    assert t("look.refused", "zh", reason="no") in long
    assert "side-by-side" in long


def test_blocks_of_text_have_borders() -> None:
    pieces = [Piece((at,), "x", "", True, False, False) for at in range(10)]
    html = views_tokens.readings([Reading("row", pieces, 10, 9, 0, [4, 8])], "pretrain", 4, "en")
    assert html.count('class="border"') == 2
    assert "3 blocks of at most 4" in html


def test_histograms_are_drawn() -> None:
    html = views_figures.bar_chart([0, 10, 20, 30], [5, 0, 2], "en", limit=12)
    assert html.count("<rect") == 3
    assert "0–9: 5 rows" in html
    assert 'class="limit"' in html
    assert "bar-of past" in html


# -- panes ------------------------------------------------------------------------------------------------------------
def test_the_table_answers_and_keeps_its_place(workspace: Workspace, dataset: Dataset) -> None:
    pane = TablePane(workspace, Desk())
    state = LookState(ref=dataset.ref)
    _, table = drawn(pane, state, dataset)
    assert "Rows 1–50 of 120" in texts(table)
    state = state.clicked({"sort": "chars"})
    _, table = drawn(pane, state, dataset)
    assert 'aria-sort="ascending"' in table
    state = state.clicked({"page": "99"})
    assert "Rows 101–120 of 120" in texts(drawn(pane, state, dataset)[1])
    state = state.clicked({"page": "what"}).clicked({"row": "7"})
    assert (state.page, state.row) == (99, 7)
    assert state.clicked({"act": "flip"}).query.descending
    assert state.clicked({"act": "unsort"}).query == Query()
    edits.drop(workspace, dataset, [0])
    assert "1 to drop, 0 edited" in drawn(pane, state, dataset)[0]


def test_a_search_shows_what_it_has_found_so_far(
    workspace: Workspace, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = [True]

    def slow(self: View, query: Query, *, on_found: Any, check_stop: Any) -> Any:
        found = real(self, query, on_found=on_found, check_stop=check_stop)
        self.columns.folder.joinpath(f"{query.name}.npy").unlink()  # as if there were more to read
        while goes_on[0]:
            check_stop()
            time.sleep(0.01)
        return found

    real = View.positions
    View(workspace, dataset).build()
    monkeypatch.setattr(View, "positions", slow)
    desk = Desk()
    pane = TablePane(workspace, desk)
    state = LookState(ref=dataset.ref, query=Query(search="answer 11"))
    deadline = time.monotonic() + 20
    table = ""
    while not table and time.monotonic() < deadline:
        bar, table, busy = pane.draw(state, dataset, edits.Edits(), "en", "session")
        assert busy
    assert "11 found so far" in texts(bar)
    assert table.count("<tr data-row") == 11
    desk.stop("session", "table")
    bar, table, busy = pane.draw(state, dataset, edits.Edits(), "en", "session")
    assert not busy
    assert t("look.stopped", "en") in texts(bar)
    assert table.count("<tr data-row") == 11
    goes_on[0] = False
    desk.forget("session", "table")  # asked for again
    assert "Rows 1–11 of 11 found" in texts(drawn(pane, state, dataset)[1])


def test_work_that_nobody_waits_for_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_work, "ABANDONED", 0.3)
    desk = Desk()

    def endless(tell: Any, check: Any) -> None:
        while True:
            check()
            time.sleep(0.01)

    first = desk.ask("session", "table", 1, endless)
    assert first.alive
    assert first.wait(5)
    with pytest.raises(StopRequested):
        first.result()
    other = desk.ask("session", "table", 2, endless)
    desk.ask("session", "table", 3, lambda tell, check: 3)
    assert other.wait(5)  # one of a sort at a time
    assert desk.ask("session", "table", 3, endless).result() == 3
    assert desk.known("session", "table", 2) is None


def test_a_row_is_read_and_mended(workspace: Workspace, dataset: Dataset) -> None:
    pane = RowPane(workspace, Desk())
    state = LookState(ref=dataset.ref, row=3, pane="edit")
    assert pane.head(state, dataset, edits.Edits(), "en") == ""  # until the figures are known
    View(workspace, dataset).build()
    assert "Row 4" in pane.head(state, dataset, edits.Edits(), "en")
    options = Options("", "sft")
    wrong = pane.act(state, dataset, "change", ["question", " "])
    html, _ = pane.show(wrong, dataset, edits.Edits(), options, "en", "session")
    assert "Turn 2 (assistant) is empty" in html
    assert ">\nquestion</textarea>" in html  # what was typed is still there
    assert pane.act(state, dataset, "change", ["one text"]) == state  # another row's fields
    noted = pane.act(state, dataset, "change", ["问题", "答案"])
    pending = edits.pending(workspace, dataset)
    assert pending.changed[3] == said("问题", "答案")
    html, _ = pane.show(noted, dataset, pending, options, "zh", "session")
    assert t("look.noted", "zh") in html
    assert "edited" in pane.head(state, dataset, pending, "en")
    dropped = pane.act(noted, dataset, "drop", [])
    assert dropped.note == ""
    assert edits.pending(workspace, dataset).dropped == [3]
    pane.act(state, dataset, "keep", [])
    assert len(edits.pending(workspace, dataset)) == 0
    assert pane.show(LookState(ref=dataset.ref, row=999), dataset, pending, options, "en", "session") == ("", False)


@pytest.fixture
def tiny(workspace: Workspace, tmp_path: Path) -> str:
    """A model of the workspace that is little more than a tokenizer."""
    folder = tmp_path / "tiny"
    build_tokenizer(folder)
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (workspace.models_dir / "tiny").mkdir()
    card = describe(folder, "tiny", "folder", str(folder), weights=[], points_to=str(folder))
    write_card(workspace.models_dir / "tiny", card)
    return "tiny"


def test_the_category_of_a_row_is_told(workspace: Workspace) -> None:
    dataset = make_dataset(workspace, [said("q", "a")], metas=[Meta(1, category="heart <b>")])
    View(workspace, dataset).build()
    state = LookState(ref=dataset.ref, row=0)
    assert "heart &lt;b&gt;" in RowPane(workspace, Desk()).head(state, dataset, edits.Edits(), "en")


def test_tokens_here_and_in_a_helper_are_the_same(
    workspace: Workspace, dataset: Dataset, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(tiny, "sft", max_length=60)
    edits.change(workspace, dataset, 4, said("another question", "another answer"))
    pending = edits.pending(workspace, dataset)
    here = [look_tokens.see_row(workspace, dataset.ref, row, pending, options, lambda: None) for row in (3, 4)]
    assert here[0].shared is not None
    assert (here[1].packed, here[1].shared) == (False, None)
    monkeypatch.setattr(look_tokens, "needs_torch", lambda folder: True)
    there = [look_tokens.see_row(workspace, dataset.ref, row, pending, options, lambda: None) for row in (3, 4)]
    assert there == here

    def stop() -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        look_tokens.see_row(workspace, dataset.ref, 3, pending, options, stop)


def test_figures_come_before_their_tokens(workspace: Workspace, dataset: Dataset, tiny: str) -> None:
    pane = TablePane(workspace, Desk())
    options = Options(tiny, "sft", max_length=60)
    deadline = time.monotonic() + 30
    working = True
    while working and time.monotonic() < deadline:
        html, working = pane.figures(dataset, options, "en", "session")
    assert "120 rows" in texts(html).replace("120", "120 ").replace("  ", " ")
    assert "all 120 rows" in html
    none, working = pane.figures(dataset, Options("", "sft"), "en", "other")
    assert t("look.no_model", "en") in texts(none) or working
