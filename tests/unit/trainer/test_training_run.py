"""The whole run in this process: results, resume, independence of the number of ranks, and refusals."""

import asyncio
import copy
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from actlabel.classifiers.cnn import ConvNetKind
from actlabel.core.errors import Fatal, UserError
from actlabel.dataset.export import Exported
from actlabel.trainer.loop import policy_for, run
from actlabel.trainer.main import selected
from actlabel.trainer.plan import TrainingPlan, check_plan, parse_workers, plan_from_json
from actlabel.trainer.prepare import Prepared, open_prepared, prepare
from actlabel.trainer.ranks import SoloRanks
from actlabel.trainer.training import Training, learning_rate
from tests.unit.trainer import digit_campaign
from tests.unit.trainer.thread_ranks import on_every_rank

ITEMS, BUDGET = 300, 90


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """These models are too small to share among cores, and the cores have other tests to run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data() -> digit_campaign.Digits:
    """A small finished campaign."""
    return digit_campaign.digits(items=ITEMS, budget=BUDGET)


@pytest.fixture(scope="module")
def snapshot(data: digit_campaign.Digits, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its snapshot on disk."""
    return asyncio.run(digit_campaign.snapshot_of(digit_campaign.records(data), tmp_path_factory.mktemp("snapshot")))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images beyond the campaign's, in a folder per label."""
    return digit_campaign.write_test_folder(tmp_path_factory.mktemp("images"), items=100)


@pytest.fixture
def plan(snapshot: Exported, images: Path, tmp_path: Path) -> TrainingPlan:
    """Two short models."""
    return TrainingPlan(snapshot=snapshot.path, out=tmp_path / "out", losses=("act", "merged-ce"), epochs=3, batch_items=32, test=images)


def _weights(plan: TrainingPlan, name: str) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(plan.out / "models" / name / "model.safetensors")


def test_a_run_leaves_a_folder_per_loss_that_says_everything(plan: TrainingPlan) -> None:
    results = run(prepare(plan), SoloRanks())
    assert [result["name"] for result in results] == ["act", "merged-ce"]
    folder = plan.out / "models" / "act"
    assert {path.name for path in folder.iterdir()} == {
        *("model.safetensors", "metrics.jsonl", "config.json", "labels.json", "manifest.json", "model_card.json")
    }
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(3 * 10))
    assert {"risk", "max_weight", "effective_sample_size", "top_share"} <= lines[0].keys()
    card = json.loads((folder / "model_card.json").read_text())
    assert card["min_batch_risk"] == min(line["risk"] for line in lines)
    assert card["negative_batches"] == pytest.approx(np.mean([line["risk"] < 0 for line in lines]))
    assert card["test_items"] == 100
    assert card["low"] < card["test_accuracy"] < card["high"]


def test_enough_training_learns_the_digits_in_spite_of_wrong_labels(plan: TrainingPlan) -> None:
    results = run(prepare(replace(plan, losses=("act",), epochs=25)), SoloRanks())
    assert results[0]["test_accuracy"] > 0.8  # the machine's labels are right for 3 of 4 items


def test_every_loss_takes_the_same_number_of_steps(plan: TrainingPlan) -> None:
    results = run(prepare(replace(plan, losses=("human-only", "ipw", "snipw", "forward", "machine-only"))), SoloRanks())
    assert {result["steps"] for result in results} == {30}
    assert results[0]["train_items"] == BUDGET


class _BuildsOneAtATime(ConvNetKind):
    """Threads share torch's random state; processes do not.

    In double precision: Adam divides by the root of tiny gradients, and so makes the rounding of single precision seen, on each kind of
    processor another one.
    """

    _lock = threading.Lock()
    _built: torch.nn.Module | None = None  # once, before another thread draws numbers

    def build(self, labels: tuple[str, ...]) -> torch.nn.Module:
        with self._lock:
            if self._built is None:
                torch.manual_seed(0)
                self._built = super().build(labels).double()
                self._built.get_submodule("body").register_forward_pre_hook(_in_double)
            return copy.deepcopy(self._built)


