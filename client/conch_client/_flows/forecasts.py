"""The flow that continues series. The rows of one request are of one length, so each length is a request of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import _arguments as arguments
from .._call import Call
from .._cast import Array, Misfit, check_unmasked
from .._constants import FORECAST_OUTPUT, HISTORY_INPUT, HORIZON_INPUT, LOWER_OUTPUT, UPPER_OUTPUT
from .._errors import InvalidInput
from .._results import Forecast
from .._spec import Catalog
from .inference import Flow, infer, output


def forecast(catalog: Catalog, call: Call, history: object, horizon: object) -> Flow[Forecast | list[Forecast]]:
    given = arguments.rereadable("history", history, call)
    # A list holds several series if its first item is one, not a number.
    if not isinstance(given, list | tuple) or not given or _array(given[0], call).ndim == 0:
        return (yield from _forecasts(catalog, call, [_series(given, call)], horizon))[0]
    histories = [_series(each, call) for each in given]
    found: dict[int, Forecast] = {}
    for length in dict.fromkeys(each.size for each in histories):
        rows = [row for row, each in enumerate(histories) if each.size == length]
        answers = yield from _forecasts(catalog, call, [histories[row] for row in rows], horizon)
        found.update(zip(rows, answers, strict=True))
    return [found[row] for row in range(len(histories))]


def _forecasts(catalog: Catalog, call: Call, histories: Sequence[Array], horizon: object) -> Flow[list[Forecast]]:
    tensors = {HISTORY_INPUT: histories, HORIZON_INPUT: [[horizon]] * len(histories)}
    outcome = yield from infer(catalog, call, lambda _: tensors, {})
    columns = (output(outcome, name, call) for name in (FORECAST_OUTPUT, LOWER_OUTPUT, UPPER_OUTPUT))
    return [Forecast(*row) for row in zip(*columns, strict=True)]


def _series(history: object, call: Call) -> Array:
    array = _array(history, call)
    if array.ndim != 1:
        raise _no_history(f"shape {list(array.shape)}", call)
    return array


def _array(history: object, call: Call) -> Array:
    try:
        check_unmasked(history)
        return np.asarray(history)
    except Misfit as misfit:
        raise call.error(InvalidInput, f"a history cannot be sent: {misfit}") from misfit
    except Exception as exc:
        raise _no_history(f"a {type(history).__name__} that numpy cannot read", call) from exc


def _no_history(given: str, call: Call) -> InvalidInput:
    wanted = "a history is a list or an array [values] of numbers; give several as a list of them"
    return call.error(InvalidInput, f"{wanted}, got {given}")
