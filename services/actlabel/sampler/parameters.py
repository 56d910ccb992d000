"""What a campaign version asks of its draws, and the secret key that they use."""

import hashlib

from actlabel.core.errors import NotUsableYet
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.settings import Settings
from actlabel.sampler.allowance import Allowance
from actlabel.sampler.domain import Parameters

_LEAST_KEY_BYTES = 32


def read_deployment_key(settings: Settings) -> bytes | None:
    """Read the key from which all campaign keys derive; None where no file is named. Raises ``NotUsableYet`` when it cannot serve."""
    path = settings.secret_key_file
    if path is None:
        return None
    try:
        key = path.read_bytes()
    except OSError as error:
        raise NotUsableYet(f"ACTLABEL_SECRET_KEY_FILE: {path} cannot be read ({error.strerror})") from error
    if len(key) < _LEAST_KEY_BYTES:
        raise NotUsableYet(f"ACTLABEL_SECRET_KEY_FILE: {path} holds {len(key)} bytes; at least {_LEAST_KEY_BYTES} random ones are needed")
    return key


class CampaignKeys:
    """Secret keys of campaigns, kept once derived."""

    def __init__(self, campaigns: Campaigns, deployment_key: bytes | None) -> None:
        """``deployment_key``: from the operator; None: the deployment's own, from the database."""
        self._campaigns = campaigns
        self._deployment_key = deployment_key
        self._keys: dict[tuple[str, int], bytes] = {}

    async def of(self, campaign: Campaign) -> bytes:
        """Return the 32 bytes from which the random numbers of a campaign's items follow."""
        name = (campaign.name, campaign.file.seed)
        if name not in self._keys:
            self._keys[name] = await self._campaigns.secret_key(campaign, self._deployment_key)
        return self._keys[name]

    async def parameters(self, campaign: Campaign) -> Parameters:
        """Return what a draw under this campaign version is a function of, besides the items."""
        sampler = campaign.file.sampler
        return Parameters(
            rule=sampler.rule,
            beta=sampler.beta,
            audit_share=sampler.audit_share,
            seed=campaign.file.seed,
            key_sha256=hashlib.sha256(await self.of(campaign)).hexdigest(),
            campaign_version=campaign.version,
        )


def allowance(campaign: Campaign) -> Allowance:
    """Return the human budget that this campaign version states."""
    return Allowance.parse(campaign.file.sampler.budget, campaign.file.sampler.expected_items)
