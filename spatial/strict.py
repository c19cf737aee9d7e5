"""The base class of everything that is read from a file or set by a user."""

from typing import Self

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """A pydantic model that accepts nothing unknown.

    Unknown keys, wrong types and non-finite numbers raise `pydantic.ValidationError`; instances cannot be changed.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    def replace(self, **changes: object) -> Self:
        """A validated copy with some fields changed."""
        return type(self).model_validate({**dict(self), **changes})