def _in_double(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(one.double() for one in inputs)


def test_the_result_does_not_depend_on_the_number_of_ranks(plan: TrainingPlan, tmp_path: Path) -> None:
    run(replace(prepare(plan), kind=_BuildsOneAtATime()), SoloRanks())
    three = replace(plan, out=tmp_path / "three")
    prepared = prepare(three)
    prepared = replace(prepared, kind=_BuildsOneAtATime())
    prepared.kind.build(prepared.snapshot.labels)
    on_every_rank(3, lambda ranks: run(prepared, ranks))
    for name in plan.losses:
        one, other = _weights(plan, name), _weights(three, name)
        for tensor in one:
            torch.testing.assert_close(one[tensor], other[tensor], rtol=1e-6, atol=1e-9)


def test_more_ranks_than_items_of_a_batch_is_fine(plan: TrainingPlan) -> None:
    tiny = replace(plan, losses=("act",), batch_items=2, epochs=1)
    prepared = prepare(tiny)
    results = on_every_rank(4, lambda ranks: run(prepared, ranks))
    assert results[0][0]["steps"] == ITEMS / 2
    assert results[0][0]["test_accuracy"] == results[3][0]["test_accuracy"]


class _Dies(SoloRanks):
    """A process that ends right after its checkpoint of a given number."""

    def __init__(self, file: Path, after: int) -> None:
        super().__init__(file)
        self._left = after

    def save(self, state: dict[str, Any] | None, /) -> None:
        super().save(state)
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [7, 31, 45])  # within the first model, right after it (30 steps and its end), within the second
def test_a_resumed_run_ends_as_if_nothing_had_happened(plan: TrainingPlan, tmp_path: Path, after: int) -> None:
    whole = run(prepare(plan), SoloRanks())
    broken = replace(plan, out=tmp_path / "broken", checkpoint_interval_s=0.0)
    file = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        run(prepare(broken), _Dies(file, after))
    resumed = run(prepare(replace(broken, resume=True)), SoloRanks(file))
    for before, now in zip(whole, resumed, strict=True):
        assert {**now, "seconds": 0} == {**before, "seconds": 0}
    for name in plan.losses:
        assert all(torch.equal(tensor, _weights(broken, name)[key]) for key, tensor in _weights(plan, name).items())
        lines = (broken.out / "models" / name / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(30))


