"""A conversation as OpenAI's chat completions write it: strict types, and the rules that hold between messages.

Source of the shape: the ``messages`` and ``tools`` of OpenAI's chat completions API; ``reasoning_content`` is how vLLM,
SGLang and TensorRT-LLM name what the model thought.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from toolkit.errors import ChatError

Role = Literal["system", "developer", "user", "assistant", "tool"]
Effort = Literal["low", "medium", "high"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]{1,64}$")]
MAX_DEPTH = 64
"""How deep the JSON schema of a tool may nest: what reads it further on recurses."""
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}(-\d{2})?$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FunctionCall(_Strict):
    """``arguments`` is JSON as the model wrote it, which may be none."""

    name: str = Field(min_length=1)
    arguments: str


class ToolCall(_Strict):
    id: str | None = None
    type: Literal["function"] = "function"
    function: FunctionCall


class Function(_Strict):
    """``parameters`` is a JSON schema."""

    name: Name
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @field_validator("parameters")
    @classmethod
    def _shallow(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        _check_depth(value, MAX_DEPTH)
        return value


def _check_depth(value: Any, left: int) -> None:
    if left == 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(inner, left - 1)


class Tool(_Strict):
    type: Literal["function"]
    function: Function


class Message(_Strict):
    """``content`` is text; parts of type ``text`` are joined. ``name`` is a tool's, beside its ``tool_call_id``."""

    role: Role
    content: str = ""
    name: Name | None = None
    reasoning_content: str | None = Field(
        None, validation_alias=AliasChoices("reasoning_content", "reasoning", "thinking")
    )
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        if value is None:
            return ""
        return "".join(_part(part) for part in value) if isinstance(value, list) else value

    @field_validator("tool_calls", mode="before")
    @classmethod
    def _calls(cls, value: Any) -> Any:
        return () if value is None else tuple(value) if isinstance(value, list) else value

    @model_validator(mode="before")
    @classmethod
    def _has_content(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("content") is None and value.get("role") != "assistant":
            raise ValueError("no content")
        return value

    @model_validator(mode="after")
    def _fits_role(self) -> Self:
        for key, role in (("reasoning_content", "assistant"), ("tool_calls", "assistant"), ("tool_call_id", "tool")):
            if getattr(self, key) and self.role != role:
                raise ValueError(f"{key} belongs to the role {role}, not to {self.role}")
        if self.role == "tool" and not (self.tool_call_id or self.name):
            raise ValueError("neither tool_call_id nor name says which call this answers")
        return self

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; keys without a value are left out, ``content`` is not."""
        value = self.model_dump(mode="json", exclude_none=True)
        if not self.tool_calls:
            del value["tool_calls"]
        return value


def _part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind != "text" or not isinstance(part.get("text"), str):
        raise ValueError(f"content has a part of type {kind!r}, and only text is supported")
    return str(part["text"])


class Options(_Strict):
    """What a model is told beside the messages. None leaves it to the template; days are YYYY-MM or YYYY-MM-DD."""

    reasoning_effort: Effort | None = None
    knowledge_cutoff: Day | None = None
    current_date: Day | None = None


class Conversation(Options):
    """Messages in order, system and developer first; ``tools`` are the functions that the model may call."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()

    @field_validator("messages", "tools", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError("is no list")
        return tuple(value)

    @field_validator("messages")
    @classmethod
    def _some(cls, value: tuple[Message, ...]) -> tuple[Message, ...]:
        if not value:
            raise ValueError("is empty")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        calls: dict[str, str] = {}
        begun = False
        for index, message in enumerate(self.messages):
            if message.role in ("system", "developer") and begun:
                raise ValueError(f"messages[{index}]: {message.role} comes before every other role")
            begun = begun or message.role not in ("system", "developer")
            calls |= {call.id: call.function.name for call in message.tool_calls if call.id is not None}
            if message.role == "tool" and message.name is None and message.tool_call_id not in calls:
                raise ValueError(f"messages[{index}]: no call has the id {message.tool_call_id!r}")
        return self

    @property
    def instructions(self) -> str:
        """What the system and developer messages say, in one text."""
        return "\n\n".join(message.content for message in self.messages if message.role in ("system", "developer"))

    @property
    def turns(self) -> tuple[Message, ...]:
        """The messages after the system and developer ones."""
        return tuple(message for message in self.messages if message.role not in ("system", "developer"))

    def check_asks(self) -> None:
        """Raise ``ChatError`` unless the last message is one that a model can answer."""
        if self.messages[-1].role not in ("user", "tool"):
            role = self.messages[-1].role
            raise ChatError(f"the last message is of the role {role}", hint="End with one of the user's or a tool's")

    def to_dict(self) -> dict[str, Any]:
        messages = [message.to_dict() for message in self.messages]
        return {"messages": messages, **self.model_dump(mode="json", exclude_defaults=True, exclude={"messages"})}


def called_name(messages: tuple[Message, ...], answer: Message) -> str:
    """The name of the tool whose call ``answer``, a message of role ``tool``, answers."""
    ids = {call.id: call.function.name for message in messages for call in message.tool_calls}
    return answer.name or ids[answer.tool_call_id]
