"""Every setting says what it is for: `sr-real config` lists these texts."""

from collections.abc import Iterator

import pytest

from corpora.builder.config import BuildConfig
from corpora.importing.import_data import ImportConfig
from launch.settings.config import RunConfig
from launch.settings.schema import Model, docs_of, models_in_list, models_of
from spatial.strict import StrictModel


def sections(model: Model) -> Iterator[Model]:
    """The model and every one that a field of it may hold."""
    yield model
    for field in model.model_fields.values():
        for inner in (*models_of(field.annotation), *models_in_list(field.annotation)):
            yield from sections(inner)


def undocumented(model: Model) -> list[str]:
    """Fields without a text under them. `type` is explained by the class that it chooses."""
    return [name for name in model.model_fields if name != "type" and not docs_of(model).get(name)]


@pytest.mark.parametrize("config", [RunConfig, ImportConfig, BuildConfig])
def test_every_field_has_its_documentation(config: Model) -> None:
    found = {f"{model.__name__}.{name}" for model in sections(config) for name in undocumented(model)}
    assert not found, sorted(found)


@pytest.mark.parametrize("config", [RunConfig, ImportConfig, BuildConfig])
def test_every_section_has_its_documentation(config: Model) -> None:
    found = {model.__name__ for model in sections(config) if "__doc__" not in vars(model) or not model.__doc__}
    assert not found, sorted(found)


class _Documented(StrictModel):
    type: str = "a"
    first: int
    """What it is for."""
    second: int


def test_a_field_without_a_text_would_be_found() -> None:
    assert undocumented(_Documented) == ["second"]
