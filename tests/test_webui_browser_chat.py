"""The Chat tab in a real Chromium: panes, streaming, votes, edited and regenerated turns, what survives a reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core import talks
from core.data.store.library import list_datasets
from core.models.library import describe, write_card
from core.rundir import RunDir
from core.votes import votes
from core.workspace import Workspace
from tests.browser_tools import Page
from tests.conftest import build_tokenizer
from tests.models_tools import make_run
from tests.test_votes import elections
from tests.webui_tools import serve

pytestmark = pytest.mark.browser

EVIL = "<script>document.body.innerHTML = 'gone'</script> *a* `b`\n# c\n    if a < b && c > d:\n\t药 &amp; ${x} {{y}}"
LIVE = "document.querySelector('.reply.live')"
IDLE = f"() => !{LIVE} && document.querySelector('#chat-stop').disabled && document.querySelector('.reply-cell')"


@pytest.fixture
def tuned(ready: Workspace, tiny_model: Path) -> RunDir:
    return make_run(ready, tiny_model, name="tuned <b>", steps=(2,))


def settings(page: Page, **values: str) -> None:
    page.tab.click("button[data-drawer=settings]")
    for name, value in values.items():
        page.tab.fill(f"#chat-{name} input", value)
    page.tab.click("button[data-drawer=settings]")


def ask(page: Page, question: str) -> None:
    """Ask, and wait until every pane has answered."""
    count = page.tab.locator(".chat-turn").count()
    page.tab.fill("#chat-question textarea", question)
    page.tab.click("#chat-send")
    page.wait("(n) => document.querySelectorAll('.chat-turn').length === n[0]", count + 1)
    page.wait(IDLE)


def choose(page: Page, pane: str, value: str) -> None:
    page.tab.select_option(f"[data-pane={pane}] select[data-field=model]", value)
    page.wait(
        "(said) => document.querySelector(`[data-pane=${said[0]}] select`).dataset.value === said[1]", pane, value
    )


@pytest.mark.slow
def test_two_panes_are_asked_voted_on_edited_and_kept(opened, ready: Workspace, tuned: RunDir) -> None:
    page = opened("?tab=chat")
    assert page.tab.input_value("[data-pane=a] select[data-field=model]") == "tiny"  # the newest run, beside its base
    assert page.tab.input_value("[data-pane=b] select[data-field=model]") == tuned.id
    assert "medical advice" in page.text(".foot-row")
    settings(page, max_new_tokens="12", temperature="1")
    ask(page, EVIL)
    assert page.text(".asked-text") == EVIL
    names = page.tab.locator(".reply-cell .name").all_inner_texts()
    assert names == ["tiny", "tuned <b>"]
    weights = page.tab.locator(".weights").all_inner_texts()
    assert ["no adapter" in each for each in weights] == [True, False]

    page.tab.click(".vote button >> text=Right")
    page.wait_text(".reply-cell.won", "tuned <b>")
    (vote,) = votes(ready)
    assert vote.answers[1].prompt[-1]["content"] == EVIL
    first = [answer.text for answer in vote.answers]
    page.tab.click("button[data-drawer=wins]")
    page.wait_text(".wins", "100%")
    elections(ready, "a")  # the tiny model's own answers are no text that anybody could learn from
    page.tab.click("#chat-wins [data-do=dataset]")
    page.wait_text("#chat-wins .notice", "chat-votes@")
    assert [dataset.name for dataset in list_datasets(ready)] == ["chat-votes"]
    page.tab.click("button[data-drawer=wins]")

    ask(page, "second")
    page.reload()
    page.wait("() => document.querySelectorAll('.chat-turn').length === 2")
    assert page.tab.locator(".reply-cell.won").count() == 1
    assert page.tab.input_value("#chat-max_new_tokens input") == "12"  # so are the settings

    page.tab.click("#chat-now [data-act=again]")  # the next seed; what stands before it stays
    page.wait_text("#chat-now .seed", "seed 43")
    page.wait(IDLE)
    assert page.text("#chat-past .seed") == "seed 42"
    page.tab.click("#chat-past [data-act=edit]")
    assert page.tab.input_value("#chat-past textarea") == EVIL
    page.tab.fill("#chat-past textarea", "edited")
    page.tab.click("#chat-past [data-act=ask]")
    page.wait_text(".asked-text", "edited")
    page.wait(IDLE)
    assert page.tab.locator(".asked-text").all_inner_texts() == ["edited", "second"]  # both asked anew
    assert page.tab.locator(".reply-cell.won").count() == 0  # nobody has voted on these
    assert page.tab.locator(".reply").count() == 4
    assert [answer.text for answer in votes(ready)[0].answers] == first  # and the vote on the others stands


@pytest.mark.slow
def test_names_are_hidden_until_the_vote(opened, ready: Workspace, tuned: RunDir) -> None:
    page = opened("?tab=chat")
    page.tab.check("#chat-blind input")
    settings(page, max_new_tokens="8")
    ask(page, "ba")
    assert page.tab.locator(".reply-cell .name, .made").count() == 0
    assert page.tab.locator(".contestant select").first.is_disabled()
    page.tab.click(".vote button >> text=Tie")
    page.wait("() => document.querySelectorAll('.reply-cell .name').length === 2")
    (vote,) = votes(ready)
    assert vote.blind
    assert [answer.name for answer in vote.answers] == page.tab.locator(".reply-cell .name").all_inner_texts()
    assert page.tab.locator(".contestant select").first.is_enabled()


@pytest.mark.slow
def test_up_to_four_panes_and_another_checkpoint(opened, ready: Workspace, tuned: RunDir) -> None:
    page = opened("?tab=chat")
    for count in (3, 4):
        page.tab.click("[data-act=add]")
        page.wait("(n) => document.querySelectorAll('.contestant').length === n[0]", count)
    assert page.tab.locator("[data-act=add]").count() == 0
    choose(page, "c", tuned.id)
    page.tab.select_option("[data-pane=c] select[data-field=which]", "step-2")
    page.wait("() => document.querySelector('[data-pane=c] select.which').dataset.value === 'step-2'")
    page.tab.select_option("[data-pane=d] select[data-field=model]", label="A folder …")
    page.tab.fill("[data-pane=d] input.other", "/etc")
    page.tab.keyboard.press("Enter")
    page.wait("() => document.querySelector('[data-pane=d] select').dataset.value === '/etc'")
    settings(page, max_new_tokens="8")
    ask(page, "ba")
    assert page.tab.locator(".cols-4 .reply-cell").count() == 4
    assert "tuned <b> · step 2" in page.tab.locator(".reply-cell .name").all_inner_texts()
    assert "outside the folders" in page.text(".reply-cell[data-pane=d] .notice")  # of this pane alone
    assert page.tab.locator(".made .weights").count() == 3
    assert page.tab.locator(".vote button").all_inner_texts() == [
        "A is best",
        "B is best",
        "C is best",
        "Tie",
        "All bad",
    ]
    page.tab.click("[data-pane=d] [data-act=drop]")
    page.wait("() => document.querySelectorAll('.cols-3 .reply-cell').length === 3")
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.slow
def test_a_conversation_is_saved_opened_downloaded_and_deleted(
    opened, ready: Workspace, tuned: RunDir, tmp_path: Path
) -> None:
    page = opened("?tab=chat")
    settings(page, max_new_tokens="8")
    page.tab.click("button[data-drawer=saved]")
    page.tab.click("#chat-saved [data-do=save]")
    page.wait_text("#chat-saved .notice", "nothing to save yet")
    ask(page, EVIL)
    page.tab.fill("#chat-saved [data-name]", "发烧 <b>")
    page.tab.click("#chat-saved [data-do=save]")
    page.wait_text("#chat-saved .notice", "cannot be a name")
    page.tab.fill("#chat-saved [data-name]", "发烧")
    page.tab.click("#chat-saved [data-do=save]")
    page.wait_text("#chat-saved .open", "发烧")
    with page.tab.expect_download() as download:
        page.tab.click("#chat-saved [data-do=download]")
    download.value.save_as(tmp_path / "chat.md")
    assert f"```text\n{EVIL}\n```" in (tmp_path / "chat.md").read_text()
    said = page.tab.locator(".reply").all_inner_texts()
    page.tab.click("#chat-clear")
    page.wait("() => !document.querySelector('.chat-turn')")
    page.tab.click("#chat-saved .open")
    page.wait("() => document.querySelectorAll('.reply').length === 2")
    assert page.tab.locator(".reply").all_inner_texts() == said
    page.tab.click("#chat-saved [data-do=delete]")
    page.tab.click("#chat-saved [data-do=delete] >> text=Really")
    page.wait_text("#chat-saved", "None is saved yet")
    assert talks.saved(ready) == []


# -- while it streams -------------------------------------------------------------------------------------------------
def build_talkative(folder: Path) -> None:
    """A model that takes its time and never ends by itself: deep enough, and its end token is never the likeliest."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=1024, num_hidden_layers=12, num_attention_heads=8,
        max_position_embeddings=8192, tie_word_embeddings=False, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[:3] = 0  # the control tokens
    model.save_pretrained(folder)


