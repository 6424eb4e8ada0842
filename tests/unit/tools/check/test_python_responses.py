"""Rules about how a model.py answers. What is right is as much a part of them as what is wrong.

The body of `execute` begins in line 6 of the source.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

CheckSource = Callable[..., list[tuple[str, int | None]]]

BATCHED = "dynamic_batching { }"
DECOUPLED = "model_transaction_policy { decoupled: true }"

ONE_EACH = """
responses = []
for request in requests:
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x.sum(axis=(1, 2)))]))
return responses
"""
SPLIT_AGAIN = """
rows, counts, responses = [], [], []
for request in requests:
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    counts.append(len(x))
    for row in x:
        rows.append(row.sum())
start = 0
for count in counts:
    tensor = pb_utils.Tensor("y", np.array(rows[start : start + count], dtype=np.float32))
    responses.append(pb_utils.InferenceResponse([tensor]))
    start += count
return responses
"""
JOINED_AND_CUT = """
texts = []
for request in requests:
    texts.append(pb_utils.get_input_tensor_by_name(request, "x").as_numpy())
sums = np.concatenate(texts).sum(axis=(1, 2))
responses = []
for part in np.split(sums, np.cumsum([len(text) for text in texts])[:-1]):
    responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", part)]))
return responses
"""
ROWS_IN_ONE_TENSOR = """
responses = []
for request in requests:
    sums = []
    for row in pb_utils.get_input_tensor_by_name(request, "x").as_numpy():
        sums.append(row.sum())
        last = pb_utils.Tensor("y", np.array(sums, dtype=np.float32))
    responses.append(pb_utils.InferenceResponse([last]))
return responses
"""
FIRST_THAT_WILL_DO = """
responses = []
for request in requests:
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    for attempt in range(3):
        if attempt == len(x) or attempt == 2:
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x)]))
            break
return responses
"""
ERROR_OR_ANSWER = """
responses = []
for request in requests:
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    if x.size == 0:
        responses.append(pb_utils.InferenceResponse([], pb_utils.TritonError("empty")))
        continue
    responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x)]))
return responses
"""
ONE_REQUEST_BY_AGREEMENT = """
if len(requests) != 1:
    raise pb_utils.TritonModelException("one at a time")
x = pb_utils.get_input_tensor_by_name(requests[0], "x").as_numpy()
return [pb_utils.InferenceResponse([pb_utils.Tensor("y", x)])]
"""
FIRST_FOR_ITS_PARAMETERS = """
parameters = requests[0].parameters()
return [self.answer(request, parameters) for request in requests]
"""
A_COUNTER = """
responses = []
total = 0
for request in requests:
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    total += len(x)
    responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x[:, 0, 0] * total)]))
return responses
"""


CUT_BY_SIZES = """
rows, responses = [], []
for request in requests:
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    rows.extend(x)
sizes = [len(pb_utils.get_input_tensor_by_name(r, "x").as_numpy()) for r in requests]
sums = self.model(np.array(rows))
for part in self.cut(sums, sizes):
    responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", part)]))
return responses
"""
CUT_BY_KEPT_SIZES = """
rows, responses, self.sizes = [], [], []
for request in requests:
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    rows.extend(x)
    self.sizes.append(len(x))
for part in self.cut(np.array(rows), self.sizes):
    responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", part)]))
return responses
"""
CUT = """
    def cut(self, rows):
        start = 0
        for size in self.sizes:
            yield rows[start : start + size]
            start += size
