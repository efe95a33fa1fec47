"""What stage configs refuse because settings of different sections do not go together, as validators."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from core.configs import sections
from core.configs.distributed import faults


def one_device() -> Any:
    """The validator of a stage whose recipe knows one process only."""

    def check(value: sections.Devices) -> sections.Devices:
        if len(value.use) > 1:
            raise ValueError("it computes on one device")
        return value

    return field_validator("devices")(check)


def conflict(code: str, key: str, **params: Any) -> PydanticCustomError:
    """What a validator raises where settings of different sections do not go together: a problem of setting `key`."""
    return PydanticCustomError("conflict", "{code}", {"code": code, "key": key, "params": params})


def adapters_go_on() -> Any:
    """The validator of a training stage: only an adapter can be continued. `tuning` is declared before `lora`."""

    def check(value: sections.Lora, info: ValidationInfo) -> sections.Lora:
        tuning = info.data.get("tuning")
        if value.start == "continue" and tuning is not None and tuning.method != "lora":
            raise conflict("config.continue_needs_lora", "lora.start", method=tuning.method)
        return value

    return field_validator("lora")(check)


def quantised_is_frozen() -> Any:
    """The validator of a training stage: quantised weights do not learn. `tuning` is declared before `quantization`."""

    def check(value: sections.Quantization, info: ValidationInfo) -> sections.Quantization:
        tuning = info.data.get("tuning")
        if value.kind != "none" and tuning is not None and tuning.method != "lora":
            raise conflict("config.quantised_needs_lora", "quantization.kind", kind=value.kind, method=tuning.method)
        return value

    return field_validator("quantization")(check)


def shared_out(*, can_shard: bool) -> Any:
    """The validator of a training stage: strategy, offload and hosts go with the rest, and with this stage."""

    def check(config: Any) -> Any:
        for code, key, params in faults(config, can_shard=can_shard):
            raise conflict(code, key, **params)
        return config

    return model_validator(mode="after")(check)
