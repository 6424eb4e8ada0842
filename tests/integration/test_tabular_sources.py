"""Tabular classifiers that were trained elsewhere: `conch new`, `conch build` and a server, and the library's answers.

Each kind of source is added by `conch new --yes`, built and served as it was written, all by one server.
"""

from __future__ import annotations

import importlib.util
import pickle
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
import pytest
import skops.io
import torch
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.semi_supervised import LabelPropagation
from sklearn.svm import LinearSVC

from conch_client import Client
from conch_tools.check import check_repository
from conch_tools.deployment import sized
from conch_tools.errors import BuildError, SettingsError
from conch_tools.new.run import Answers, new_pipeline
from conch_tools.pipelines import CategoricalFeature, load_pipeline
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.settings import Settings

MakeSettings = Callable[..., Settings]
SpawnConch = Callable[..., "subprocess.Popen[str]"]
RunConch = Callable[..., "subprocess.CompletedProcess[str]"]
Row = Mapping[str, float | str]

pytestmark = pytest.mark.timeout(900)
"""Ten sources are added and built first."""

TOLERANCE = 1e-5
CALLERS = 16
ADDED_AT_ONCE = 2
LIMIT_S = 600.0
COLUMNS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
WRITTEN = ["sepal_length__cm_", "sepal_width__cm_", "petal_length__cm_", "petal_width__cm_"]
"""As skl2onnx names the inputs of a graph."""
NUMBERED = [f"feature_{index}" for index in range(4)]
SPECIES = ["setosa", "versicolor", "virginica"]
GARDENS = ["north", "south", "west"]

LOG_MODELS = """
import sys, warnings
warnings.simplefilter("ignore")
import joblib, mlflow, onnx
from mlflow.models import infer_signature
folder = sys.argv[1]
mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
mlflow.create_experiment("irises", artifact_location=f"{folder}/artifacts")
mlflow.set_experiment("irises")
model, table = joblib.load(f"{folder}/named.joblib")
signature = infer_signature(table, model.predict(table))
pinned = {"signature": signature, "pip_requirements": ["scikit-learn"]}
with mlflow.start_run():
    mlflow.sklearn.log_model(model, name="a", registered_model_name="iris", **pinned)
    mlflow.sklearn.log_model(
        model, name="b", registered_model_name="iris", serialization_format="cloudpickle", **pinned
    )
    graph = onnx.load(f"{folder}/plain.onnx")
    mlflow.onnx.log_model(graph, name="c", registered_model_name="graph", pip_requirements=["onnx"])
mlflow.MlflowClient().set_registered_model_alias("iris", "champion", "2")
"""


@dataclass(frozen=True)
class Kind:
    """A source, and what its library answers to rows of the table of irises."""

    source: str
    trusted: bool
    columns: Sequence[str]
    labels: Sequence[str]
    answers: Callable[[pd.DataFrame], npt.NDArray[Any]]


def irises() -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """150 of them, in numbers that FP32 holds exactly."""
    values, species = load_iris(return_X_y=True)
    return pd.DataFrame(values.astype(np.float32).astype(np.float64), columns=COLUMNS), species


def planted() -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """Irises with the garden that they grow in, which is a text."""
    table, species = irises()
    return table.assign(garden=[GARDENS[(index + kind) % 3] for index, kind in enumerate(species)]), species