"""


@pytest.mark.parametrize(
    "execute",
    [
        ONE_EACH,
        CUT_BY_SIZES,
        CUT_BY_KEPT_SIZES,
        SPLIT_AGAIN,
        JOINED_AND_CUT,
        ROWS_IN_ONE_TENSOR,
        FIRST_THAT_WILL_DO,
        ERROR_OR_ANSWER,
        ONE_REQUEST_BY_AGREEMENT,
        FIRST_FOR_ITS_PARAMETERS,
        A_COUNTER,
        "return list(map(self.answer, requests))",
        "return self.pool.answer(requests)",
    ],
)
def test_one_response_for_each_request_is_right(check_source: CheckSource, execute: str) -> None:
    assert check_source(execute, more=BATCHED) == []


def test_a_method_may_know_the_sizes_of_requests(check_source: CheckSource) -> None:
    by_itself = CUT_BY_KEPT_SIZES.replace("), self.sizes)", "))")
    assert check_source(by_itself, more=BATCHED, rest=CUT) == []
    without_sizes = CUT.replace("self.sizes", "self.fixed_sizes")
    assert check_source(by_itself, more=BATCHED, rest=without_sizes) == [("PYR004", 12)]


@pytest.mark.parametrize(
    ("execute", "finding"),
    [
        ("for request in requests:\n    request.correlation_id()", ("PYR001", 5)),
        (
            "x = pb_utils.get_input_tensor_by_name(requests[0], 'x')\nreturn [pb_utils.InferenceResponse([x])]",
            ("PYR002", 6),
        ),
        (ONE_EACH.replace("\nreturn", "\n    return"), ("PYR002", 10)),
        (
            ONE_EACH.replace("responses = []\n", "").replace("requests:", "requests:\n    responses = []"),
            ("PYR002", 7),
        ),
        (SPLIT_AGAIN.replace("in counts", "in rows"), ("PYR004", 15)),
        (
            JOINED_AND_CUT.replace("np.split(sums, np.cumsum([len(text) for text in texts])[:-1])", "sums"),
            ("PYR004", 12),
        ),
        (
            ONE_EACH.replace("    responses", "    for row in x:\n        responses").replace("x.sum", "row.sum"),
            ("PYR004", 10),
        ),
        (
            ONE_EACH.replace("= []", "= []\nsums = []")
            .replace("    responses", "    sums.append(x.sum())\n    responses")
            .replace("x.sum(axis=(1, 2))", "np.array(sums)"),
            ("PYR005", 11),
        ),
        (
            ONE_EACH.replace("= []", "= []\ntext = ''")
            .replace("    responses", "    text += str(x)\n    responses")
            .replace("x.sum(axis=(1, 2))", "np.array([text])"),
            ("PYR005", 11),
        ),
    ],
)
def test_another_number_of_responses_or_a_mixture_of_them_is_an_error(
    check_source: CheckSource, execute: str, finding: tuple[str, int]
) -> None:
    assert finding in check_source(execute, more=BATCHED)


def test_a_model_may_refuse_every_request(check_source: CheckSource) -> None:
    assert check_source("raise pb_utils.TritonModelException('under repair')") == [("PYT003", 3)]


def test_a_single_request_will_do_while_nothing_joins_them(check_source: CheckSource) -> None:
    execute = "return [self.answer(requests[0])]"
    assert check_source(execute) == [("PYR003", 6)]
    assert check_source(execute, more=BATCHED) == [("PYR002", 6)]


@pytest.mark.parametrize(
    "execute",
    [
        "print(len(requests))\nreturn [self.answer(requests[0])]",
        "request, = requests\nreturn [self.answer(request)]",
        "return [self.answer(request) for request in requests[:1]]",
    ],
)
def test_a_single_request_can_be_taken_in_many_ways(check_source: CheckSource, execute: str) -> None:
    (finding,) = (code for code, _ in check_source(execute, more=BATCHED) if code == "PYR002")
    assert finding == "PYR002"


@pytest.mark.parametrize(
    "execute",
    ["self.log(len(requests))\nreturn [self.answer(requests[0])]", "return self.answers(requests[:1], requests[1:])"],
)
def test_a_list_that_anything_else_is_done_with_may_be_answered_whole(check_source: CheckSource, execute: str) -> None:
    assert "PYR002" not in {code for code, _ in check_source(execute, more=BATCHED)}


def test_an_annotation_hides_nothing(check_source: CheckSource) -> None:
    each_row = ONE_EACH.replace("    responses", "    for row in x:\n        responses").replace("x.sum", "row.sum")
    annotated = each_row.replace("responses = []", "responses: list[object] = []")
    assert ("PYR004", 10) in check_source(annotated, more=BATCHED)
    assert check_source(ONE_EACH.replace("responses = []", "responses: list[object] = []"), more=BATCHED) == []


STREAM = """
for request in requests:
    sender = request.get_response_sender()
    words = []
    for word in pb_utils.get_input_tensor_by_name(request, "x").as_numpy():
        words.append(word)
        sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("y", np.array(words))]))
    sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def test_a_stream_that_repeats_what_it_said_and_ends_is_right(check_source: CheckSource) -> None:
    assert check_source(STREAM, more=DECOUPLED) == []
    assert check_source(STREAM + "return None\n", more=DECOUPLED) == []
    for flags in ("flags=self.flags_of(request)", "flags=1", "None, 1"):
        said = STREAM.replace("flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL", flags)
        assert check_source(said, more=DECOUPLED) == []


def test_senders_are_for_models_that_are_not_decoupled_as_well(check_source: CheckSource) -> None:
    assert check_source(STREAM) == []


