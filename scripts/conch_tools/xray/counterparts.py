"""Which steps and tensors of two plans correspond."""

from __future__ import annotations

from conch_tools.xray.plan import Plan, Step


def aligned(plan: Plan, other: Plan) -> list[tuple[Step | None, Step | None]]:
    """Which steps correspond: those that give tensors of the same names within their ensembles, else those at the same
    position that give tensors which their models call the same."""
    left = list(other.steps)
    pairs: dict[str, Step] = {}
    by_wire = [(step, each) for step in plan.steps for each in left if _wires(step) & _wires(each)]
    by_place = [
        (step, each)
        for step, each in zip(plan.steps, other.steps, strict=False)
        if step.outputs.keys() & each.outputs.keys()
    ]
    for step, each in (*by_wire, *by_place):
        if step.name not in pairs and each in left:
            pairs[step.name] = each
            left.remove(each)
    return [*((step, pairs.get(step.name)) for step in plan.steps), *((None, each) for each in left)]


def counterpart_wire(name: str, wire: str, counterpart: Step) -> str | None:
    """The tensor of the other step that corresponds to one of ours, by the ensemble's name for it or the model's."""
    by_wire = {_short(each): each for each in counterpart.outputs.values()}
    return by_wire.get(_short(wire)) or counterpart.outputs.get(name)


def _wires(step: Step) -> set[str]:
    return {_short(wire) for wire in step.outputs.values()}


def _short(wire: str) -> str:
    return wire.rpartition("/")[2]
