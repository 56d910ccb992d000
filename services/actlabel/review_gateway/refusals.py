"""Why the gateway says no: each has a code for machines and one sentence for a person."""

from actlabel.core.errors import ActlabelError


class Refused(ActlabelError):
    """The request cannot be fulfilled."""

    code = "refused"


class BadRequest(Refused):
    """The request is not well-formed."""

    code = "bad-request"


class UnknownLabel(Refused):
    """That label is not in the label set of this item."""

    code = "unknown-label"


class NotLoggedIn(Refused):
    """A valid token is needed: log in, or send `Authorization: Bearer <token>`."""

    code = "not-logged-in"


class NotAllowed(Refused):
    """Only a lead may do this."""

    code = "not-allowed"


class MissingHeader(Refused):
    """A write with a session cookie needs the header `X-Actlabel: review`."""

    code = "missing-header"


class NoSuchCampaign(Refused):
    """There is no such campaign."""

    code = "no-such-campaign"


class NoSuchItem(Refused):
    """There is no such item in your hands: neither leased to you nor answered by you."""

    code = "no-such-item"


class NoSuchMedia(Refused):
    """This part of the item is not an image that can be shown."""

    code = "no-such-media"


class LeaseLost(Refused):
    """You no longer hold this item: its lease ended and somebody else has it, or it changed. Nothing was saved; take the next one."""

    code = "lease-lost"


class AlreadyAnswered(Refused):
    """This lease was already used for another answer; undo that one first."""

    code = "already-answered"


class NothingToUndo(Refused):
    """There is no answer of yours to take back here, or somebody else works on the item now."""

    code = "nothing-to-undo"


class Paused(Refused):
    """The campaign is paused."""

    code = "paused"


class TooMany(Refused):
    """Too much was asked for."""

    code = "too-many"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        """``retry_after_s``: when to come back."""
        super().__init__(message)
        self.retry_after_s = retry_after_s
