"""FastAPI + sentence-transformers in one process: the service that most people write first.

Each request encodes its own text in FastAPI's thread pool; PyTorch takes the cores as it likes. Nothing is batched.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

from conch_tools.bench.services.lifeline import end_with_parent


class Query(BaseModel):
    """The body of a request."""

    text: str


def service(model_folder: str) -> FastAPI:
    """The application, its model loaded."""
    app = FastAPI()
    model = SentenceTransformer(model_folder, device="cpu")

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/predict")
    def predict(query: Query) -> dict[str, list[float]]:
        return {"embedding": model.encode(query.text).tolist()}

    return app


if __name__ == "__main__":
    end_with_parent()
    uvicorn.run(service(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
