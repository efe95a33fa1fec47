"""Which component shows which string, so that one switch can put the whole page into the other language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from webui.text import t

Says = Callable[[str], Any]  # language → value of one property


class Labels:
    """A registry filled while the page is built. `lang` is the language the page is served in."""

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self._items: list[tuple[Any, dict[str, Says]]] = []

    def add(self, component: Any, **properties: Says) -> Any:
        """Remember that these properties of `component` depend on the language."""
        self._items.append((component, properties))
        return component

    def button(self, key: str, **options: Any) -> gr.Button:
        button = gr.Button(t(key, self.lang), size="sm", **options)
        return self.add(button, value=lambda lang: t(key, lang))

    def html(self, render: Says, **options: Any) -> gr.HTML:
        """A static pane whose HTML is `render(lang)`."""
        return self.add(gr.HTML(render(self.lang), **options), value=render)

    def passing(self, elem_id: str) -> gr.HTML:
        """A pane for what a handler has to say once: empty at first, and again in the other language."""
        return self.add(gr.HTML("", elem_id=elem_id, elem_classes=["bare"]), value=lambda lang: "")

    def tab(self, key: str, **options: Any) -> gr.Tab:
        return self.add(gr.Tab(t(key, self.lang), **options), label=lambda lang: t(key, lang))

    def accordion(self, key: str, **options: Any) -> gr.Accordion:
        return self.add(gr.Accordion(t(key, self.lang), **options), label=lambda lang: t(key, lang))

    def field(self, kind: type, key: str, *, info: str = "", placeholder: str = "", **options: Any) -> Any:
        """An input of `kind` with a translated label, and translated help and placeholder where given."""
        says: dict[str, Says] = {"label": lambda lang: t(key, lang)}
        if info:
            says["info"] = lambda lang: t(info, lang)
        if placeholder:
            says["placeholder"] = lambda lang: t(placeholder, lang)
        first = {name: say(self.lang) for name, say in says.items()}
        return self.add(kind(**first, **options), **says)

    @property
    def components(self) -> list[Any]:
        return [component for component, _ in self._items]

    def updates(self, lang: str) -> list[dict[str, Any]]:
        """One update a component, in the order of `components`."""
        return [gr.update(**{name: say(lang) for name, say in says.items()}) for _, says in self._items]
