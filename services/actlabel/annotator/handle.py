"""The annotator's use case: fill ``item.annotation`` and touch nothing else."""

from actlabel.annotator.domain import Labelled, strategy_of
from actlabel.chat.asker import Asker, Errand, Receipt
from actlabel.chat.kept import KeptStrategies
from actlabel.contracts.v1.item_pb2 import Annotation, Item
from actlabel.runtime.campaigns import Campaign


class AnnotateItem:
    """The stream loop and the gRPC service call the same one."""

    def __init__(self, asker: Asker) -> None:
        """``asker``: of the annotator's stage."""
        self._asker = asker
        self._strategies: KeptStrategies[Labelled] = KeptStrategies(strategy_of)

    async def __call__(self, item: Item, campaign: Campaign) -> Item:
        """Fill in the annotation, the same whenever the same item comes again, and return the item. Raises what ``Asker.ask`` raises."""
        errand = Errand(
            item=item, campaign=campaign, model=campaign.file.annotator, strategy=self._strategies.of(campaign), write=_annotation
        )
        payload = await self._asker.ask(errand)
        item.annotation.ParseFromString(payload)
        return item


def _annotation(said: Labelled, receipt: Receipt) -> bytes:
    annotation = Annotation(
        label=said.label,
        rationale=said.rationale,
        model=receipt.model,
        strategy=receipt.strategy,
        result_id=receipt.result_id,
        usage=receipt.usage,
        created_at=receipt.created_at,
    )
    return annotation.SerializeToString(deterministic=True)
