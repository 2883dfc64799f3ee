"""Text towers whose files leave out the words that training never showed.

CLIP's vocabulary has 49,408 words, of which the captions of a mini model use some three thousand.
A row of another word is left out where a file is written, and is zero where one is read: the word
says nothing. Files with the whole table, as open_clip writes them, are read as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmark.errors import WeightsError

TABLE, _ROWS = "token_embedding.weight", "token_embedding.rows"


def without_unused_words(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict whose table [V, D] is [K, D], with the numbers [K] int32 of the rows kept.

    Rows of zeros are what is left out; without any, and without a table, nothing changes.
    """
    packed = dict(state)
    for name in [name for name in state if name.endswith(TABLE)]:
        used = state[name].abs().sum(1) > 0
        if not used.all():
            packed[name] = state[name][used].contiguous()
            packed[_rows_of(name)] = used.nonzero().flatten().int()
    return packed


def with_unused_words(
    state: Mapping[str, Tensor], model: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The inverse of :func:`without_unused_words`.

    Args:
        state: as a file has it.
        model: the state dict of the architecture, for the size of the vocabulary.

    Raises:
        WeightsError: rows that the vocabulary does not have, or another number of them than the
            table has.
    """
    whole = dict(state)
    for name in [name for name in state if name.endswith(TABLE) and _rows_of(name) in state]:
        table, rows = state[name], whole.pop(_rows_of(name)).long()
        words = len(model[name]) if name in model else 0
        if rows.shape != table.shape[:1] or len(torch.unique(rows)) != len(rows):
            raise WeightsError(f"{_rows_of(name)} does not name one word for each row of {name}")
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < words:
            raise WeightsError(f"{_rows_of(name)} names words beyond the vocabulary of {words}")
        whole[name] = table.new_zeros(words, table.shape[1]).index_copy(0, rows, table)
    return whole


def _rows_of(table: str) -> str:
    return table.removesuffix(TABLE) + _ROWS
