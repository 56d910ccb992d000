"""What may be shown as an image: told from its first bytes. What a record claims does not count."""

from dataclasses import dataclass

from actlabel.review_gateway.refusals import NoSuchMedia


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Bytes that begin like an image which browsers draw without running anything."""

    content: bytes
    mime_type: str
    extension: str


def picture(content: bytes) -> Picture:
    """Tell the type. Raises ``NoSuchMedia`` for anything else, SVG included: that is a program."""
    kind = _kind(content)
    if kind is None:
        raise NoSuchMedia
    return Picture(content=content, mime_type=f"image/{kind}", extension=kind)


def _kind(content: bytes) -> str | None:
    """Match the signatures of the WHATWG MIME sniffing standard, section 6.1, and AVIF's brand."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    if content[4:12] == b"ftypavif":
        return "avif"
    signatures = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF87a": "gif", b"GIF89a": "gif", b"BM": "bmp"}
    return next((kind for begin, kind in signatures.items() if content.startswith(begin)), None)
