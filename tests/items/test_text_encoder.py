"""Text embeddings: the sentence encoder and its cache (tastevec.items.text)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tastevec.errors import MissingExtraError, SettingsError
from tastevec.items import text as text_module
from tastevec.items.text import embed_texts, expected_seconds, find_encoder, text_notes, with_embeddings

SENTENCES = [
    "Two astronauts fly a rocket to the moon and fight for survival.",
    "A crew travels through space to reach a distant planet.",
    "A shy baker falls in love with the owner of a flower shop.",
    None,
    "",
    "A crew travels through space to reach a distant planet.",
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def items(texts: list[str | None]) -> pa.Table:
    return pa.table({"item_id": pa.array(range(len(texts))), "text:plot": pa.array(texts, pa.string())})


def test_embeddings_have_length_1_and_similar_texts_are_similar(checkpoint):
    vectors = embed_texts(pa.array(SENTENCES), find_encoder(checkpoint))

    assert vectors.shape == (6, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors[[0, 1, 2, 5]], axis=1), 1, atol=1e-5)
    assert not vectors[3:5].any()
    np.testing.assert_array_equal(vectors[1], vectors[5])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_embeddings_are_computed_once_and_depend_on_their_text_alone(checkpoint, monkeypatch):
    encoder = find_encoder(checkpoint)
    alone = embed_texts(pa.array(SENTENCES[:1]), encoder)
    together = embed_texts(pa.array(SENTENCES), encoder)
    monkeypatch.setattr(text_module._Model, "load", None)

    again = embed_texts(pa.array(SENTENCES), encoder)

    np.testing.assert_array_equal(again, together)
    np.testing.assert_array_equal(alone[0], together[0])
    assert expected_seconds(pa.array(SENTENCES[:3]), encoder) == (0, 0.0)


def test_embeddings_of_a_damaged_or_unwritable_cache_are_computed_again(checkpoint, cache):
    encoder = find_encoder(checkpoint)
    first = embed_texts(pa.array(SENTENCES[:2]), encoder)
    file = next(cache.rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:100])

    np.testing.assert_array_equal(embed_texts(pa.array(SENTENCES[:2]), encoder), first)
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("no folder")
    np.testing.assert_array_equal(embed_texts(pa.array(SENTENCES[:2]), encoder), first)


def test_new_texts_take_longer_than_known_ones(checkpoint):
    count, seconds = expected_seconds(pa.array(["word " * 47] * 2 + ["other"]), find_encoder(checkpoint))

    assert count == 2
    assert 0.001 < seconds < 0.1


def test_items_with_texts_get_vectors_and_the_report_names_the_model(checkpoint):
    notes = text_notes(items(SENTENCES), checkpoint)
    table, label = with_embeddings(items(SENTENCES), checkpoint)

    assert table.schema.field("text:plot").type == pa.list_(pa.float32(), 384)
    assert table["text:plot"].null_count == 2
    assert label.startswith("model ")
    assert notes == ("plot: embeddings by model; 0 known, 3 new, about 1 s",)


def test_without_the_extra_the_words_are_read_and_the_report_names_it(monkeypatch):
    monkeypatch.setattr(text_module, "is_installed", lambda library: library != "torch")

    notes = text_notes(items(SENTENCES), None)
    table, label = with_embeddings(items(SENTENCES), None)

    assert table.schema.field("text:plot").type == pa.string()
    assert label == ""
    assert notes == ("read as words: torch are not installed. For embeddings: pip install 'tastevec[text]'",)
    with pytest.raises(MissingExtraError, match=r"tastevec\[text\]"):
        find_encoder("somewhere")


def test_without_a_local_copy_nothing_is_downloaded_and_words_are_read(monkeypatch, tmp_path):
    import huggingface_hub  # noqa: PLC0415  patched where it is imported

    names = []

    def missing(name, *, local_files_only, **_others):
        names.append((name, local_files_only))
        raise huggingface_hub.errors.LocalEntryNotFoundError("not there")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", missing)

    assert "read as words: no local copy" in find_encoder(None)
    assert "--text-model FOLDER" in find_encoder(None)
    assert find_encoder("none") == "read as words (--text-model none)"
    with pytest.raises(SettingsError, match="not found as a local folder or on the Hugging Face Hub"):
        find_encoder("org/name")
    with pytest.raises(SettingsError, match="not found as a local folder"):
        find_encoder(str(tmp_path / "nothing"))
    assert names == [(text_module.DEFAULT_MODEL, True)] * 2 + [("org/name", False)]


def test_local_copy_of_the_default_is_taken(monkeypatch, checkpoint):
    import huggingface_hub  # noqa: PLC0415  patched where it is imported

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda _name, **_others: checkpoint)

    assert find_encoder(None).name == "all-MiniLM-L6-v2"


def test_folders_without_an_encoder_are_refused(tmp_path, checkpoint):
    with pytest.raises(SettingsError, match=r"no config\.json\. Expected a BERT sentence encoder"):
        find_encoder(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes((Path(checkpoint) / "model.safetensors").read_bytes()[:1000])
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(SettingsError, match="the model is gpt2"):
        find_encoder(str(tmp_path))
    (tmp_path / "config.json").write_bytes((Path(checkpoint) / "config.json").read_bytes())
    with pytest.raises(SettingsError, match=r"cannot be loaded"):
        embed_texts(pa.array(["a text"]), find_encoder(str(tmp_path)))


def test_items_without_texts_need_no_encoder():
    table = pa.table({"item_id": [1]})

    assert with_embeddings(table, "nowhere") == (table, "")
    assert text_notes(table, "nowhere") == ()