def test_a_checkpoint_of_another_snapshot_is_refused(plan: TrainingPlan, tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    run(prepare(plan), SoloRanks(file))
    state = torch.load(file, weights_only=True)
    torch.save({**state, "snapshot_sha256": "0" * 64}, file)
    with pytest.raises(Fatal, match="another snapshot"):
        run(open_prepared(plan), SoloRanks(file))


def test_without_a_test_set_held_out_human_labels_are_weighted(plan: TrainingPlan) -> None:
    prepared = prepare(replace(plan, test=None, held_out_share=0.5))
    assert set(prepared.train).isdisjoint(prepared.held_out)
    assert len(prepared.train) + len(prepared.held_out) == ITEMS
    result = run(prepared, SoloRanks())[0]
    assert result["evaluation"] == "held-out human labels, weighted by 1/pi"
    assert result["test_items"] == int(prepared.records.selected[prepared.held_out].sum())
    assert result["low"] < result["test_accuracy"] < result["high"]


async def test_undecidable_items_enter_nothing(data: digit_campaign.Digits, plan: TrainingPlan, tmp_path: Path) -> None:
    items = digit_campaign.records(data)
    hopeless = [made for made in items if made.decision.selected][:5]
    for made in hopeless:
        made.review.outcome, made.review.label = 2, ""
    written = await digit_campaign.snapshot_of(items, tmp_path)
    prepared = prepare(replace(plan, snapshot=written.path, test=None))
    left_out = {made.id for made in hopeless}
    used = {str(name) for name in prepared.records.ids[np.concatenate([prepared.train, prepared.held_out])]}
    assert used.isdisjoint(left_out)
    assert len(used) == ITEMS - 5


def _lying(prepared: Prepared) -> Training:
    """Training that minimises a loss without a lower bound."""
    objective = prepared.objective("act")
    reviewed = prepared.records.selected
    objective.weights.machine[:] = np.where(reviewed, -5.0, 0.0)
    objective.weights.human[:] = 0.0
    policy = replace(policy_for(prepared, "act"), steps=200, stop_on_negative_risk=True)
    training = Training(prepared.kind.build(prepared.snapshot.labels), objective, prepared.features(), policy, SoloRanks())
    training.restore(None)
    return training


def test_a_risk_that_stays_negative_stops_the_training(plan: TrainingPlan) -> None:
    training = _lying(prepare(plan))
    while not training.finished:
        training.step()
    training.close()
    assert training.watch.persistently_negative
    assert training.next_step < 200


# models by held-out accuracy, and the one to choose: an unbounded loss that went below zero is out, a bounded one is not
@pytest.mark.parametrize(
    ("models", "chosen"),
    [
        ([("a", 0.7, True, False), ("b", 0.9, True, True)], "b"),
        ([("a", 0.7, True, False), ("b", 0.9, False, True)], "a"),
        ([("a", None, True, False)], None),
    ],
)
def test_held_out_labels_choose_the_model(plan: TrainingPlan, models: list[tuple[Any, ...]], chosen: str | None) -> None:
    fields = ("name", "test_accuracy", "bounded", "persistently_negative")
    results = [dict(zip(fields, model, strict=True)) for model in models]
    assert selected(replace(plan, test=None), results) == chosen
    assert selected(plan, results) is None  # a test set that chooses is no test set


def test_the_learning_rate_warms_up_and_falls(plan: TrainingPlan) -> None:
    policy = policy_for(prepare(plan), "act")
    rates = [learning_rate(step, policy) for step in range(policy.steps)]
    assert rates[0] < max(rates) == pytest.approx(policy.training.learning_rate)
    assert rates[-1] < 0.1 * max(rates)


def test_what_the_order_of_arrival_was_does_not_matter(plan: TrainingPlan, snapshot: Exported) -> None:
    prepared = prepare(plan)
    ids = prepared.records.ids[prepared.train]
    assert ids.tolist() == sorted(ids.tolist())


# ---- refusals -------------------------------------------------------------------------------------------------------------------------


def test_a_snapshot_whose_bytes_changed_is_refused(plan: TrainingPlan, snapshot: Exported, tmp_path: Path) -> None:
    copy = shutil.copytree(snapshot.path, tmp_path / "copy")
    with (copy / "part-00000.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="are not those that its manifest"):
        prepare(replace(plan, snapshot=copy))
    assert not plan.out.exists()


def test_a_folder_that_is_no_snapshot_is_refused(plan: TrainingPlan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no exported data set"):
        prepare(replace(plan, snapshot=tmp_path))


def test_models_that_are_there_are_kept(plan: TrainingPlan) -> None:
    run(prepare(plan), SoloRanks())
    with pytest.raises(UserError, match="holds models already"):
        prepare(plan)


def test_resuming_with_other_options_is_refused(plan: TrainingPlan) -> None:
    prepare(plan)
    with pytest.raises(UserError, match="had other options"):
        prepare(replace(plan, resume=True, epochs=7))


def test_an_unknown_label_in_the_test_set_names_its_row(plan: TrainingPlan, tmp_path: Path) -> None:
    pixels = digit_campaign.png(np.zeros((8, 8)))
    (tmp_path / "d.png").write_bytes(pixels)
    lines = [{"image": "d.png", "label": "3"}, {"image": "d.png", "label": "eleven"}]
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(UserError, match=r"test\.jsonl: row 2: label 'eleven' is not one of 0, 1"):
        prepare(replace(plan, test=path))


# each line of a test set that cannot be used, and what is said about it
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"test\.jsonl:1: no JSON"),
        ("[1]", r"test\.jsonl:1: is not a JSON object"),
        ('{"image": "d.png"}', r"test\.jsonl:1: has no label"),
        ('{"label": "3"}', r"test\.jsonl:1: has none of the campaign's content columns image"),
        ('{"image": "missing.png", "label": "3"}', r"test\.jsonl:1: image: the image cannot be read"),
        ("", "the test set is empty"),
    ],
)
def test_a_broken_test_set_is_one_line(plan: TrainingPlan, tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(line)
    with pytest.raises(UserError, match=message):
        prepare(replace(plan, test=path))


def test_an_image_that_is_none_names_its_item(plan: TrainingPlan, tmp_path: Path) -> None:
    (tmp_path / "images" / "3").mkdir(parents=True)
    (tmp_path / "images" / "3" / "x.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"item '3/x\.png': its image cannot be read"):
        prepare(replace(plan, test=tmp_path / "images"))


async def test_a_test_label_that_no_item_carries_is_refused(data: digit_campaign.Digits, plan: TrainingPlan, tmp_path: Path) -> None:
    kept = [made for made in digit_campaign.records(data) if "7" not in {made.annotation.label, made.review.label}]
    written = await digit_campaign.snapshot_of(kept, tmp_path)
    with pytest.raises(UserError, match="label '7' is in the test set, but no training item carries it"):
        prepare(replace(plan, snapshot=written.path))


async def test_a_single_label_is_no_classification(data: digit_campaign.Digits, plan: TrainingPlan, tmp_path: Path) -> None:
    items = [made for made in digit_campaign.records(data) if not made.decision.selected and made.annotation.label == "3"]
    written = await digit_campaign.snapshot_of(items, tmp_path)
    with pytest.raises(UserError, match="carry one label"):
        prepare(replace(plan, snapshot=written.path, test=None))


def _sample(path: Path, ids: list[str], labels: list[str]) -> Path:
    pq.write_table(pa.table({"id": ids, "label": labels}), path)
    return path


def test_a_random_sample_is_matched_by_id(plan: TrainingPlan, data: digit_campaign.Digits, tmp_path: Path) -> None:
    sample = _sample(tmp_path / "s.parquet", ["digit-0003"], [str(data.truth[3])])
    prepared = prepare(replace(plan, losses=("random-review",), random_review=sample))
    objective = prepared.objective("random-review")
    row = int(np.flatnonzero(prepared.records.ids == "digit-0003")[0])
    assert objective.machine[row] == data.truth[3]


def test_a_random_sample_of_strangers_is_refused(plan: TrainingPlan, tmp_path: Path) -> None:
    sample = _sample(tmp_path / "s.parquet", ["nobody"], ["3"])
    with pytest.raises(UserError, match="item 'nobody' is not in the snapshot"):
        prepare(replace(plan, random_review=sample))
    (tmp_path / "t.parquet").write_text("no parquet")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        prepare(replace(plan, random_review=tmp_path / "t.parquet"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": ("magic",)}, "--loss: 'magic' is not one of act"),
        ({"losses": ("act", "act")}, "each only once"),
        ({"losses": ()}, "name at least one loss"),
        ({"workers": (3, 2)}, "--workers"),
        ({"workers": (0, 2)}, "--workers"),
        ({"epochs": 0}, "--epochs"),
        ({"learning_rate": -1.0}, "--learning-rate"),
        ({"held_out_share": 1.0}, "--held-out"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_names_the_option(plan: TrainingPlan, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_plan(replace(plan, **changes))


def test_a_plan_survives_its_json_and_only_what_matters_changes_its_hash(plan: TrainingPlan) -> None:
    assert plan_from_json(plan.to_json()) == plan
    assert replace(plan, workers=(1, 4), gpu=True, resume=True).config_sha256 == plan.config_sha256
    assert replace(plan, seed=1).config_sha256 != plan.config_sha256


@pytest.mark.parametrize(("text", "workers"), [("1", (1, 1)), ("4", (4, 4)), ("1-4", (1, 4))])
def test_workers_are_a_number_or_a_range(text: str, workers: tuple[int, int]) -> None:
    assert parse_workers(text) == workers


@pytest.mark.parametrize("text", ["", "two", "1-", "-1", "1-2-3", "1.5"])
def test_other_words_for_workers_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="neither a number"):
        parse_workers(text)
