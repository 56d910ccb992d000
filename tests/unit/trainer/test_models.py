"""The built-in models, the Hugging Face ones, and what they refuse. Nothing is downloaded."""

import hashlib
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from PIL import Image

from actlabel.classifiers.choose import choose_model
from actlabel.classifiers.cnn import ConvNetKind
from actlabel.classifiers.content import Content
from actlabel.classifiers.contents import Contents, contents_of
from actlabel.classifiers.ngrams import BUCKETS, NgramKind, ngram_buckets
from actlabel.classifiers.pictures import decode
from actlabel.classifiers.port import ModelKind
from actlabel.classifiers.ragged import Ragged, write_ragged
from actlabel.classifiers.stored import load_model
from actlabel.core.errors import UserError
from actlabel.dataset.table import IMAGE
from actlabel.model_registry.files import put_model
from actlabel.runtime.storage import Storage
from actlabel.trainer.evaluate import plain_accuracy, weighted_accuracy
from tests.unit.trainer.digit_campaign import png

TEXTS, IMAGES = (("text", "text"),), (("image", "image"),)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """These models are too small to share among cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _texts(folder: Path, texts: list[str]) -> Contents:
    pq.write_table(pa.table({"id": [str(number) for number in range(len(texts))], "text": texts}), folder / "t.parquet")
    return contents_of([folder / "t.parquet"], TEXTS)


def _images(folder: Path, images: list[bytes | None]) -> Contents:
    rows = [{"id": str(number), "image": data and {"bytes": data, "path": ""}} for number, data in enumerate(images)]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([("id", pa.string()), ("image", IMAGE)])), folder / "i.parquet")
    return contents_of([folder / "i.parquet"], IMAGES)


def _fresh(folder: Path) -> Path:
    (folder / "features").mkdir()
    return folder / "features"


# ---- small models ---------------------------------------------------------------------------------------------------------------------


def test_ngrams_of_a_text_are_stable_over_versions() -> None:
    digest = hashlib.sha256(ngram_buckets("The quick brown fox — über alles").tobytes()).hexdigest()
    assert digest[:16] == "e51fb087a1b248f4"


@pytest.mark.parametrize("text", ["", "a", " ", "ab", "\x00", "é" * 40_000, "\U0001f600"])
def test_any_text_has_buckets_within_range(text: str) -> None:
    buckets = ngram_buckets(text)
    assert buckets.dtype == np.int32
    assert not len(buckets) or (buckets.min() >= 0 and buckets.max() < BUCKETS)


def test_case_and_spacing_do_not_matter() -> None:
    assert np.array_equal(ngram_buckets("Hello  World\n"), ngram_buckets("hello world"))
    assert not np.array_equal(ngram_buckets("hello world"), ngram_buckets("world hello"))


def test_the_linear_model_is_what_it_says(tmp_path: Path) -> None:
    kind = NgramKind()
    folder = _fresh(tmp_path)
    kind.encode(_texts(tmp_path, ["good film", "", "bad film"]), folder)
    model = kind.build(("a", "b"))
    with torch.no_grad():
        model.weight.weight.copy_(torch.randn(model.weight.weight.shape, generator=torch.manual_seed(1)))
    logits = model(**kind.features(folder).batch(np.array([0, 1, 2])))
    bag = ngram_buckets("bad film")
    expected = model.weight.weight[torch.from_numpy(bag).long()].sum(dim=0) / np.sqrt(len(bag))
    torch.testing.assert_close(logits[2], expected + model.bias, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits[1], model.bias)  # an empty text has nothing but the bias


def test_the_net_takes_images_of_any_size_and_mode(tmp_path: Path) -> None:
    files = []
    for size, mode in (((8, 8), "L"), ((300, 20), "RGB"), ((31, 64), "RGBA"), ((5, 5), "1"), ((9, 9), "P")):
        file = io.BytesIO()
        Image.new(mode, size).save(file, format="PNG")
        files.append(file.getvalue())
    kind, folder = ConvNetKind(), _fresh(tmp_path)
    kind.encode(_images(tmp_path, files), folder)
    features = kind.features(folder)
    assert len(features) == 5
    assert kind.build(tuple("abc"))(**features.batch(np.arange(5))).shape == (5, 3)


def test_the_answer_for_an_item_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kind, folder = ConvNetKind(), _fresh(tmp_path)
    kind.encode(_images(tmp_path, [png(rng.integers(0, 16, (8, 8))) for _ in range(6)]), folder)
    features, model = kind.features(folder), kind.build(tuple("abc"))
    together = model(**features.batch(np.arange(6)))
    alone = torch.cat([model(**features.batch(np.array([row]))) for row in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [ConvNetKind(), NgramKind()], ids=["cnn", "ngrams"])
def test_what_is_served_is_encoded_as_what_was_trained_on(kind: ModelKind, tmp_path: Path) -> None:
    rng, folder = np.random.default_rng(0), _fresh(tmp_path)
    images = isinstance(kind, ConvNetKind)
    contents = (
        _images(tmp_path, [png(rng.integers(0, 16, (8, 8))) for _ in range(4)]) if images else _texts(tmp_path, ["a b", "", "A  b c", "ü"])
    )
    kind.encode(contents, folder)
    trained_on = kind.features(folder).batch(np.arange(4))
    served = kind.collate([kind.row(content) for content in contents])
    assert trained_on.keys() == served.keys()
    for name, tensor in trained_on.items():
        assert torch.equal(tensor, served[name])


def test_an_item_without_an_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="item '1' has no image"):
        ConvNetKind().encode(_images(tmp_path, [png(np.zeros((8, 8))), None]), _fresh(tmp_path))


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="item 'x': its image cannot be read"):
        decode(png(np.zeros((8, 8))), "x")


def test_formats_that_are_not_listed_are_not_decoded(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, format="PPM")
    with pytest.raises(UserError, match="cannot be read"):
        decode(file.getvalue(), "x")


def test_rows_of_any_length_come_back(tmp_path: Path) -> None:
    rows = [np.arange(3, dtype=np.int32), np.zeros(0, dtype=np.int32), np.arange(5, dtype=np.int32)]
    write_ragged(tmp_path / "r", rows, "int32")
    write_ragged(tmp_path / "none", [], "int32")
    found = Ragged(tmp_path / "r")
    assert [found[row].tolist() for row in range(len(found))] == [row.tolist() for row in rows]
    assert len(Ragged(tmp_path / "none")) == 0


# words for a model and the content they cannot be used with
@pytest.mark.parametrize(
    ("word", "columns", "message"),
    [
        ("cnn", TEXTS, "the items have no image"),
        ("ngrams", IMAGES, "the items have no text"),
        ("resnet", IMAGES, "is not cnn, ngrams or hf:"),
    ],
)
def test_a_model_that_does_not_fit_the_content_is_refused(word: str, columns: tuple[tuple[str, str], ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_model(word, columns)


def test_the_content_chooses_where_the_user_does_not() -> None:
    assert isinstance(choose_model("auto", IMAGES), ConvNetKind)
    assert isinstance(choose_model("auto", TEXTS), NgramKind)


# ---- Hugging Face ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights and a tokenizer of a few words."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "a"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=16).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=16
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViT with random weights."""
    folder = tmp_path_factory.mktemp("vit")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def test_a_text_classifier_by_path_gets_our_labels(text_model: Path, tmp_path: Path) -> None:
    kind = choose_model(f"hf:{text_model}", TEXTS)
    folder = _fresh(tmp_path)
    kind.encode(_texts(tmp_path, ["good film", "a bad bad film " * 20, ""]), folder)
    batch = kind.features(folder).batch(np.arange(3))
    assert batch["attention_mask"].sum(dim=1).tolist() == [4, 16, 2]
    model = kind.build(("no", "maybe", "yes"))
    assert model(**batch).shape == (3, 3)
    assert model.inner.config.id2label == {0: "no", 1: "maybe", 2: "yes"}


