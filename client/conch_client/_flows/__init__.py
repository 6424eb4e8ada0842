"""What each method of a client asks, in which order, and what it makes of the answers.

A flow is a generator: it yields an Rpc and is sent the reply, and what it returns is the method's result. It
knows no channel and never waits, so a client that blocks and one that awaits run the same flows. A flow takes
its method's arguments as they came and checks them before it asks anything.
"""

from .catalogues import change_catalogue, recommend, search, similar
from .forecasts import forecast
from .inference import Flow, Outcome, infer, infer_named, metadata, of_release, stream_named, tensors_sent
from .labels import classify, match, zero_shot
from .texts import answer, embed, entities

__all__ = [
    "Flow",
    "Outcome",
    "answer",
    "change_catalogue",
    "classify",
    "embed",
    "entities",
    "forecast",
    "infer",
    "infer_named",
    "match",
    "metadata",
    "of_release",
    "recommend",
    "search",
    "similar",
    "stream_named",
    "tensors_sent",
    "zero_shot",
]
