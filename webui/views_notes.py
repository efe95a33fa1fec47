"""What people noted of a run, to be changed in place: star, tags, a few words. No gradio.

`NOTES_JS` tells the page of each change, and of which run it is, by the event `pick`; a text is told when its field is
left, a note also after a pause in typing, and one that the page was left with when it is opened again. Gradio changes
the elements that are there, and a field that was typed in keeps its text whatever is sent: it is given the new text
where it has become another run's, or has changed while nobody is in it.
"""

from __future__ import annotations

from core.notes import LONGEST_NOTE, LONGEST_TAG, Notes
from webui.figures import esc
from webui.text import t
from webui.views_lists import star

NOTES_JS = """
let typed = null, pause = 0;
const told = (what) => {
  clearTimeout(pause); typed = null;
  trigger('pick', {run: element.querySelector('.notes').dataset.run, ...what});
};
element.addEventListener('input', (e) => {
  if (e.target.dataset.field !== 'note') return;
  typed = {run: element.querySelector('.notes').dataset.run, note: e.target.value};
  clearTimeout(pause); pause = setTimeout(() => told(typed), 1000);
});
window.addEventListener('pagehide', () => { if (typed) galen.keep('note', typed); });
const left = () => {
  if (!window.galen?.ready) { setTimeout(left, 200); return; }
  const note = galen.kept('note', null);
  if (note) { galen.keep('note', null); trigger('pick', note); }
};
left();
element.addEventListener('click', (e) => {
  const star = e.target.closest('[data-star]'), tag = e.target.closest('[data-untag]');
  if (star) told({star: true});
  if (tag) told({untag: tag.dataset.untag});
});
element.addEventListener('change', (e) => {
  if (e.target.dataset.field) told({[e.target.dataset.field]: e.target.value});
});
new MutationObserver(() => {
  const run = element.querySelector('.notes')?.dataset.run;
  for (const field of element.querySelectorAll('[data-field]')) {
    const other = field.run !== run, news = field.sent !== field.defaultValue && field !== document.activeElement;
    if (other || news) field.value = field.defaultValue;
    [field.run, field.sent] = [run, field.defaultValue];
  }
}).observe(element, { childList: true, subtree: true, characterData: true, attributes: true });"""


def notes(run: str, found: Notes, lang: str) -> str:
    tags = "".join(
        f'<em class="tag">{esc(tag)}<button type="button" data-untag="{esc(tag)}" '
        f'aria-label="{esc(t("notes.untag", lang, tag=tag))}">×</button></em>'
        for tag in found.tags
    )
    return (
        f'<div class="notes" data-run="{esc(run)}"><div class="tags">{star(run, found.star, lang)}{tags}'
        f'<input type="text" data-field="tag" maxlength="{LONGEST_TAG}" '
        f'placeholder="{esc(t("notes.tag_hint", lang))}"></div>'
        f'<textarea data-field="note" rows="2" maxlength="{LONGEST_NOTE}" '
        f'placeholder="{esc(t("notes.note_hint", lang))}">{esc(found.note)}</textarea></div>'
    )
