"""A user's inputs: what a line may be, and what is said of one that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch_tools.errors import CorpusError, RepositoryError
from conch_tools.parity.corpus import Input, inputs_of, read_corpus

TEXT = [Input("text", "BYTES", (1,))]
LABELLED = [*TEXT, Input("labels", "BYTES", (-1,))]
HISTORY = [Input("history", "FP32", (-1,)), Input("horizon", "INT32", (1,))]
FEATURES = [Input("features", "BYTES", (1,))]
IMAGE = [Input("image", "BYTES", (1,))]


def written(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_a_text_file_is_a_text_a_line_and_blank_lines_are_none(tmp_path: Path) -> None:
    corpus = read_corpus(written(tmp_path, "reviews.txt", "\ufeffgood\r\n\nnaïve 🙂\n"), TEXT)
    assert [item["text"].tolist() for item in corpus.items] == [[b"good"], ["naïve 🙂".encode()]]
    assert [corpus.place(index) for index in range(2)] == ["line 1", "line 3"]


def test_json_lines_hold_every_input(tmp_path: Path) -> None:
    line = '{"text": "", "labels": ["a", "b"]}\n'
    (item,) = read_corpus(written(tmp_path, "some.jsonl", line), LABELLED).items
    assert (item["text"].tolist(), item["labels"].tolist()) == ([b""], [b"a", b"b"])


def test_numbers_get_the_type_of_their_tensor(tmp_path: Path) -> None:
    file = written(tmp_path, "series.jsonl", '{"history": [1, 2.5], "horizon": 3}\n')
    (item,) = read_corpus(file, HISTORY).items
    assert (str(item["history"].dtype), item["history"].tolist()) == ("float32", [1.0, 2.5])
    assert (str(item["horizon"].dtype), item["horizon"].tolist()) == ("int32", [3])


def test_a_table_travels_as_json(tmp_path: Path) -> None:
    file = written(tmp_path, "rows.jsonl", '{"features": {"size": "small"}}\n')
    assert read_corpus(file, FEATURES).items[0]["features"].tolist() == [b'{"size": "small"}']


def test_an_image_is_a_file_beside_the_corpus(tmp_path: Path) -> None:
    written(tmp_path, "one.png", b"\x89PNG")
    file = written(tmp_path, "images.jsonl", '{"image": "one.png"}\n')
    assert read_corpus(file, IMAGE).items[0]["image"].tolist() == [b"\x89PNG"]


def test_a_csv_has_a_column_an_input(tmp_path: Path) -> None:
    file = written(tmp_path, "some.csv", 'id,labels,text\n1,"[""a"", ""b""]","two\nlines"\n2,"[""c""]",[1]\n')
    corpus = read_corpus(file, LABELLED)
    assert [item["text"].tolist() for item in corpus.items] == [[b"two\nlines"], [b"[1]"]]
    assert corpus.items[0]["labels"].tolist() == [b"a", b"b"]


@pytest.mark.parametrize(
    ("name", "content", "inputs", "line", "problem"),
    [
        ("a.txt", "", TEXT, None, "it holds no inputs: write one a line"),
        ("a.txt", b"good\n\xff\n", TEXT, 2, "this is no UTF-8: save the file in that encoding"),
        ("a.txt", "x", HISTORY, None, "a text file is for pipelines of one text, this one takes history, horizon: use"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', TEXT, 2, "this is no JSON: "),
        ("a.jsonl", '\n"a"\n', TEXT, 2, 'this is no JSON object: write {"text": "…"}'),
        ("a.jsonl", '{"txt": "a"}', TEXT, 1, "there is no `text`: a line has text"),
        ("a.jsonl", '{"text": "a", "id": 3}', TEXT, 1, "there is no input `id`: a line has text"),
        ("a.jsonl", '{"text": 3}', TEXT, 1, "`text` is 3, not a text or a list of texts"),
        ("a.jsonl", '{"text": ["a", "b"]}', TEXT, 1, "`text` has the shape [2], the pipeline takes [1]"),
        ("a.jsonl", '{"history": ["x"], "horizon": 1}', HISTORY, 1, '`history` is ["x"], not numbers'),
        ("a.jsonl", '{"history": [[1], [2, 3]], "horizon": 1}', HISTORY, 1, "`history` is [[1], [2, 3]], not numbers"),
        ("a.jsonl", '{"history": [1], "horizon": 1.5}', HISTORY, 1, "`horizon` is 1.5, not whole numbers"),
        ("a.jsonl", '{"history": [1], "horizon": 5000000000}', HISTORY, 1, "`horizon` is 5000000000, which does not"),
        (
            "a.jsonl",
            '{"history": [[1]], "horizon": 1}',
            HISTORY,
            1,
            "`history` has the shape [1, 1], the pipeline take",
        ),
        ("a.jsonl", '{"image": "no.png"}', IMAGE, 1, "`image`: the file 'no.png' cannot be read"),
        ("a.jsonl", '{"image": 3}', IMAGE, 1, "`image`: the file 3 cannot be read"),
        ("a.csv", "id,review\n1,a\n", TEXT, 1, "there is no column `text` in the header, which has id, review"),
        ("a.csv", "id,text\n1,a\n2\n", TEXT, 3, "this line has fewer columns than the header"),
        ("a.csv", 'text\n"a\n', TEXT, 2, "this is no CSV: "),
        ("a.csv", "", TEXT, 1, "there is no column `text` in the header, which has none"),
    ],
)
def test_a_line_that_is_no_input_is_named(
    tmp_path: Path, name: str, content: str | bytes, inputs: list[Input], line: int | None, problem: str
) -> None:
    file = written(tmp_path, name, content)
    with pytest.raises(CorpusError) as refused:
        read_corpus(file, inputs)
    assert refused.value.line == line
    assert refused.value.problem.startswith(problem)
    assert str(refused.value).startswith(f"{file}:{line}: " if line else f"{file}: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nowhere\.txt: it cannot be read: No such file"):
        read_corpus(tmp_path / "nowhere.txt", TEXT)


def test_the_inputs_are_those_of_the_ensemble(tmp_path: Path) -> None:
    config = (
        'input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] }, { name: "n" data_type: TYPE_INT32 dims: -1 } ]'
    )
    assert inputs_of(written(tmp_path, "config.pbtxt", config)) == [
        Input("text", "BYTES", (1,)),
        Input("n", "INT32", (-1,)),
    ]
    with pytest.raises(RepositoryError, match=r"broken.pbtxt:1: "):
        inputs_of(written(tmp_path, "broken.pbtxt", "input ["))