def test_an_image_classifier_by_path_gets_our_labels(image_model: Path, tmp_path: Path) -> None:
    kind = choose_model(f"hf:{image_model}", IMAGES)
    folder = _fresh(tmp_path)
    kind.encode(_images(tmp_path, [png(np.zeros((8, 8))), png(np.full((8, 8), 9))]), folder)
    batch = kind.features(folder).batch(np.array([1, 0]))
    assert batch["pixel_values"].shape == (2, 3, 16, 16)
    assert kind.build(("no", "yes", "maybe"))(**batch).shape == (2, 3)


def test_a_saved_classifier_is_one_of_hugging_face(text_model: Path, tmp_path: Path) -> None:
    kind, folder = choose_model(f"hf:{text_model}", TEXTS), _fresh(tmp_path)
    kind.encode(_texts(tmp_path, ["good film"]), folder)
    model = kind.build(("no", "yes")).eval()
    kind.save(model, tmp_path)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    words = transformers.AutoTokenizer.from_pretrained(tmp_path)("good film", return_tensors="pt")
    torch.testing.assert_close(again(**words).logits, model(**kind.features(folder).batch(np.array([0]))))


@pytest.mark.parametrize("images", [False, True], ids=["text", "image"])
def test_a_trained_classifier_comes_back_from_the_registry(text_model: Path, image_model: Path, tmp_path: Path, images: bool) -> None:
    kind = choose_model(f"hf:{image_model if images else text_model}", IMAGES if images else TEXTS)
    model, folder = kind.build(("no", "yes", "maybe")).eval(), tmp_path / "trained"
    folder.mkdir()
    kind.save(model, folder)
    (folder / "labels.json").write_text('["no", "yes", "maybe"]')
    (folder / "model_card.json").write_text(json.dumps({"model": kind.describe()}))
    files = put_model(Storage(str(tmp_path / "storage")), folder)  # what a tokenizer and a processor leave is data
    stored = load_model(folder)
    rows = [kind.row(Content("x", "good film", png(np.zeros((8, 8)))))]
    torch.testing.assert_close(stored.model(**stored.kind.collate(rows)), model(**kind.collate(rows)))
    assert (stored.labels, stored.reads_images) == (("no", "yes", "maybe"), images)
    assert any(file.name == "model.safetensors" for file in files)


