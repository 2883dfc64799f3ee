"""Word tables of which a file holds only the words that training showed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmark.errors import WeightsError
from benchmark.zoo.clip import ClipEncoder, build_clip
from benchmark.zoo.loading import load_state
from benchmark.zoo.mini.clip import drop_untaught_words, text_seed
from benchmark.zoo.mini.export import WEIGHTS
from benchmark.zoo.word_table import with_unused_words, without_unused_words

NAME = "text.token_embedding.weight"


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_what_is_left_out_comes_back_as_zeros(used: list[bool]) -> None:
    table = torch.arange(1.0, 1 + 3 * len(used)).view(-1, 3) * torch.tensor(used)[:, None]
    state = {NAME: table, "other": torch.ones(2)}
    packed = without_unused_words(state)
    assert len(packed[NAME]) == sum(used)
    back = with_unused_words(packed, state)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_a_whole_table_is_read_as_it_is() -> None:
    state = {NAME: torch.ones(4, 2)}
    assert without_unused_words(state).keys() == state.keys()
    assert with_unused_words(state, state)[NAME] is state[NAME]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 5], "beyond the vocabulary of 5"),
        ([-1, 2], "beyond the vocabulary of 5"),
        ([1, 1], "one word for each row"),
        ([0, 1, 2], "one word for each row"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows: list[int], message: str) -> None:
    state = {NAME: torch.ones(2, 3), "text.token_embedding.rows": torch.tensor(rows)}
    with pytest.raises(WeightsError, match=message):
        with_unused_words(state, {NAME: torch.ones(5, 3)})


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(6, 4)

    def forward(self, words: Tensor) -> Tensor:
        found: Tensor = self.token_embedding(words)
        return found.square().sum()


def test_words_that_weight_decay_alone_moved_are_dropped() -> None:
    model = Text()
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.tensor([1, 4])).backward()
        optimizer.step()
    drop_untaught_words(model, initial)
    assert (model.token_embedding.weight.abs().sum(1) > 0).tolist() == [
        False, True, False, False, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("model", ["clip-guide", "clip-score"])
def test_untaught_words_are_told_by_the_seed_of_the_first_stage(model: str) -> None:
    """Even words of captions lie roughly where they were drawn; another seed's rows do not."""
    name = "token_embedding.weight"
    initial = build_clip(model, text_seed(model)).state_dict()
    table = with_unused_words(load_state(WEIGHTS / f"{model}.safetensors"), initial)[name].float()
    kept = table.abs().sum(1) > 0
    alike, unlike = (
        torch.cosine_similarity(table, rows)[kept].median()
        for rows in (initial[name], build_clip(model, text_seed(model) + 1).state_dict()[name])
    )
    assert alike > 0.3 and unlike.abs() < 0.1


def test_the_shipped_guide_leaves_out_words_of_no_caption() -> None:
    state = load_state(WEIGHTS / "clip-guide.safetensors")
    assert 1000 < len(state["token_embedding.weight"]) < 6000


def test_the_shipped_siglip_reads_words_that_its_file_leaves_out() -> None:
    state = load_state(WEIGHTS / "sigmoid-guide.safetensors")
    assert len(state[NAME]) < 4000
    encoder = ClipEncoder.from_state_dict(state, "sigmoid-guide")
    assert len(encoder.model.state_dict()[NAME]) == 49408
    known, unknown = encoder.encode_text(["a photo of a dog", "a photo of a zygote"])
    assert unknown.isfinite().all() and not torch.equal(known, unknown)


def test_a_fresh_clip_keeps_its_whole_table() -> None:
    state = build_clip("clip-guide").state_dict()
    assert without_unused_words(state).keys() == state.keys()