def test_a_stream_ends_and_returns_nothing(check_source: CheckSource) -> None:
    endless = STREAM.replace("    sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)\n", "")
    assert check_source(endless, more=DECOUPLED) == [("PYR007", 5)]
    unsaid = STREAM.replace("pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL", "0")
    assert check_source(unsaid, more=DECOUPLED) == [("PYR007", 5)]
    assert check_source(ONE_EACH, more=DECOUPLED) == [("PYR006", 5)]
    both = ONE_EACH.replace("return responses", "if not self.decoupled:\n    return responses")
    assert check_source(both, more=DECOUPLED) == []


ROWS = 'x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()'


@pytest.mark.parametrize(
    ("use", "finding"),
    [
        ("row = x[0]", ("PYR008", 9)),
        ("row = x[0, 1]", ("PYR008", 9)),
        ("row = x.tolist()[0][0]", ("PYR008", 9)),
        ("row = x.flatten()[0]", ("PYR008", 9)),
        ("row = [line.sum() for line in x][0]", ("PYR008", 9)),
        ("row = np.squeeze(x)", ("PYR009", 9)),
        ("row = x.squeeze(0)", ("PYR009", 9)),
        ("row = np.squeeze(x, axis=0)", ("PYR009", 9)),
    ],
)
def test_a_part_of_the_batch_is_not_all_of_it(check_source: CheckSource, use: str, finding: tuple[str, int]) -> None:
    execute = ONE_EACH.replace("responses.append", f"{use}\n    responses.append").replace("x.sum(", "self.sum(row, ")
    assert check_source(execute) == [finding]
    one_row = "backend: 'python' max_batch_size: 1 input { name: 'x' data_type: TYPE_FP32 dims: [ 1 ] } "
    assert check_source(execute, config=one_row + "output { name: 'y' data_type: TYPE_FP32 dims: [ 1 ] }") == []


@pytest.mark.parametrize(
    "use",
    [
        "row = x[0] if len(x) == 1 else x",
        "row = np.squeeze(x, axis=-1)",
        "row = torch.from_numpy(x).squeeze(dim=1)",
        "row = x.squeeze().reshape(len(x), -1)",
        "row = [np.squeeze(line) for line in x]",
        "row = x[:, 0]",
        "row = x[1:]",
    ],
)
def test_what_keeps_the_batch_is_right(check_source: CheckSource, use: str) -> None:
    execute = ONE_EACH.replace("responses.append", f"{use}\n    responses.append").replace("x.sum(", "self.sum(row, ")
    assert check_source(execute) == []


FIRST = """
responses = []
for request in requests:
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    responses.append(self.respond(self.pick(x)))
return responses
"""
PICK = """
    def pick(self, rows):
        return rows[0]

    def respond(self, row):
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", self.session.run(row))])
"""


@pytest.mark.parametrize(
    ("execute", "rest", "line"),
    [
        (FIRST, PICK, 13),
        (FIRST.replace("self.pick(x)", "self.pick(rows=x)"), PICK, 13),
        (FIRST, PICK.replace("rows[0]", "self.again(rows)") + PICK.split("\n\n")[0].replace("pick", "again"), 19),
        (FIRST.replace('pb_utils.get_input_tensor_by_name(request, "x").as_numpy()', "self.read(request)")
         .replace("self.pick(x)", "x[0]"),
         PICK + "\n    def read(self, request):\n"
         "        return pb_utils.get_input_tensor_by_name(request, 'x').as_numpy()\n", 9),
    ],
)  # fmt: skip
def test_a_helper_takes_no_more_than_the_first_row(
    check_source: CheckSource, execute: str, rest: str, line: int
) -> None:
    assert check_source(execute, rest=rest) == [("PYR008", line)]


@pytest.mark.parametrize(
    ("execute", "rest"),
    [
        (FIRST, PICK.replace("rows[0]", "rows[0] if len(rows) == 1 else rows")),
        (FIRST, PICK.replace("rows[0]", "rows.sum(axis=0)")),
        (FIRST.replace("self.pick(x)", "[self.pick(row) for row in x]"), PICK),
        (FIRST.replace("self.pick(x)", "self.pick(x) + self.pick(self.y)"), PICK),
        (FIRST.replace("self.pick(x)", "self.pick(x) * x"), PICK),
        (FIRST.replace("self.pick(x)", "self.pool.map(self.pick, x)"), PICK),
        (FIRST.replace("self.pick(x)", "self.pick(x)[1:]"), PICK.replace("rows[0]", "rows")),
    ],
)
def test_a_helper_may_take_what_it_likes_of_a_row(check_source: CheckSource, execute: str, rest: str) -> None:
    assert check_source(execute, rest=rest) == []


