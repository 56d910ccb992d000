"""Values: dataclasses that nobody changes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make a dataclass with slots and keywords only that mypy does not let anybody change.

    For what is made for every record: to refuse changes at run time too (``frozen``) makes an object three times as dear to make, since
    each field is then set through ``object.__setattr__``.
    """
    make: Callable[[type[T]], type[T]] = dataclass(slots=True, kw_only=True, unsafe_hash=True)
    return make(cls)
