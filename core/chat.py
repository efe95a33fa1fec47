"""A model in three lines of Python, as `textgen.GptModel` was used.

    from core.chat import Chat

    chat = Chat.load("llama", "path/to/base", "path/to/lora")       the adapter may be left out
    print(chat.predict(["一岁宝宝发烧能吃啥药", "who are you?"]))

It is the chat server's own model and decoding, without a server: the same seed, weights and settings give the same
answer there. A LoRA is taken as any program has written it, `.bin` included. Imports torch.
"""

from __future__ import annotations

import queue
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.data.dialogue import Message
from core.errors import GalenError, ModelError
from core.models.convert import take_adapter
from core.models.families import check_type
from core.models.hashes import weight_hashes
from core.models.lineage import RunWeights
from core.models.loading import resolve_dtype
from core.models.weights import check_folder
from core.serving.answer import Answer
from core.serving.engine import Engine
from core.serving.options import ARTICLE, Sampling
from core.serving.registry import Registry, Served
from core.serving.sampling import Sampling as Drawing

__all__ = ["ARTICLE", "Chat"]


class Chat:
    """One model that answers. Made by `load`; `close` it, or use it in a `with`, to free its memory."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._engine = Engine()
        self._closed = False

    @classmethod
    def load(
        cls, model_type: str, base: str | Path, adapter: str | Path | None = None, *, device: str = "cpu",
        dtype: str = "auto",
    ) -> Chat:  # fmt: skip
        """The model in folder `base`, with the LoRA in folder `adapter` on it.

        model_type: llama, bloom, chatglm, …, checked against the folder; "auto" or empty: whatever it is. device:
        `cpu`, `cuda:0`, … Raises ModelError with what cannot be used and why.
        """
        folder = Path(base).expanduser().resolve()
        check_folder(folder)
        check_type(folder, "" if model_type == "auto" else model_type)
        weights = RunWeights(folder.name, None, (), model=folder, weights=tuple(weight_hashes(folder)))
        registry = Registry(weights, dtype=resolve_dtype(dtype, device), device=device)
        if adapter is None:
            return cls(registry["base"])
        source = Path(adapter).expanduser().resolve()
        with tempfile.TemporaryDirectory() as place:  # PEFT has read it when `add` returns
            facts = take_adapter(source, Path(place), folder)
            if facts["reward"]:
                raise ModelError("parent.scores_only", run=str(source))
            made = Path(place) / facts["place"]
            hashes = tuple(weight_hashes(made))
            kind = {"model": made} if facts["whole"] else {"adapter": made}
            return cls(
                registry[registry.add(RunWeights(source.name, folder, weights.weights, weights=hashes, **kind)).name]
            )

    def predict(self, questions: Sequence[str | Sequence[Message]], *, raw: bool = False, **sampling: Any) -> list[str]:
        """An answer for each question, in their order.

        A question is a text, or a conversation up to the answer ([{"role", "content"}, …]). raw: the texts are prompts
        already and go in as they are. sampling: fields of `core.serving.options.Sampling`; `**ARTICLE` gives what the
        MedicalGPT article prints. Raises InputError for a prompt that does not fit, ValueError for a bad setting.
        """
        if self._closed:
            raise RuntimeError("this Chat is closed")
        questions = [questions] if isinstance(questions, str) else questions
        settings = Sampling.model_validate(sampling).model_dump()
        drawing = Drawing(max_tokens=settings.pop("max_new_tokens"), stop=(), **settings)
        asked = [self._ask(self._prompt(question, raw), drawing) for question in questions]
        return [said() for said in asked]

    def _prompt(self, question: str | Sequence[Message], raw: bool) -> Sequence[int]:
        if isinstance(question, str) and raw:
            ids: list[int] = self.served.tokenizer(question)["input_ids"]
            return ids
        messages = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)
        return self.served.encoder.prompt_ids(messages)

    def _ask(self, prompt: Sequence[int], drawing: Drawing) -> Callable[[], str]:
        """Ask, and return what waits for the answer: many are computed together."""
        text: list[str] = []
        ended: queue.Queue[GalenError | None] = queue.Queue()

        def said() -> str:
            error = ended.get()
            if error is not None:
                raise error
            return "".join(text)

        self._engine.submit(Answer(self.served, prompt, drawing, text.append, lambda _, error: ended.put(error)))
        return said

    def close(self) -> None:
        """Free the thread; the model goes with this object. Nothing can be asked any more."""
        self._closed = True
        self._engine.close()

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