TAKES_THE_FIRST = """
    def answer(self, batch):
        x = pb_utils.get_input_tensor_by_name(batch[0], "x").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", x)])
"""


def test_a_helper_answers_no_more_than_the_first_request(check_source: CheckSource) -> None:
    execute = "return [self.answer(requests)]"
    assert check_source(execute, more=BATCHED, rest=TAKES_THE_FIRST) == [("PYR002", 9)]
    assert check_source(execute, rest=TAKES_THE_FIRST) == [("PYR003", 9)]
    assert check_source(execute.replace("(requests)", "(batch=requests)"), rest=TAKES_THE_FIRST) == [("PYR003", 9)]


@pytest.mark.parametrize(
    ("execute", "before", "after"),
    [
        ("return [self.answer([request]) for request in requests]", "", ""),
        ("return self.answer(requests)", "return ", "return len(batch) * "),
        ("return self.pool.answer(requests)", "", ""),
        ("self.answer(requests)\nreturn [self.one(request) for request in requests]", "", ""),
    ],
)
def test_a_helper_may_look_at_the_first_request_and_answer_all(
    check_source: CheckSource, execute: str, before: str, after: str
) -> None:
    found = check_source(
        execute, more=BATCHED, rest=TAKES_THE_FIRST.replace(before, after) if before else TAKES_THE_FIRST
    )
    assert not {"PYR002", "PYR003"} & {code for code, _ in found}


@pytest.mark.parametrize(
    "write",
    [
        "open('log.txt', 'a').write('.')",
        "open(self.path, mode='wb')",
        "cv2.imwrite(name, x)",
        "np.save('x.npy', x)",
        "image.save(f'{count}.png')",
        "Path('x').write_text('.')",
        "table.to_csv('x.csv')",
        "np.savetxt(f'{count}.txt', x)",
    ],
)
def test_files_are_not_for_requests(check_source: CheckSource, write: str) -> None:
    assert check_source(ONE_EACH.replace("responses.append", f"{write}\n    responses.append")) == [("PYR010", 9)]


@pytest.mark.parametrize(
    "use",
    [
        "open('labels.txt').read()",
        "open('labels.txt', 'rb').read()",
        "image.save(buffer, format='PNG')",
        "np.save(io.BytesIO(), x)",
        "cv2.imencode('.png', x)",
        "table.to_csv(buffer)",
        "np.savetxt(buffer, x)",
        "codec.to_json(value)",
        "table.to_json(orient='records')",
    ],
)
def test_reading_and_buffers_are_right(check_source: CheckSource, use: str) -> None:
    assert check_source(ONE_EACH.replace("responses.append", f"{use}\n    responses.append")) == []


def test_what_execute_never_comes_to_may_write_files(check_source: CheckSource) -> None:
    rest = "    def finalize(self):\n        open('left.txt', 'w').write('.')\n"
    assert check_source(ONE_EACH, rest=rest) == []
    called = ONE_EACH.replace("responses.append", "self.note()\n    responses.append")
    assert check_source(called, rest=rest.replace("finalize", "note")) == [("PYR010", 13)]


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("LABELS = ['cat', 'dog']\nname = LABELS[best]", True),
        ("class_names = ('cat', 'dog')\nnames = [class_names[int(number)] for number in best]", True),
        ("id2name = {0: 'cat', 1: 'dog'}", True),
        ("LABELS = ['cat', 'dog']\nscores = self.zero_shot(text, LABELS)", False),
        ("LABELS = ['cat', 'dog']\nfirst = LABELS[0]", False),
        ("OUTPUTS = ['boxes', 'scores']\nname = OUTPUTS[best]", False),
        ("LABELS = []\nname = LABELS[best]", False),
        ("LABELS = [read(0), read(1)]\nname = LABELS[best]", False),
        ("MODES = {0: 'train', 1: 'eval'}", False),
        ("CODES = {200: 'fine', 404: 'missing'}", False),
    ],
)
def test_the_names_of_classes_belong_beside_the_model(check_source: CheckSource, table: str, found: bool) -> None:
    assert check_source(ONE_EACH, rest=table) == ([("PYR012", 11)] if found else [])


def test_a_ragged_input_is_answered_request_by_request(check_source: CheckSource) -> None:
    ragged = """\
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] allow_ragged_batch: true }
output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }
"""
    assert check_source(ONE_EACH, config=ragged) == []
    assert check_source(JOINED_AND_CUT, config=ragged) == [("PYR011", 3)]