def sources(folder: Path) -> dict[str, Kind]:
    """One of each kind, trained here and saved in `folder`."""
    table, species = irises()
    matrix = table.to_numpy()
    single = matrix.astype(np.float32)
    linear = LogisticRegression(max_iter=1000).fit(matrix, np.array(SPECIES)[species])
    forest = RandomForestClassifier(20, random_state=0).fit(single, species)
    named = GradientBoostingClassifier(n_estimators=20, random_state=0).fit(table, np.array(SPECIES)[species])
    scaled = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(table, np.array(SPECIES)[species])
    gardens, _ = planted()
    mixed = make_pipeline(
        ColumnTransformer([("numbers", StandardScaler(), COLUMNS), ("texts", OneHotEncoder(), ["garden"])]),
        LogisticRegression(max_iter=1000),
    ).fit(gardens, np.array(SPECIES)[species])
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()

    onnx.save(to_onnx(linear, single[:1], target_opset=17), str(folder / "zipmap.onnx"))
    onnx.save(to_onnx(forest, single[:1], target_opset=17, options={"zipmap": False}), str(folder / "plain.onnx"))
    by_name = ColumnTransformer([("all", StandardScaler(), COLUMNS)])
    by_column = make_pipeline(by_name, LogisticRegression(max_iter=1000)).fit(table, species > 0)
    onnx.save(to_onnx(by_column, table[:1].astype(np.float32), target_opset=17), str(folder / "columns.onnx"))
    with warnings.catch_warnings():
        # The exporter that needs no other package calls itself old.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(2, 4),),
            str(folder / "network.onnx"),
            input_names=["measured"],
            output_names=["scores"],
            dynamic_axes={"measured": {0: "n"}, "scores": {0: "n"}},
            opset_version=17,
            dynamo=False,
        )
    joblib.dump(named, folder / "boosted.joblib")
    joblib.dump((scaled, table), folder / "named.joblib")
    (folder / "garden.pkl").write_bytes(pickle.dumps(mixed))
    skops.io.dump(linear, folder / "linear.skops")

    def logits(rows: pd.DataFrame) -> npt.NDArray[Any]:
        with torch.no_grad():
            scores = torch.softmax(network(torch.tensor(rows[COLUMNS].to_numpy(), dtype=torch.float32)), dim=1)
        return np.asarray(scores.numpy())

    def of(model: Any, columns: Sequence[str] | None = None) -> Callable[[pd.DataFrame], npt.NDArray[Any]]:
        return lambda rows: model.predict_proba(rows[columns] if columns else rows[COLUMNS].to_numpy())

    return {
        "zipmap": Kind(str(folder / "zipmap.onnx"), False, NUMBERED, SPECIES, of(linear)),
        "plain": Kind(str(folder / "plain.onnx"), False, NUMBERED, ["0", "1", "2"], of(forest)),
        "by_column": Kind(str(folder / "columns.onnx"), False, WRITTEN, ["0", "1"], of(by_column, COLUMNS)),
        "network": Kind(str(folder / "network.onnx"), False, NUMBERED, ["class_0", "class_1", "class_2"], logits),
        "boosted": Kind(str(folder / "boosted.joblib"), True, COLUMNS, SPECIES, of(named, COLUMNS)),
        "garden": Kind(
            str(folder / "garden.pkl"), True, [*COLUMNS, "garden"], SPECIES, of(mixed, [*COLUMNS, "garden"])
        ),
        "skops": Kind(str(folder / "linear.skops"), False, NUMBERED, SPECIES, of(linear)),
        "stored": Kind("models:/iris/1", False, COLUMNS, SPECIES, of(scaled, COLUMNS)),
        "champion": Kind("models:/iris@champion", True, COLUMNS, SPECIES, of(scaled, COLUMNS)),
        "graph": Kind("models:/graph/1", False, NUMBERED, ["0", "1", "2"], of(forest)),
    }


WITH_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
NAMES = ["zipmap", "plain", "by_column", "network", "boosted", "garden", "skops", "stored", "champion", "graph"]


@dataclass(frozen=True)
class Served:
    """All kinds, built and served."""

    kinds: Mapping[str, Kind]
    settings: Settings
    client: Client
    build_log: str


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, make_module_settings: MakeSettings, spawn_conch: SpawnConch
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("sources")
    repository = folder / "model_repository"
    repository.mkdir()
    settings = make_module_settings(folder, repository)
    kinds = sources(folder)
    subprocess.run([sys.executable, "-c", LOG_MODELS, str(folder)], check=True, capture_output=True, timeout=LIMIT_S)

    def conch(*arguments: str) -> str:
        log = folder / f"{'-'.join(arguments[:2])}.log"
        ended = spawn_conch(*arguments, settings=settings, log=log).wait(LIMIT_S)
        assert ended == 0, log.read_text()
        return log.read_text()

    def add(named: tuple[str, Kind]) -> None:
        name, kind = named
        trust = ["--trust"] if kind.trusted else []
        conch("new", name, "--task", "tabular-classification", "--source", kind.source, "--yes", *trust)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        with ThreadPoolExecutor(ADDED_AT_ONCE) as adding:
            list(adding.map(add, kinds.items()))
        build_log = conch("build")
    models = [path.name for path in repository.iterdir()]
    with (
        EmbeddedServer(ServerOptions(settings, models=models)) as server,
        Client(server.grpc_url, timeout_s=60) as client,
    ):
        yield Served(kinds, settings, client, build_log)


