"""The Data tab in a real Chromium: bringing files in, what a check finds, the catalogue, addresses, the samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.store.library import import_file, list_datasets
from core.workspace import Workspace
from tests.browser_tools import Page, upload
from tests.conftest import conversations, write_jsonl
from tests.models_tools import local_hub
from tests.webui_tools import serve

pytestmark = pytest.mark.browser


def broken(count: int = 12) -> list[dict]:
    """Conversations of which the second row has no answer, the fourth no known key."""
    rows = conversations(count)
    rows[1]["conversations"][1]["value"] = ""
    rows[3] = {"wrong": "<img src=x onerror=alert(1)>"}
    return rows


def choose(page, picker: str, option: str) -> None:
    """Choose an entry of a Gradio dropdown by what it says."""
    page.tab.click(f"{picker} input")
    page.tab.get_by_role("option", name=option).first.click()


def big_file(path: Path, megabytes: int) -> Path:
    """Rows that take a while to check."""
    row = json.dumps({"conversations": conversations(1, seed=3, turns=20)[0]["conversations"]}, ensure_ascii=False)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(megabytes * 1_000_000 // len(row.encode())):
            file.write(f'{row[:-1]}, "id": {number}}}\n')
    return path


# -- files ------------------------------------------------------------------------------------------------------------
def test_two_files_at_once_each_get_a_report(opened, ready: Workspace, tmp_path: Path) -> None:
    good = write_jsonl(tmp_path / "good.jsonl", conversations(8))
    bad = write_jsonl(tmp_path / "bad.jsonl", broken())
    page = opened()
    upload(page, good, bad)
    page.wait_text(".waits", "8 rows, all usable")
    page.wait_text(".waits", "12 rows, 2 unusable")
    page.tab.locator(".waits", has_text="bad.jsonl").click()
    page.wait_text("#data-report", "10 of 12 rows can be used")
    page.tab.locator(".waits", has_text="good.jsonl").click()
    page.wait_text("#data-report", "All 8 rows can be used")
    assert page.tab.input_value("#data-name input") == "good"
    page.tab.click("#data-import")
    page.wait_text("#data-note", "Added good@")
    page.wait_text("#datasets", "good")
    page.tab.click("#data-discard")  # what is done with goes, the other one waits
    page.wait_text("#data-report", "10 of 12 rows can be used")


def test_bad_rows_are_shown_by_line_and_left_out(opened, ready: Workspace, tmp_path: Path) -> None:
    page = opened()
    upload(page, write_jsonl(tmp_path / "bad.jsonl", broken()))
    page.wait_text("#data-report", "10 of 12 rows can be used")
    assert page.tab.locator("#data-report td.line").all_inner_texts() == ["2", "4"]
    assert "<img src=x" in page.text("#data-report")  # as it was written, and not as an image
    assert page.tab.locator("#data-report img").count() == 0
    page.tab.click("#data-import-drop")
    page.wait_text("#data-note", "10 rows, 2 dropped")
    page.wait_text("#dataset-facts", "Dropped")
    [dataset] = list_datasets(ready)
    assert [row["line"] for row in dataset.dropped()] == [2, 4]
    page.reload()  # what was imported is still told, until it is put away
    page.go("data")
    page.wait_text("#data-note", "10 rows, 2 dropped")


def test_a_repair_says_what_it_changed(opened, ready: Workspace, tmp_path: Path) -> None:
    rows = conversations(6)
    rows[2]["conversations"].append({"from": "human", "value": "und noch <b>eine</b>?"})
    page = opened()
    upload(page, write_jsonl(tmp_path / "open.jsonl", rows))
    page.wait_text("#data-report", "5 of 6 rows can be used")
    page.tab.click("#data-repair")
    page.wait_text("#data-note", "Added open@")
    page.wait_text("#data-rows .diff", "und noch <b>eine</b>?")
    page.wait_text("#dataset-facts", "Mended")
    [dataset] = list_datasets(ready)
    assert (len(dataset), dataset.card.repaired) == (6, 1)


def test_the_shape_is_overruled_and_columns_are_mapped(opened, ready: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("frage,antwort\n" + "".join(f"warum {n}?,weil {n}\n" for n in range(9)), encoding="utf-8")
    page = opened()
    upload(page, file)
    page.wait_text("#data-report", "0 of 9 rows can be used")
    assert not page.tab.is_visible("#data-import")
    page.tab.wait_for_selector("#data-shape", state="visible")  # unfolded, as nothing was recognised
    choose(page, "#data-shape", "question and answer")
    page.tab.wait_for_selector("#data-column-1")
    choose(page, "#data-column-0", "frage")
    page.wait("() => document.querySelector('#data-column-0 input').value === 'frage'")
    choose(page, "#data-column-1", "antwort")
    page.wait_text("#data-rows", "warum 0?")  # the first rows are converted as one chooses
    page.wait_text("#data-report", "All 9 rows can be used")
    page.tab.click("#data-import")
    page.wait_text("#data-note", "Added table@")
    [dataset] = list_datasets(ready)
    assert dataset.rows(0, 1)[0]["messages"][1]["content"] == "weil 0"


def test_a_reload_in_the_middle_of_a_check_loses_nothing(opened, ready: Workspace, tmp_path: Path) -> None:
    file = big_file(ready.path / "big.jsonl", 60)
    page = opened("?tab=data")
    page.tab.fill("#data-path input", str(file))
    page.tab.click("#data-path-check")
    page.wait("() => document.querySelector('#data-work .progress, #data-report .check')")
    page.reload()
    page.wait_text("#data-report", "rows can be used")
    assert page.tab.input_value("#data-name input") == "big"
    page.tab.click("#data-import")  # over 32 MB: by a run of its own
    page.wait_text("#imports .import", "big.jsonl")
    page.reload()
    page.wait_text("#datasets .dataset", "big")
    page.wait_text("#data-note", "Added big@")
    assert file.is_file()  # it is the user's own, not an uploaded copy


def test_a_path_outside_is_refused(opened, ready: Workspace) -> None:
    page = opened("?tab=data")
    page.tab.fill("#data-path input", "/etc/hostname")
    page.tab.click("#data-path-check")
    page.wait_text("#bring-note", "/etc/hostname is outside the folders")


# -- catalogue and hub ------------------------------------------------------------------------------------------------
def test_the_catalogue_is_searched_and_filtered(opened, ready: Workspace) -> None:
    page = opened("?tab=data")
    page.wait_text("#catalogue .set", "shibing624/medical")
    page.tab.fill("#catalogue-search input", "huatuo26m")
    page.wait("() => document.querySelectorAll('#catalogue .set').length === 1")
    assert "apache-2.0" in page.text("#catalogue")
    page.tab.fill("#catalogue-search input", "")
    choose(page, "#catalogue-stage", "reward model")
    choose(page, "#catalogue-language", "Chinese")
    page.wait_text("#catalogue .set", "DPO-En-Zh-20k")
    page.wait("() => !document.querySelector('#catalogue').innerText.includes('HH-RLHF')")
    page.tab.fill("#catalogue-search input", "no such set")
    page.wait_text("#catalogue", "No set of the catalogue fits")


def test_what_is_no_dataset_id_is_told(opened, ready: Workspace, chat_file: Path) -> None:
    page = opened("?tab=data")
    page.tab.set_input_files("#upload input", str(chat_file))
    page.tab.wait_for_selector("#data-import")
    page.tab.fill("#hub-repo input", "medical")
    page.tab.click("#hub-import")
    page.wait_text("#bring-note", "'medical' is no dataset id")
    assert ready.runs() == []
    page.tab.click("#data-import")  # and is no matter to the next who succeeds
    page.tab.wait_for_selector("#bring-note .notice", state="detached")


@pytest.mark.slow
def test_a_set_of_a_hub_comes_by_a_run(browser, ready: Workspace, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_jsonl(tmp_path / "set" / "train.jsonl", broken(40))
    with local_hub(tmp_path / "set", "dataset") as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "hf")}
        with serve(ready, **environment) as url:
            page = Page(browser, url)
            page.open("?tab=data")
            page.tab.fill("#hub-repo input", "own/tiny")
            page.tab.fill("#hub-files input", "*.csv")
            page.tab.click("#hub-import")
            page.wait_text("#imports .import.failed", "no data file that matches *.csv. It holds train.jsonl")
            page.tab.click("#imports [data-act=dismiss]")
            page.wait("() => !document.querySelector('#imports .import')")
            page.tab.fill("#hub-files input", "*.jsonl")
            page.tab.click("#hub-import")
            page.wait_text("#imports .import.succeeded", "38 rows, 2 dropped")
            page.tab.click("#imports [data-act=look]")
            page.wait_text("#dataset-facts", "mit")  # the licence that the hub told
            page.wait_text("#datasets .dataset.chosen", "tiny")
            assert page.errors == []
            page.context.close()
    [dataset] = list_datasets(ready)
    assert (len(dataset), dataset.card.dropped, dataset.card.origin) == (38, 2, f"huggingface: own/tiny@{'c' * 40}")


# -- library ----------------------------------------------------------------------------------------------------------
def test_a_dataset_has_an_address(opened, ready: Workspace, chat_file: Path, tmp_path: Path) -> None:
    first = import_file(ready, chat_file, "first")
    import_file(ready, write_jsonl(tmp_path / "x.jsonl", conversations(3)), "second")
    page = opened(f"?dataset={first.ref}")
    page.wait_text("#dataset-facts", "first")
    page.wait_text("#datasets .dataset.chosen", "first")
    page.tab.locator("#datasets .dataset", has_text="second").click()
    page.wait("() => new URL(location.href).searchParams.get('dataset').startsWith('second@')")
    page.reload()
    page.wait_text("#datasets .dataset.chosen", "second")
    page.go("sft")
    page.wait("() => !new URL(location.href).searchParams.get('dataset')")


def test_an_empty_workspace_offers_the_samples(opened, ready: Workspace) -> None:
    page = opened("?tab=data")
    if not page.tab.locator("#use-samples").is_visible():
        pytest.skip("no samples ship with this copy")
    page.tab.click("#use-samples")
    page.wait_text("#datasets .dataset", "sample-sft")
    page.wait("() => !document.querySelector('#use-samples')?.checkVisibility()")


def test_the_tab_is_chinese_when_asked(opened, ready: Workspace, tmp_path: Path) -> None:
    page = opened("?tab=data", locale="zh-CN")
    upload(page, write_jsonl(tmp_path / "bad.jsonl", broken()))
    page.wait_text("#data-report", "12 行中有 10 行可用")
    shown = page.text(".stage.data")
    for word in ("Bring in", "Datasets", "Catalogue", "Import", "Discard", "Row shape", "not stated", "rows"):
        assert word not in shown, word
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= 1280
