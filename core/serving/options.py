"""The settings of `python -m core chat` and `python -m core serve`, and of the page's chat panes. Torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from core.configs.sections import MODEL_TYPE, Section, setting


class Weights(Section):
    """Which model answers, and where."""

    base_model: str = setting("", "The base: a model of the workspace, a folder, or empty for the base of lora_model.")
    model_type: str = setting("", MODEL_TYPE, advanced=True)
    lora_model: list[str] = setting(
        [], "Runs (RUN, RUN:best, RUN:last, RUN:step-40, or a run's name) or adapter folders."
    )
    device: str = setting("auto", "cpu, cuda:0, …; auto: the first free GPU, else the CPU.")
    gpus: str = setting(
        "",
        "GPUs by number, instead of device. Over several, as 0,1, the layers are spread.",
        pattern=r"^(\d+(,\d+)*)?$",
    )
    use_cpu: bool = setting(False, "The CPU, whatever device and gpus say.")
    dtype: Literal["auto", "bf16", "fp16", "fp32"] = setting("auto", "Number format of the weights.", advanced=True)
    trust_remote_code: bool = setting(False, "Run Python code that came with the model.", advanced=True)

    @property
    def place(self) -> str:
        """The device, or several with commas, as `core.serving.session.choose_device` takes them."""
        gpus = ",".join(f"cuda:{number}" for number in self.gpus.split(",")) if self.gpus else ""
        return "cpu" if self.use_cpu else gpus or self.device

    @field_validator("gpus", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """`gpus=0` is read as a number, `gpus=[0,1]` as a list."""
        return ",".join(map(str, value)) if isinstance(value, list) else str(value) if isinstance(value, int) else value

    @field_validator("lora_model", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if value is None:
            return []
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Sampling(Section):
    """How an answer is drawn. The page, the terminal chat and the server share these defaults and bounds."""

    temperature: float = setting(0.7, "0 takes the likeliest token every time; higher is more varied.", ge=0, le=2)
    top_p: float = setting(0.9, "Draw from the likeliest tokens that make up this share.", gt=0, le=1)
    top_k: int = setting(0, "Draw from so many of the likeliest tokens at most; 0 from all.", ge=0, le=100_000)
    repetition_penalty: float = setting(1.0, "Above 1: tokens that were already said become less likely.", ge=0.5, le=2)
    max_new_tokens: int = setting(512, "Length limit of an answer, in tokens.", ge=1, le=32768)
    seed: int = setting(42, "The same seed and the same weights give the same answer.", ge=0, le=2**31 - 1)


# What the MedicalGPT article prints for its ziya-llama-13b-medical-lora, and what it asks there.
ARTICLE: dict[str, Any] = {"max_new_tokens": 120, "temperature": 1.0, "top_p": 0.85, "repetition_penalty": 1.0}
ARTICLE_QUESTIONS = ("一岁宝宝发烧能吃啥药", "who are you?")
SAMPLINGS: dict[str, dict[str, Any]] = {"galen": Sampling().model_dump(), "article": Sampling(**ARTICLE).model_dump()}


class ChatOptions(Weights, Sampling):
    """`python -m core chat`. `preset` holds the values of `SAMPLINGS`; what is named beside it wins."""

    preset: Literal["galen", "article"] = setting(
        "galen", "Sampling values to begin with. article: those that the MedicalGPT article prints."
    )
    system: str = setting("", "System message at the head of the conversation.")
    single_turn: bool = setting(False, "Forget the conversation after every answer.")
    template: str | None = setting(None, "A named chat template instead of the model's own.")
    with_prompt: bool = setting(True, "Ask in the chat template. Off: the model goes on writing what was typed.")
    tokenizer_path: str = setting("", "A folder with another tokenizer.", advanced=True)

    @model_validator(mode="before")
    @classmethod
    def _begin_with(cls, data: Any) -> Any:
        named = data.get("preset") if isinstance(data, dict) else None
        return {**SAMPLINGS[named], **data} if named in SAMPLINGS else data


class ServeOptions(Weights):
    """`python -m core serve`."""

    host: str = setting("127.0.0.1", "Address to serve on. Any but this machine's own needs GALEN_API_KEY.")
    port: int = setting(8000, "Port; 0 takes a free one.", ge=0, le=65535)
