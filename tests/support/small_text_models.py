"""Text models as small as they can be, of the families that people bring, each with its family's own kind of tokenizer.

Nothing is downloaded: the weights are random but fixed, spread so widely that answers differ from text to text, and the
tokenizers are trained here, by each family's own class where it has one. What is saved is what `save_pretrained` writes
of any model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

POSITIONS = 64
"""Tokens that a text may have."""
SENTENCES = (
    "The room was spotless and the staff could not have been kinder.",
    "Broke on the second day and nobody answers my emails.",
    "Ingrid Solheim, an engineer from Bergen, built the lighthouse of Port Ellary in 1871.",
    "Naïve café crème in São Paulo, und über allem schwebt ein Straßenschild.",
    "The striker scored twice in the last five minutes; I was charged twice for the same order!",
)
VOCABULARY = 400
SPREAD = 0.4
"""Of the weights: narrower ones answer the same to every text."""

SPECIAL_TOKENS = ("pad", "bos", "eos", "cls", "sep")
FAIRSEQ = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}
"""Where these families have their special tokens: the padding's number decides where their positions begin."""
TOKENIZERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "bert": ("BertTokenizer", {}),
    "roberta": ("RobertaTokenizer", {"vocab": FAIRSEQ, "merges": []}),
    "distilbert": ("DistilBertTokenizer", {}),
    "deberta-v2": ("DebertaV2Tokenizer", {}),
    "mpnet": ("MPNetTokenizer", {"vocab": {**FAIRSEQ, "[UNK]": 5}}),
    "xlm-roberta": ("XLMRobertaTokenizer", {}),
    "electra": ("ElectraTokenizer", {}),
    "albert": ("AlbertTokenizer", {}),
}
"""Class and what it begins with: WordPiece, byte-level BPE or Unigram."""
FAMILIES = (*TOKENIZERS, "modernbert")
SIZES: Mapping[str, int] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 37,
    "max_position_embeddings": POSITIONS,
}
OF_FAMILY: Mapping[str, Mapping[str, Any]] = {
    "roberta": {"max_position_embeddings": POSITIONS + 2},
    "xlm-roberta": {"max_position_embeddings": POSITIONS + 2},
    "mpnet": {"max_position_embeddings": POSITIONS + 2},
    "albert": {"embedding_size": 16},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "type_vocab_size": 0,
        "position_biased_input": False,
    },
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 16},
}


def save_small_model(folder: Path, family: str, head: str | None, labels: Sequence[str] = (), **config: Any) -> Path:
    """Write model and tokenizer; `head` is the end of an auto class's name, `SequenceClassification`, or None for the
    encoder alone. `config` is anything for config.json."""
    tokenizer = small_tokenizer(family)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(len(family))
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in SPECIAL_TOKENS}
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: number for number, name in enumerate(labels)}}
    made = transformers.AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        initializer_range=SPREAD,
        **{**SIZES, **OF_FAMILY.get(family, {}), **special, **(names if labels else {}), **config},
    )
    auto = getattr(transformers, "AutoModel" if head is None else f"AutoModelFor{head}")
    auto.from_config(made).eval().save_pretrained(folder)
    return folder


def small_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Trained on the sentences."""
    if family == "modernbert":
        return _byte_level_tokenizer()
    name, beginning = TOKENIZERS[family]
    untrained = getattr(transformers, name)(**beginning)
    trained: PreTrainedTokenizerFast = untrained.train_new_from_iterator(SENTENCES, VOCABULARY, show_progress=False)
    return trained


def _byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """As ModernBERT has it, whose tokenizer has no class of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(each, tokenizer.token_to_id(each)) for each in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )
