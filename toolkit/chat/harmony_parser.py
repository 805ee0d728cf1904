"""Token ids of a gpt-oss answer → deltas by channel, whatever the model does to the format.

A message is ``[<|start|>assistant] [to=RECIPIENT] <|channel|>CHANNEL [TYPE] <|message|>TEXT <|end|>``, where the prompt
has the first ``<|start|>assistant``. openai-harmony reads the headers; a malformed one, over which its parser gives the
whole answer up (openai/harmony #33, #38, #60), is read leniently. The text does not go through that parser: after an id
outside the vocabulary, or bytes that are no UTF-8, it holds back all that follows. So nothing that was said is lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolkit.chat.deltas import Channel, ChatDelta
from toolkit.engine.text import REPLACEMENT, TextStream

if TYPE_CHECKING:
    import openai_harmony

CHANNELS: tuple[Channel, ...] = ("analysis", "commentary", "final")
LAST_ID = 201088
"""The largest id of o200k_harmony, ``<|reserved_201088|>``."""
MOST_HEADER_TOKENS = 48
"""A header has about ten tokens; beyond this the model is not writing one, and its text need not wait."""

_RECIPIENT = re.compile(r"\bto=([\w.\-:]+)")
_SOUND_RECIPIENT = re.compile(r"[\w.\-:]+")
_CONSTRAIN = re.compile(r"<\|constrain\|>\s*\w*")
_ROLE = re.compile(r"^\s*assistant(?=\s*(<\||to=|$))")
_MARKER = "<|channel|>"


class HarmonyParser:
    """A ``ChatParser`` over ids of o200k_harmony, from after ``<|start|>assistant`` on."""

    def __init__(self, encoding: openai_harmony.HarmonyEncoding) -> None:
        self._encoding = encoding
        self._start, self._channel, self._message = (
            encoding.encode(marker, allowed_special="all")[0] for marker in ("<|start|>", _MARKER, "<|message|>")
        )
        self._ends = frozenset(encoding.stop_tokens())
        self._index = 0
        self._header: list[int] = []
        self._content: _Content | None = None

    def push(self, token_ids: Sequence[int]) -> list[ChatDelta]:
        deltas = [delta for token in token_ids for delta in self._one(token)]
        return _joined(deltas)

    def finish(self) -> list[ChatDelta]:
        return _joined(self._close())

    def _one(self, token: int) -> list[ChatDelta]:
        if token in self._ends or token == self._start:
            return self._close()
        if not 0 <= token <= LAST_ID:
            return self._content.unknown() if self._content is not None else []
        if self._content is not None:
            if token != self._channel:
                return self._content.push(token)
            # the next message's header without an end before it
            deltas = self._close()
            self._header.append(token)
            return deltas
        if token == self._message:
            return self._open()
        self._header.append(token)
        return self._open_anyhow() if self._is_no_header() else []

    def _is_no_header(self) -> bool:
        over = len(self._header) - MOST_HEADER_TOKENS
        # a character may take four tokens, and its bytes belong together
        return over > 3 or (over > 0 and not self._decode(self._header).endswith(REPLACEMENT))

    def _open(self) -> list[ChatDelta]:
        """``<|message|>`` came: the header is whole."""
        header, self._header = self._header, []
        channel, recipient, left = self._read(header)
        beside = [ChatDelta("raw", left, self._next())] if left else []
        return beside + self._begin(channel, recipient, "")

    def _open_anyhow(self) -> list[ChatDelta]:
        """What should have been a header is the text, apart from what it begins with."""
        header, self._header = self._header, []
        return self._begin(*_read_leniently(self._decode(header)))

    def _begin(self, channel: Channel, recipient: str | None, text: str) -> list[ChatDelta]:
        """A message that has ``text`` already; one to a tool is announced before it has any."""
        index = self._next()
        self._content = _Content(self._encoding, channel, index, recipient)
        return [ChatDelta(channel, text, index, recipient)] if text or recipient else []

    def _close(self) -> list[ChatDelta]:
        """The message ends, here or where its header should have been whole."""
        deltas: list[ChatDelta] = []
        if self._header and not _ROLE.sub("", self._decode(self._header)).strip():
            self._header.clear()
        if self._header:
            deltas += self._open_anyhow()
        if self._content is not None:
            deltas += self._content.finish()
            self._content = None
        return deltas

    def _next(self) -> int:
        self._index += 1
        return self._index

    def _read(self, header: list[int]) -> tuple[Channel, str | None, str]:
        """Channel, recipient, and what of the header is neither; by openai-harmony where it takes the header."""
        from openai_harmony import HarmonyError, Role, StreamableParser

        parser = StreamableParser(self._encoding, Role.ASSISTANT)
        try:
            for token in (*header, self._message):
                parser.process(token)
        except HarmonyError:
            return _read_leniently(self._decode(header))
        channel, recipient = parser.current_channel, parser.current_recipient
        if channel == "final" or "to=" not in self._decode(header):
            recipient = None  # it takes a lone content type for the recipient
        if recipient is not None and not _SOUND_RECIPIENT.fullmatch(recipient):
            return _read_leniently(self._decode(header))
        return _known(channel or ""), recipient, ""

    def _decode(self, tokens: list[int]) -> str:
        return str(self._encoding.decode(tokens))


class _Content:
    """The text of one message."""

    def __init__(
        self, encoding: openai_harmony.HarmonyEncoding, channel: Channel, index: int, recipient: str | None
    ) -> None:
        self._channel, self._recipient, self._index = channel, recipient, index
        self._stream = TextStream(_Decoder(encoding))

    def push(self, token: int) -> list[ChatDelta]:
        return self._delta(self._stream.push((token,)))

    def unknown(self) -> list[ChatDelta]:
        """The place of an id that is no token."""
        return self._delta(self._stream.finish() + REPLACEMENT)

    def finish(self) -> list[ChatDelta]:
        """Bytes that never became a character."""
        return self._delta(self._stream.finish())

    def _delta(self, text: str) -> list[ChatDelta]:
        return [ChatDelta(self._channel, text, self._index, self._recipient)] if text else []


class _Decoder:
    """An encoding of openai-harmony as a ``Decoder``; special tokens in a message are part of its text."""

    def __init__(self, encoding: openai_harmony.HarmonyEncoding) -> None:
        self._encoding = encoding

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return str(self._encoding.decode(ids))


def _known(channel: str) -> Channel:
    """``finalx`` is final; a message without a channel that is known is for the user."""
    return next((known for known in CHANNELS if channel.startswith(known)), "final")


def _read_leniently(header: str) -> tuple[Channel, str | None, str]:
    """Channel, recipient and the rest, from the decoded tokens of a header that may be none."""
    before, marker, after = _ROLE.sub("", header).partition(_MARKER)
    channel = _known(after.lstrip())
    after = after.lstrip()
    if marker and after.startswith(channel):
        after = after[len(channel) :]
    left = before + after
    found = _RECIPIENT.search(left) if marker else None
    if found is not None:
        left = _RECIPIENT.sub("", _CONSTRAIN.sub("", left))
    return channel, found[1] if found else None, left if left.strip() else ""


def _joined(deltas: list[ChatDelta]) -> list[ChatDelta]:
    """Neighbours of one message as one delta."""
    joined: list[ChatDelta] = []
    for delta in deltas:
        if joined and (last := joined[-1]).index == delta.index:
            joined[-1] = ChatDelta(delta.channel, last.text + delta.text, delta.index, delta.recipient)
        else:
            joined.append(delta)
    return joined
