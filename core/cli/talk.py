"""A model in this process that answers a terminal: for what the chat server does not do.

Another tokenizer, an adapter in `.bin` form, or no template: then what was typed is a text that the model goes on with.
Base, chain and adapter are merged as for a prediction (`core.evaluation.predictor`), and the device is claimed beside
chat servers. One model answers. Imports torch when it is made.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from core.configs.predict import Answering
from core.errors import InputError
from core.jobs.queue import Holder
from core.models.answering import check_tokenizer, find_answerer
from core.models.families import check_type
from core.models.library import STARTER
from core.serving import place
from core.serving.client import Answer
from core.serving.options import ChatOptions
from core.serving.session import choose_device
from core.serving.text import Detokeniser
from core.workspace import Workspace


class Talker:
    """`device` is what the user calls it. `ask` has the form that `core.cli.chat` wants."""

    def __init__(self, workspace: Workspace, options: ChatOptions, *, on_progress: Callable[[str], None]) -> None:
        """Raises InputError `chat.one_model`, DeviceError, and ModelError for what cannot answer."""
        if len(options.lora_model) > 1:
            raise InputError("chat.one_model", names=", ".join(options.lora_model))
        lora = next((name for name in options.lora_model if name != "base"), "")
        settings = Answering(
            tokenizer=str(check_tokenizer(options.tokenizer_path)) if options.tokenizer_path else "",
            template=options.template,
            trust_remote_code=options.trust_remote_code,
        )
        found = find_answerer(workspace, options.base_model or ("" if lora else STARTER), lora)
        check_type(found.parent.folder, options.model_type)
        holder = Holder(run=f"{place.HOLDER} in a terminal", workspace=str(workspace.path), pid=os.getpid())
        taken = place.take(choose_device(options.place, workspace), holder)
        self.options, self.device, self._claim = options, taken.shown, taken
        on_progress("importing")
        from core.evaluation.predictor import load_speaker
        from core.models.loading import resolve_dtype

        on_progress("loading")
        self._facts = {"base": found.parent.root.source, "adapter": lora or None, "device": taken.shown}
        with tempfile.TemporaryDirectory() as scratch:
            self._speaker = load_speaker(
                found,
                settings,
                Path(scratch) / "adapter",
                with_prompt=options.with_prompt,
                device=taken.device,
                dtype=resolve_dtype(options.dtype, taken.device),
            )

    def ask(self, name: str, history: list[dict[str, str]], cancel: threading.Event) -> Iterator[str | Answer]:
        """Pieces of text as they are made, then one `Answer`; with `cancel` set, it just ends.

        Without a template only what was typed last is gone on with. Raises InputError `serve.context`.
        """
        from core.evaluation.decoding import Drawing, steps

        options, speaker = self.options, self._speaker
        ids = speaker.ids(history if options.with_prompt else history[-1:])
        room = options.max_new_tokens if speaker.context is None else speaker.context - len(ids)
        if room < 1:
            raise InputError("serve.context", tokens=len(ids), allowed=speaker.context)
        drawing = Drawing(options.temperature, options.top_p, options.top_k, options.repetition_penalty)
        limit, began, first = min(options.max_new_tokens, room), time.monotonic(), 0.0
        text = Detokeniser(lambda some: speaker.decode(list(some)))
        made: list[int] = []
        for [(_, token)] in steps(
            speaker.model, [ids], [limit], [0], drawing, stop_ids=speaker.stop_ids, seed=options.seed
        ):
            if cancel.is_set():
                return
            first = first or time.monotonic() - began
            made.append(token)
            if token not in speaker.stop_ids:
                yield text.push(token)
        yield text.finish()
        yield Answer(
            **self._facts,
            base_sha256=speaker.weights,
            dtype=str(speaker.model.dtype).removeprefix("torch."),
            seed=options.seed,
            tokens=len(made),
            prompt_tokens=len(ids),
            finish_reason="stop" if made[-1] in speaker.stop_ids else "length",
            seconds=round(time.monotonic() - began, 3),
            seconds_to_first_token=round(first, 3),
        )