@pytest.fixture
def talkative(ready: Workspace) -> None:
    folder = ready.models_dir / "talkative"
    build_talkative(folder)
    write_card(folder, describe(folder, "talkative", "folder", str(folder), weights=[]))


@pytest.mark.slow
def test_an_answer_streams_and_stop_keeps_what_there_is(opened, ready: Workspace, talkative: None) -> None:
    page = opened("?tab=chat")
    choose(page, "a", "talkative")
    settings(page, max_new_tokens="6000", temperature="0")
    page.tab.fill("#chat-question textarea", "ba")
    page.tab.click("#chat-send")
    page.wait(f"() => {LIVE}?.innerText.length > 20")
    before = len(page.text(".reply"))
    page.wait(f"(n) => {LIVE}?.innerText.length > n[0]", before)
    page.tab.click("#chat-stop")
    page.wait(IDLE)
    assert len(page.text(".reply")) > before
    assert "stopped" in page.text(".made")
    settings(page, temperature="hot")
    page.tab.fill("#chat-question textarea", "again")
    page.tab.click("#chat-send")
    page.wait_text("#chat-status", "'hot' cannot be used here. Allowed: a number ≥ 0, ≤ 2")
    settings(page, temperature="0")
    page.tab.click("#chat-send")
    page.wait(f"() => {LIVE}?.innerText.length > 20")
    page.reload()  # in the middle of an answer: what there was of it is there still
    page.wait("() => document.querySelectorAll('.chat-turn').length === 2")
    page.wait("() => document.querySelector('#chat-now .reply')?.innerText.length > 20")
    page.wait_text("#chat-now .made", "stopped")
    page.tab.fill("#chat-question textarea", "once more")
    page.tab.click("#chat-send")
    page.wait("() => document.querySelector('#chat-now .reply.live')?.innerText.length > 20")
    page.tab.click("#chat-clear")  # in the middle of an answer: nothing of it comes back
    page.wait("() => document.querySelector('#chat-stop').disabled && !document.querySelector('.chat-turn')")
    page.reload()
    assert page.tab.locator(".chat-turn").count() == 0


