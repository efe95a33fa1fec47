"""Many prompts in a real Chromium: a file uploaded, answered, shown as it is, saved; a part of the Chat tab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.workspace import Workspace
from tests.browser_tools import only_run
from tests.conftest import conversations

pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_a_file_is_uploaded_and_answered(opened, ready: Workspace, tmp_path: Path) -> None:
    asked = [row["conversations"][0]["value"] for row in conversations(12)]
    asked[3] = "<b>bold</b> a<b && c>d"
    asked[5] = ""
    file = tmp_path / "asked.txt"
    file.write_text("\n".join(asked) + "\n", encoding="utf-8")
    page = opened("?tab=chat")
    page.tab.click("#part-predict-button")
    page.tab.click("#predict-start")
    page.tab.wait_for_selector(".f-data-file.has-error")  # nothing was chosen
    page.tab.set_input_files("#prompt-upload input[type=file]", str(file))
    page.wait_text("#prompt-note .notice.good", "asked.txt")
    page.tab.click("#prompt-ways [data-way=article]")
    page.wait_text("#part-predict .command", "generation.top_p=0.85")
    page.tab.click(".f-model-base input >> visible=true")
    page.tab.locator("[role=option][aria-label^='tiny']").first.click()
    page.fill("generation.max_new_tokens", "5")
    page.wait_text("#part-predict .command", "generation.max_new_tokens=5")
    page.tab.click("#predict-start")
    page.wait_text("#predict-head .badge", "Finished")
    page.wait_text("#predict-curves .notice", "11 of 12 lines answered")
    table = page.tab.locator("#predict-curves .predictions tbody")
    assert table.locator("tr").count() == 12
    assert table.locator("tr").nth(3).locator("td").nth(1).inner_text() == asked[3]
    assert "empty" in table.locator("tr").nth(5).inner_text()
    with page.tab.expect_download() as saved:
        page.tab.click("#predict-result a >> text=predictions.jsonl")
    lines = [json.loads(line) for line in Path(saved.value.path()).read_text(encoding="utf-8").splitlines()]
    assert [row["line"] for row in lines] == list(range(1, 13))
    run = only_run(ready)
    assert f"tab=predict&run={run.id}" in page.tab.url
    page.reload()
    page.wait_text("#predict-curves .notice", "11 of 12 lines answered")
    assert page.tab.is_visible("#part-predict-button[aria-selected=true]")
    page.tab.click("#part-chat-button")
    page.tab.wait_for_selector("#chat-question")
    page.wait("() => new URL(location.href).searchParams.get('tab') === 'chat'")
    page.go("sft")
    page.go("chat")
    assert page.tab.is_visible("#chat-question")
    page.tab.locator(f"#side-runs [data-run='{run.id}']").click()
    page.wait_text("#predict-curves .notice", "11 of 12 lines answered")
