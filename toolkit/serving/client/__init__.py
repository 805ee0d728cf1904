"""The gRPC client: one RPC a generation, typed chunks, three deadlines, and a cancel whichever way it is left."""

from toolkit.serving.client.asynchronous import TritonClient
from toolkit.serving.client.sync import SyncTritonClient
from toolkit.serving.connection import Retry, Tls
from toolkit.serving.contract import Contract
from toolkit.serving.deadlines import Deadlines
from toolkit.serving.wire import Chunk

__all__ = ["Chunk", "Contract", "Deadlines", "Retry", "SyncTritonClient", "Tls", "TritonClient"]