# -- the chat alone ---------------------------------------------------------------------------------------------------
@pytest.fixture
def guest(browser, ready: Workspace, tuned: RunDir) -> Iterator[Page]:
    with serve(ready, "--chat", "base_model=tiny", f"lora_model=base,{tuned.id}") as url:
        page = Page(browser, url, "zh-CN")
        yield page
        page.context.close()
    assert page.errors == []
    assert page.outside == []


@pytest.mark.slow
def test_the_chat_alone_shows_its_models_and_nothing_else(guest: Page, ready: Workspace, tuned: RunDir) -> None:
    page = guest
    assert page.tab.locator("[role=tab], #side-runs").count() == 0
    page.wait("() => document.querySelectorAll('.contestant select').length === 2")
    offered = page.tab.locator("[data-pane=a] option").all_inner_texts()
    assert offered == ["请选择……", "tiny", "tuned <b>"]
    assert str(ready.path) not in page.tab.content()
    settings(page, max_new_tokens="8")
    for ident in ("reward", "device", "free"):
        assert not page.tab.is_visible(f"#chat-{ident}")
    ask(page, EVIL)
    assert page.text(".asked-text") == EVIL
    assert page.tab.locator(".made .weights").count() == 2
    page.tab.click(".vote button >> text=左边")
    page.wait_text(".reply-cell.won", "tiny")
    assert len(votes(ready)) == 1
    page.tab.click("button[data-drawer=saved]")
    assert page.tab.locator("#chat-saved [data-do]").all_inner_texts() == ["下载 Markdown"]
    page.tab.click("#language >> text=English")
    page.wait_text("#chat-send", "Send")
    page.wait_text(".vote", "Which is better?")
    page.reload()
    page.wait("() => document.querySelectorAll('.reply').length === 2")
    assert page.text("#chat-send").strip() == "Send"
