"""What people noted of a run, to be changed in place: star, tags, a few words. No gradio.

`NOTES_JS` tells the page of each change by the event `pick`; a text is told when its field is left.
"""

from __future__ import annotations

from core.notes import LONGEST_NOTE, LONGEST_TAG, Notes
from webui.figures import esc
from webui.text import t
from webui.views_lists import star

NOTES_JS = """
element.addEventListener('click', (e) => {
  const star = e.target.closest('[data-star]'), tag = e.target.closest('[data-untag]');
  if (star) trigger('pick', {star: star.dataset.star});
  if (tag) trigger('pick', {untag: tag.dataset.untag});
});
element.addEventListener('change', (e) => {
  if (e.target.dataset.field) trigger('pick', {[e.target.dataset.field]: e.target.value});
});"""


def notes(run: str, found: Notes, lang: str) -> str:
    tags = "".join(
        f'<em class="tag">{esc(tag)}<button type="button" data-untag="{esc(tag)}" '
        f'aria-label="{esc(t("notes.untag", lang, tag=tag))}">×</button></em>'
        for tag in found.tags
    )
    return (
        f'<div class="notes"><div class="tags">{star(run, found.star, lang)}{tags}<input type="text" data-field="tag" '
        f'maxlength="{LONGEST_TAG}" placeholder="{esc(t("notes.tag_hint", lang))}"></div>'
        f'<textarea data-field="note" rows="2" maxlength="{LONGEST_NOTE}" '
        f'placeholder="{esc(t("notes.note_hint", lang))}">{esc(found.note)}</textarea></div>'
    )
