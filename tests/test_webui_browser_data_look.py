"""Looking at a dataset in a real Chromium: search, sort, page, a row in three ways, mending it, figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.data.store import edits
from core.data.store.library import list_datasets
from core.workspace import Workspace
from tests.browser_tools import Page
from tests.look_tools import make_dataset, said

pytestmark = pytest.mark.browser


def rows_of(page: Page) -> list[str]:
    return page.tab.locator("#look-table tbody td.c-index").all_inner_texts()


@pytest.fixture
def looked(opened: Callable[..., Page], ready: Workspace) -> Page:
    rows = [said(f"question {at} <b>", "be " * (at % 60 + 1) + f"answer {at}") for at in range(130)]
    dataset = make_dataset(ready, rows, name="looked")
    page = opened(f"?tab=data&dataset={dataset.ref}")
    page.tab.wait_for_selector("#look-table tr[data-row]")
    return page


def test_rows_are_searched_sorted_and_paged(looked: Page) -> None:
    page = looked
    page.wait_text(".look-foot", "Rows 1–50 of 130")
    page.tab.click("#look-table th.c-chars .sort")
    page.tab.wait_for_selector("#look-table th.c-chars[aria-sort=ascending]")
    page.tab.click("#look-table th.c-chars .sort")
    page.tab.wait_for_selector("#look-table th.c-chars[aria-sort=descending]")
    assert rows_of(page)[:2] == ["120", "60"]
    page.tab.fill(".to-page", "3")
    page.tab.press(".to-page", "Enter")
    page.wait_text(".look-foot", "Rows 101–130 of 130")
    page.tab.fill("#look-search :is(input, textarea)", "ANSWER 12")
    page.tab.press("#look-search :is(input, textarea)", "Enter")
    page.wait_text(".look-foot", "Rows 1–11 of 11 found")
    assert page.tab.locator("#look-table mark").count() == 11
    page.tab.click(".look-foot [data-act=unsort]")
    page.wait("() => document.querySelectorAll('#look-table td.c-index')[1]?.textContent === '121'")
    assert rows_of(page) == ["13", *(str(number) for number in range(121, 131))]
    assert "<b>" in page.text("#look-table")  # shown, not obeyed


def test_a_row_is_seen_as_the_model_sees_it(looked: Page) -> None:
    page = looked
    page.tab.click("#look-table tr[data-row='49']")
    page.wait_text("#look-body .bubble.user", "question 49 <b>")
    page.tab.click("#look-pane label:nth-child(2)")
    page.tab.wait_for_selector("#look-body .tokens .tok.learnt")
    assert "<|im_start|>" in page.text("#look-body .tokens")
    page.wait_text("#look-body .pack", "this row comes up in step")
    page.tab.fill("#look-max_length :is(input, textarea)", "40")
    page.tab.press("#look-max_length :is(input, textarea)", "Enter")
    page.tab.wait_for_selector("#look-body .tokens .tok.cut")
    page.tab.click("#look-row-head [data-act=after]")
    page.wait_text("#look-row-head", "Row 51")
    page.tab.click("#language label:first-child")
    page.wait_text("#look-row-head", "第 51 行")
    page.tab.click("#look-row-head [data-act=close]")
    page.wait("() => !document.querySelector('#look-row-head .row-head')")


def test_rows_are_mended_and_saved_as_a_version(looked: Page, ready: Workspace) -> None:
    page = looked
    before = list_datasets(ready)[0]
    page.tab.click("#look-table tr[data-row='2']")
    page.tab.wait_for_selector("#look-row-head .row-head")
    page.tab.click("#look-pane label:nth-child(3)")
    answer = page.tab.locator("#look-body .editor textarea").nth(1)
    answer.fill(" ")
    page.tab.click("#look-body [data-act=change]")
    page.wait_text("#look-body .notice", "is empty")
    answer.fill("发烧要多喝水 <i>")
    page.tab.click("#look-body [data-act=change]")
    page.wait_text("#look-progress", "0 to drop, 1 edited")
    page.tab.click("#look-row-head [data-act=after]")
    page.wait_text("#look-row-head", "Row 4")
    page.wait("() => document.querySelectorAll('#look-body .editor textarea')[1].value.includes('answer 3')")
    page.tab.click("#look-row-head [data-act=drop]")
    page.tab.wait_for_selector("#look-table tr.gone")
    page.reload()  # nothing is lost
    page.wait_text("#look-progress", "1 to drop, 1 edited")
    assert edits.pending(ready, before).dropped == [3]
    page.tab.click("#look-progress [data-act=save]")
    page.wait_text("#look-progress", "Saved as looked@")
    page.wait_text("#look-table", "发烧要多喝水 <i>")
    page.wait_text(".look-foot", "Rows 1–50 of 129")
    made = list_datasets(ready)[0]
    assert made.card.parents == [before.ref]
    assert made.take([2])[0] == said("question 2 <b>", "发烧要多喝水 <i>")


def test_figures_are_drawn(looked: Page) -> None:
    page = looked
    page.tab.click("#look-show label:nth-child(2)")
    page.tab.wait_for_selector("#look-body svg.bars")
    page.wait_text("#look-body", "all 130 rows")
    assert page.tab.locator("#look-body svg.bars").count() == 3
    page.tab.click("#look-show label:nth-child(1)")
    page.tab.wait_for_selector("#look-table tr[data-row]")