def rows_of(kind: Kind, table: pd.DataFrame) -> list[Row]:
    """The table as what a caller sends: by the pipeline's own names, in its order."""
    return [dict(zip(kind.columns, row, strict=True)) for row in table.to_numpy().tolist()]


def table_for(kind: Kind) -> pd.DataFrame:
    return planted()[0] if "garden" in kind.columns else irises()[0]


@pytest.mark.parametrize("name", NAMES)
def test_scores_and_labels_are_the_source_library_s_in_batches_and_from_concurrent_callers(
    served: Served, name: str
) -> None:
    kind = served.kinds[name]
    table = table_for(kind)
    rows, expected = rows_of(kind, table), kind.answers(table)
    batches = [
        answer for start in range(0, len(rows), 32) for answer in served.client.score(rows[start : start + 32], name)
    ]
    with ThreadPoolExecutor(CALLERS) as callers:
        singles = list(callers.map(lambda row: served.client.score(row, name), rows))
    for answers in (batches, singles):
        scores = [[answer.scores[label] for label in kind.labels] for answer in answers]
        np.testing.assert_allclose(scores, expected, atol=TOLERANCE, rtol=0)
        best = [kind.labels[index] for index in expected.argmax(axis=1)]
        assert [answer.label for answer in answers] == best


@pytest.mark.parametrize("name", NAMES)
def test_the_features_are_named_as_the_source_names_them(served: Served, name: str) -> None:
    pipeline = load_pipeline(served.settings.repository / name)
    assert list(pipeline.features) == list(served.kinds[name].columns)


def test_the_categories_of_an_encoder_become_those_of_the_feature(served: Served) -> None:
    garden = load_pipeline(served.settings.repository / "garden").features["garden"]
    assert isinstance(garden, CategoricalFeature)
    assert garden.categories == GARDENS


def test_what_was_written_passes_the_check(served: Served) -> None:
    assert check_repository(served.settings.repository, served.settings.backends) == []


def test_a_build_warns_of_a_pickle(served: Served) -> None:
    assert "boosted: warning: boosted.joblib is a pickle and may run code" in served.build_log
    assert "skops: warning" not in served.build_log


def test_the_manifest_tells_which_version_an_alias_stood_for(served: Served) -> None:
    manifest = (served.settings.repository / "champion" / "1" / "manifest.json").read_text()
    assert '"mlflow_version": "2"' in manifest
    assert '"mlflow": "models:/iris@champion"' in manifest


def write_bad(folder: Path, name: str) -> Path:
    """A source that cannot be served."""
    table, species = irises()
    single = table.to_numpy().astype(np.float32)
    file = folder / name
    if name == "text.onnx":
        file.write_text("this is no graph")
    elif name == "new.onnx":
        model = LogisticRegression(max_iter=1000).fit(single, species)
        onnx.save(to_onnx(model, single[:1], target_opset=22, options={"zipmap": False}), str(file))
    elif name == "regression.onnx":
        onnx.save(to_onnx(LinearRegression().fit(single, species), single[:1], target_opset=17), str(file))
    elif name == "regression.joblib":
        joblib.dump(LinearRegression().fit(single, species), file)
    elif name == "unfitted.joblib":
        joblib.dump(LogisticRegression(), file)
    elif name == "margins.joblib":
        joblib.dump(LinearSVC().fit(single, species), file)
    elif name == "spreading.joblib":
        joblib.dump(LabelPropagation().fit(single, species), file)
    elif name == "elsewhere.pkl":
        file.write_bytes(b"cnowhere_to_be_found\nModel\n.")
    elif name == "tree.skops":
        skops.io.dump(RandomForestClassifier(2).fit(single, species), file)
    elif name == "broken.skops":
        file.write_bytes(b"no archive")
    elif name == "list.joblib":
        joblib.dump([1, 2, 3], file)
    elif name == "model.bin":
        file.write_bytes(b"?")
    elif name == "saved_model":
        file.mkdir()
        (file / "saved_model.pb").write_bytes(b"?")
    return file


