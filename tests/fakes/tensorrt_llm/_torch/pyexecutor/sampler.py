"""Takes every sampling parameter that a sampler may know out of a request, as upstream's newest does."""

from __future__ import annotations

from typing import Any


def parameters(config: Any) -> tuple[Any, ...]:
    return config.min_p, config.repetition_penalty, config.presence_penalty, config.frequency_penalty
