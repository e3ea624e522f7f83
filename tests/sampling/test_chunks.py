"""Prompts of any length in chunks of the tokenizer's own."""

import pytest
import torch

from sdlora.bases.geometry import shipped_tokenizers
from sdlora.errors import Error
from sdlora.sampling.chunks import BACKTRACK, PLACEHOLDER, chunks_of, ids_of, room_of


@pytest.fixture(scope="module", params=["clip", "mini"])
def tokenizer(request, mini):
    return shipped_tokenizers("sd1")[0] if request.param == "clip" else mini.tokenizers[0]


def ids(chunks):
    return [[token.id for token in chunk] for chunk in chunks]


def plain(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


def words(tokenizer, count):
    """A text of so many tokens without a comma."""
    (one,) = plain(tokenizer, "a")
    text = " ".join("a" * count)
    assert plain(tokenizer, text) == [one] * count
    return text


def test_a_short_prompt_is_what_the_tokenizer_makes_of_it(tokenizer):
    for text in ("", "a fox", "größer, red: (very) 🦊!"):
        (chunk,) = chunks_of(tokenizer, text.replace("(", "\\(").replace(")", "\\)"), {})
        whole = tokenizer(text, padding="max_length", truncation=True, max_length=tokenizer.model_max_length)
        assert ids_of(tokenizer, chunk) == whole.input_ids


def test_a_chunk_is_as_long_as_the_tokenizer_says(tokenizer):
    room = room_of(tokenizer)
    assert room == tokenizer.model_max_length - 2
    for count, sizes in ((room, [room]), (room + 1, [room, 1]), (3 * room, [room] * 3)):
        chunks = chunks_of(tokenizer, words(tokenizer, count), {})
        assert [len(chunk) for chunk in chunks] == sizes
        for chunk in chunks:
            row = ids_of(tokenizer, chunk)
            assert len(row) == tokenizer.model_max_length
            assert (row[0], row[len(chunk) + 1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)


def test_break_ends_a_chunk_at_once(tokenizer):
    assert ids(chunks_of(tokenizer, "a fox BREAK red", {})) == [plain(tokenizer, "a fox"), plain(tokenizer, "red")]
    assert ids(chunks_of(tokenizer, "BREAK a", {})) == [[], plain(tokenizer, "a")]
    assert ids(chunks_of(tokenizer, "a BREAK", {})) == [plain(tokenizer, "a")]


@pytest.mark.parametrize("after", [0, 1, BACKTRACK - 1, BACKTRACK])
def test_what_follows_a_comma_near_the_end_goes_to_the_next_chunk(after, tokenizer):
    """A1111's rule: the comma stays, and what stands after it moves if chunk's end is within 20 tokens of the comma."""
    room = room_of(tokenizer)
    before = room - 1 - after
    text = f"{words(tokenizer, before)}, {words(tokenizer, after + 3)}"
    moved = after < BACKTRACK
    first = before + 1 if moved else room
    assert [len(chunk) for chunk in chunks_of(tokenizer, text, {})] == [first, before + 1 + after + 3 - first]


def test_a_comma_that_comes_first_in_a_chunk_moves_nothing(tokenizer):
    room = room_of(tokenizer)
    chunks = chunks_of(tokenizer, f"{words(tokenizer, room)}, {words(tokenizer, room)}", {})
    assert [len(chunk) for chunk in chunks] == [room, room, 1]
    assert chunks[1][0].id == plain(tokenizer, ",")[0]


def test_weights_go_with_their_tokens_over_the_border(tokenizer):
    room = room_of(tokenizer)
    chunks = chunks_of(tokenizer, f"{words(tokenizer, room - 3)}, ({words(tokenizer, 4)}:1.5)", {})
    assert [[token.weight for token in chunk] for chunk in chunks] == [[1.0] * (room - 2), [1.5] * 4]


def test_learned_tokens_stand_for_their_vectors_and_are_not_parted(tokenizer):
    vectors = torch.arange(6.0).reshape(3, 2)
    (chunk,) = chunks_of(tokenizer, "a (<s1>:1.5), fox", {"<s1>": vectors})
    assert [token.id for token in chunk] == [*plain(tokenizer, "a"), *[PLACEHOLDER] * 3, *plain(tokenizer, ", fox")]
    assert [token.weight for token in chunk[1:4]] == [1.5] * 3
    assert torch.equal(torch.stack([token.vector for token in chunk[1:4]]), vectors)
    room = room_of(tokenizer)
    chunks = chunks_of(tokenizer, f"{words(tokenizer, room - 2)} <s1>", {"<s1>": vectors})
    assert [len(chunk) for chunk in chunks] == [room - 2, 3]


def test_learned_names_are_whole_words_in_any_case_the_longest_first(tokenizer):
    learned = {"ink": torch.zeros(1, 2), "ink wash": torch.ones(2, 2), "": torch.zeros(1, 2)}
    vectors = [
        token.vector for chunk in chunks_of(tokenizer, "drinking INK Wash, inks, Ink", learned) for token in chunk
    ]
    assert [float(vector[0]) for vector in vectors if vector is not None] == [1.0, 1.0, 0.0]


def test_a_learned_token_too_long_for_any_chunk_is_refused(tokenizer):
    with pytest.raises(Error, match=r"<s1> has \d+ vectors, but a prompt's chunk holds \d+ tokens"):
        chunks_of(tokenizer, "<s1>", {"<s1>": torch.zeros(room_of(tokenizer) + 1, 2)})
