"""What is stored and cached, as a table whose rows can be deleted. No gradio; `core.models.disk_use` finds it.

`DISK_JS` asks once more within the row, naming the runs that stop working, then tells the page: `pick` with the sort
and name, and with the run whose output it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.models.disk_use import Item
from webui.figures import esc, size
from webui.text import t
from webui.views import empty

NAMED = 6  # runs that are named before something that they need is deleted
DISK_JS = """element.addEventListener('click', (e) => {
  const button = e.target.closest('[data-do]'), row = button?.closest('tr');
  if (!row) return;
  if (button.dataset.do === 'remove') trigger('pick', {...row.dataset});
  row.classList.toggle('sure', button.dataset.do === 'ask');
});"""


def table(items: Sequence[Item], names: Mapping[str, str], lang: str) -> str:
    """The largest first, and how much it is in all. `names`: run id → name."""
    if not items:
        return empty(t("disk.none", lang))
    rows = "".join(_row(item, names, lang) for item in items)
    heads = f'<th>{esc(t("disk.name", lang))}</th><th></th><th class="number">{esc(t("disk.size", lang))}</th><th></th>'
    total = esc(t("disk.total", lang, size=size(sum(item.size for item in items))))
    return (
        f'<table class="table disk"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="quiet">{total}</p>'
    )


def _row(item: Item, names: Mapping[str, str], lang: str) -> str:
    buttons = "".join(
        f'<button type="button" class="to {kind}" data-do="{do}">{esc(t(key, lang))}</button>'
        for kind, do, key in (
            ("first", "ask", "disk.remove"), ("then danger", "remove", "disk.sure"), ("then", "keep", "disk.keep"),
        )
    )  # fmt: skip
    return (
        f'<tr data-sort="{item.sort}" data-name="{esc(item.name)}" data-run="{esc(item.run)}">'
        f"<td>{esc(item.name)}</td><td>{esc(t(f'disk.is_{item.sort}', lang))}"
        f'<span class="quiet"> {esc(_about(item, lang))}</span>{_warning(item, names, lang)}</td>'
        f'<td class="number">{esc(size(item.size))}</td><td class="doing">{buttons}</td></tr>'
    )


def _warning(item: Item, names: Mapping[str, str], lang: str) -> str:
    """What is said before it is deleted: whose work goes with it."""
    lost = [names.get(run, run) for run in item.needed]
    said = t("disk.breaks", lang, runs=", ".join(lost[:NAMED]) + (" …" if len(lost) > NAMED else "")) if lost else ""
    said += (" " if said else "") + t("disk.whole_run", lang) if item.run else ""
    return f'<p class="then">{esc(said)}</p>' if said else ""


def _about(item: Item, lang: str) -> str:
    parts = [t("disk.needed", lang, n=len(item.needed))] if item.needed else []
    parts += [t("disk.shares", lang, name=item.shares)] if item.shares else []
    parts += [t("disk.points", lang, path=item.points_to)] if item.points_to else []
    kinds = {"cache": "disk.remade", "download": "disk.goes_on"}
    parts += [t(kinds[item.sort], lang)] if item.sort in kinds else []
    return " · ".join(parts)
