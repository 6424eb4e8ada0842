"""The ragged head gives every text the answer it gets alone, whatever shares its batch."""

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conch_steps.onnx_backend.session import ort
from conch_tools.build.ragged import export_ragged
from conch_tools.build.ragged_feed import GRAPH_INPUTS, ragged_feed

VOCABULARY = 50
POSITIONS = 24

Rows = st.lists(st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=POSITIONS), min_size=1, max_size=6)


class PositionedMean(torch.nn.Module):
    """A small encoder with what matters here: position embeddings, attention over the row, a masked mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.tokens = torch.nn.Embedding(VOCABULARY, 8)
        self.positions = torch.nn.Embedding(POSITIONS, 8)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1])[None]
        states = self.tokens(ids) + self.positions(places)
        hidden = (1 - mask)[:, None, :].to(states.dtype) * -1e9
        states = torch.softmax(states @ states.transpose(1, 2) + hidden, dim=-1) @ states
        counts = mask.unsqueeze(-1).to(states.dtype)
        mean: torch.Tensor = (states * counts).sum(dim=1) / counts.sum(dim=1)
        return mean


@pytest.fixture(scope="module")
def encoder() -> PositionedMean:
    return PositionedMean().eval()


@pytest.fixture(scope="module")
def graph(encoder: PositionedMean, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ragged") / "model.onnx"
    export_ragged(encoder, POSITIONS, "embedding", path)
    return path


@pytest.fixture(scope="module")
def session(graph: Path) -> Any:
    return ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])


def test_the_graph_declares_the_inputs_triton_will_send(graph: Path) -> None:
    wanted = [name for name in GRAPH_INPUTS if name != "segments"]
    assert [each.name for each in onnx.load(str(graph)).graph.input] == wanted


@given(st.lists(Rows, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_row_is_answered_as_if_it_were_alone(
    encoder: PositionedMean, session: Any, requests: list[list[list[int]]]
) -> None:
    answers = session.run(["embedding"], ragged_feed(requests))[0]
    rows = [row for request in requests for row in request]
    assert len(answers) == len(rows)
    for answer, row in zip(answers, rows, strict=True):
        ids = torch.tensor([row])
        alone = encoder(ids, torch.ones_like(ids))[0].detach()
        torch.testing.assert_close(torch.from_numpy(answer), alone, atol=1e-5, rtol=0)


def test_a_full_row_in_a_large_request_stays_inside_the_encoders_positions(
    encoder: PositionedMean, session: Any
) -> None:
    # 7 texts, the longest at the limit: `span` rounds up past it.
    rows = [[5] * POSITIONS, *([[9, 3]] * 6)]
    feed = ragged_feed([rows])
    assert len(feed["width"]) > POSITIONS
    assert session.run(["embedding"], feed)[0].shape == (7, 8)


def test_export_leaves_no_dropout_behind(tmp_path: Path) -> None:
    class Dropping(PositionedMean):
        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.dropout(super().forward(ids, mask), 0.5, self.training)

    module = Dropping().train()
    export_ragged(module, POSITIONS, "embedding", tmp_path / "model.onnx")
    session = ort.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    feed = ragged_feed([[[4, 5, 6]]])
    first, second = session.run(None, feed)[0], session.run(None, feed)[0]
    assert (first == second).all()
    assert (first != 0).all()


class SegmentedTokens(torch.nn.Module):
    """A token-level model: each token's own number, and a thousand for each token of its segment in the row."""

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        same = (segments[:, :, None] == segments[:, None, :]).long() * mask[:, None, :]
        return torch.stack([ids, 1000 * same.sum(dim=2) * mask], dim=2).float()


def test_segments_and_answers_for_each_token_keep_to_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_ragged(SegmentedTokens().eval(), POSITIONS, "tokens", path, segments=True)
    assert [each.name for each in onnx.load(str(path)).graph.input] == list(GRAPH_INPUTS)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows, segments = [[[5, 6, 7], [8]], [[9, 4]]], [[[0, 1, 1], [0]], [[0, 0]]]
    (answers,) = session.run(["tokens"], ragged_feed(rows, segments))
    assert answers[:, :3].tolist() == [
        [[5, 1000], [6, 2000], [7, 2000]],
        [[8, 1000], [0, 0], [0, 0]],
        [[9, 2000], [4, 2000], [0, 0]],
    ]


class LastToken(torch.nn.Module):
    """As decoders classify: by the last token that is no padding, whatever the mask says."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        last = (torch.arange(ids.shape[1])[None] * (ids != self.padding)).argmax(dim=1)
        return ids.gather(1, last[:, None]).float()


@pytest.mark.parametrize("padding", [0, 49])
def test_behind_a_row_stands_the_padding_that_its_model_knows(padding: int, tmp_path: Path) -> None:
    export_ragged(LastToken(padding), POSITIONS, "last", tmp_path / "model.onnx", padding=padding)
    session = ort.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (answers,) = session.run(["last"], ragged_feed([[[5, 6, 7], [8]], [[9, 4]]]))
    assert answers[:, 0].tolist() == [7, 8, 4]
