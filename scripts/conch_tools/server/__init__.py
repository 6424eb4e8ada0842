"""The embedded Triton server: the real tritonserver from the nvidia-pytriton wheel, as one supervised process.

`EmbeddedServer` starts it, waits until it is ready, forwards its log and leaves nothing behind. Only the server inside
the wheel is used, none of PyTriton's Python interface.
"""

from conch_tools.server.embedded import EmbeddedServer, ServerOptions

__all__ = ["EmbeddedServer", "ServerOptions"]