@pytest.mark.parametrize(
    ("name", "trusted", "said"),
    [
        ("missing.onnx", False, "there is no such file"),
        ("text.onnx", False, "is no ONNX model"),
        ("new.onnx", False, "export it again with opset 21 or lower"),
        ("regression.onnx", False, "is no classifier"),
        ("regression.joblib", False, "is a pickle: loading it runs any code that is in it"),
        ("regression.joblib", True, "LinearRegression, which is no classifier"),
        ("unfitted.joblib", True, "was not fitted"),
        ("margins.joblib", True, "has no predict_proba: wrap it in CalibratedClassifierCV"),
        ("spreading.joblib", True, "skl2onnx cannot convert the LabelPropagation"),
        ("elsewhere.pkl", True, "needs the module nowhere_to_be_found"),
        ("list.joblib", True, "holds a list, which is no scikit-learn model"),
        ("tree.skops", False, "does not know to be safe: sklearn.tree._tree.Tree"),
        ("broken.skops", False, "cannot be loaded"),
        ("model.bin", False, "its name must end with the kind of model that it is"),
        ("saved_model", False, "is no SavedModel that TensorFlow" if WITH_TENSORFLOW else "conch[tensorflow]"),
    ],
)
def test_a_source_that_cannot_be_served_is_refused_in_one_sentence_and_nothing_is_written(
    tmp_path: Path, make_settings: MakeSettings, name: str, trusted: bool, said: str
) -> None:
    settings = make_settings(tmp_path / "model_repository")
    settings.repository.mkdir()
    asked = answers(str(write_bad(tmp_path, name)), trusted)
    with pytest.raises((BuildError, SettingsError)) as refused:
        new_pipeline(settings, asked)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert nothing_is_left(settings)


def answers(source: str, trusted: bool = False) -> Answers:
    deployment = sized("api", "cloud", "latency", "low")
    return Answers("mine", "tabular-classification", source, deployment, trusted)


def nothing_is_left(settings: Settings) -> bool:
    return not any(settings.repository.iterdir()) and not settings.state.exists()


@pytest.mark.parametrize(
    ("store", "source", "said"),
    [
        (None, "models:/iris/1", "MLFLOW_TRACKING_URI is not set"),
        ("sqlite:////nowhere/mlflow.db", "models:/iris/1", "there is no /nowhere/mlflow.db"),
        ("http://127.0.0.1:9", "models:/iris/1", "MLflow at http://127.0.0.1:9 does not answer"),
        ("here", "models:/iris/9", "has no models:/iris/9"),
        ("here", "models:/iris@nobody", "has no models:/iris@nobody"),
        ("here", "models:/nothing/1", "has no models:/nothing/1"),
        ("here", "models:/iris/2", "models:/iris/2/model.pkl is a pickle"),
    ],
)
def test_a_model_that_mlflow_does_not_give_is_refused_in_one_sentence(
    served: Served,
    tmp_path: Path,
    make_settings: MakeSettings,
    run_conch: RunConch,
    monkeypatch: pytest.MonkeyPatch,
    store: str | None,
    source: str,
    said: str,
) -> None:
    settings = make_settings(tmp_path / "model_repository")
    settings.repository.mkdir()
    if store is not None:
        folder = served.settings.repository.parent
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db" if store == "here" else store)
    ended = run_conch("new", "mine", "--task", "tabular-classification", "--source", source, "--yes", settings=settings)
    assert ended.returncode == BuildError.exit_code
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert nothing_is_left(settings)


class Intruder:
    """A pickle that calls somebody as it is loaded, and notes what it found."""

    def __init__(self, port: int, note: Path) -> None:
        self.port, self.note = port, note

    def __reduce__(self) -> tuple[Any, ...]:
        code = (
            "import os, socket\n"
            "try:\n"
            f"    socket.create_connection(('127.0.0.1', {self.port}), 2)\n"
            "    called = 'called'\n"
            "except OSError:\n"
            "    called = 'alone'\n"
            f"open({str(self.note)!r}, 'w').write(called + ' ' + os.environ.get('A_SECRET', 'nothing'))\n"
        )
        return exec, (code,)


def test_code_in_a_trusted_pickle_has_neither_network_nor_the_environment(
    tmp_path: Path, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "token")
    settings = make_settings(tmp_path / "model_repository")
    settings.repository.mkdir()
    note, file = tmp_path / "note", tmp_path / "model.pkl"
    with socket.create_server(("127.0.0.1", 0)) as server:
        file.write_bytes(pickle.dumps(Intruder(server.getsockname()[1], note)))
        with pytest.raises(BuildError):
            new_pipeline(settings, answers(str(file)))
        assert not note.exists()
        with pytest.raises(BuildError, match="no scikit-learn model"):
            new_pipeline(settings, answers(str(file), trusted=True))
    assert note.read_text() == "alone nothing"