# what a stored model may be instead of one, and what is said
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("labels.json", '["a"]', "is no list of two or more labels"),
        ("labels.json", "{", "cannot be read as JSON"),
        ("labels.json", '["a", "b", "c"]', "holds no weights of this model"),
        ("model_card.json", "{}", "names no model"),
        ("model_card.json", '{"model": {"kind": "os.system"}}', "kind 'os.system' is not one of cnn, ngrams, hf-text, hf-image"),
        ("model_card.json", '{"model": {"kind": "cnn", "version": 0}}', "train it again"),
        ("model.safetensors", "\x80\x04not weights", "holds no weights of this model"),
    ],
)
def test_a_folder_that_is_no_model_is_one_line(tmp_path: Path, file: str, content: str, message: str) -> None:
    kind = ConvNetKind()
    kind.save(kind.build(("a", "b")), tmp_path)
    (tmp_path / "labels.json").write_text('["a", "b"]')
    (tmp_path / "model_card.json").write_text(json.dumps({"model": kind.describe()}))
    assert load_model(tmp_path).labels == ("a", "b")
    (tmp_path / file).write_text(content)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_padding_does_not_change_an_answer(text_model: Path, tmp_path: Path) -> None:
    kind, folder = choose_model(f"hf:{text_model}", TEXTS), _fresh(tmp_path)
    kind.encode(_texts(tmp_path, ["good film", "a bad bad film"]), folder)
    features, model = kind.features(folder), kind.build(("no", "yes")).eval()
    torch.testing.assert_close(model(**features.batch(np.arange(2)))[:1], model(**features.batch(np.array([0]))), rtol=1e-4, atol=1e-5)


def test_weights_that_are_a_pickle_are_refused(text_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(text_model, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be loaded with AutoModelForSequenceClassification"):
        choose_model(f"hf:{folder}", TEXTS).build(("no", "yes"))


def test_code_from_a_model_is_not_run(text_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(text_model, tmp_path / "custom")
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "custom-made"
    config["auto_map"] = {
        "AutoConfig": "evil.Config",
        "AutoModelForSequenceClassification": "evil.Model",
        "AutoTokenizer": [None, "evil.T"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="cannot be loaded"):
        choose_model(f"hf:{folder}", TEXTS).build(("no", "yes"))
    assert not (tmp_path / "ran").exists()


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"--model hf:.*: cannot be loaded with AutoTokenizer") as caught:
        choose_model(f"hf:{tmp_path / 'nothing'}", TEXTS)
    assert "\n" not in str(caught.value)


def test_without_the_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"needs the extra hf: pip install 'actlabel\[hf\]'"):
        choose_model("hf:any", TEXTS)


# ---- evaluation -----------------------------------------------------------------------------------------------------------------------


def test_the_accuracy_of_a_test_set_has_wilsons_interval() -> None:
    found = plain_accuracy(np.array([True] * 45 + [False] * 5))
    assert (found.test_accuracy, found.test_items) == (0.9, 50)
    assert (round(found.low, 4), round(found.high, 4)) == (0.7864, 0.9565)  # statsmodels, proportion_confint(45, 50, method="wilson")


def test_the_weighted_accuracy_speaks_about_all_items() -> None:
    rng = np.random.default_rng(1)
    right = rng.random(100_000) < 0.7
    pi = np.where(right, 0.05, 0.5)  # wrong ones are looked at ten times as often
    chosen = rng.random(100_000) < pi
    found = weighted_accuracy(right[chosen], pi[chosen], certain_gap=False)
    assert found.low < 0.7 < found.high
    assert found.high - found.low < 0.05
    assert weighted_accuracy(right[chosen], pi[chosen], certain_gap=True).evaluation.endswith("are not covered")
