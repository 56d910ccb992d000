"""The criticizer's use case: fill ``item.critique`` and touch nothing else."""

from actlabel.chat.asker import Asker, Errand, Receipt
from actlabel.chat.kept import KeptStrategies
from actlabel.contracts.v1.item_pb2 import Critique, Item
from actlabel.criticizer.domain import Criticism, strategy_of
from actlabel.runtime.campaigns import Campaign


class CriticizeItem:
    """The stream loop and the gRPC service call the same one."""

    def __init__(self, asker: Asker) -> None:
        """``asker``: of the criticizer's stage."""
        self._asker = asker
        self._strategies: KeptStrategies[Criticism] = KeptStrategies(strategy_of)

    async def __call__(self, item: Item, campaign: Campaign) -> Item:
        """Fill in the critique, the same whenever the same item comes again, and return the item. Raises what ``Asker.ask`` raises."""
        errand = Errand(
            item=item, campaign=campaign, model=campaign.file.criticizer, strategy=self._strategies.of(campaign), write=_critique
        )
        payload = await self._asker.ask(errand)
        item.critique.ParseFromString(payload)
        return item


def _critique(said: Criticism, receipt: Receipt) -> bytes:
    critique = Critique(
        error_probability=said.error_probability,
        suggested_label=said.suggested_label,
        reason=said.reason,
        evidence=said.evidence,
        model=receipt.model,
        strategy=receipt.strategy,
        result_id=receipt.result_id,
        usage=receipt.usage,
        created_at=receipt.created_at,
    )
    return critique.SerializeToString(deterministic=True)
