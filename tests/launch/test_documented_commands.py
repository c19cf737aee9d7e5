"""Every command that a document shows can be given: its options exist, and its settings are a config."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from launch.commands.cli import app
from launch.commands.data_build_cli import load_build_config
from launch.commands.data_cli import load_import_config
from launch.commands.run_naming import with_run
from launch.settings.config import load_config

PROJECT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(f"docs/{file.name}" for file in sorted((PROJECT / "docs").glob("*.md"))))


def commands_in(document: str) -> list[str]:
    """Lines of code that begin with sr-real, and what stands in backticks so."""
    text = re.sub(r"\\\n\s*", "", (PROJECT / document).read_text())  # a command of several lines is one
    lines = re.findall(r"^ {4,}(?:\$ )?(?:[\w./]*/)?(sr-real .*)$", text, flags=re.MULTILINE)
    inline = [" ".join(found.split()) for found in re.findall(r"`(sr-real [^`]*)`", text)]
    return [*lines, *inline]


def commands_of_help() -> dict[str, list[str]]:
    """By command, the examples that its help shows."""
    groups: list[tuple[str, Any]] = [("", typer.main.get_command(app))]
    found: dict[str, list[str]] = {}
    while groups:
        prefix, group = groups.pop()
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                groups.append((f"{prefix}{name} ", command))
                continue
            examples = re.search(r"Examples?:(.*?)(?:\n\n|$)", command.help, flags=re.DOTALL)
            text = " ".join(examples[1].split()) if examples else ""
            found[prefix + name] = [example.strip() for example in text.split("·") if example.strip()]
    return found


SHOWN = [(document, command) for document in DOCUMENTS for command in commands_in(document)]
SHOWN += [(f"--help of {name}", example) for name, examples in commands_of_help().items() for example in examples]


def parse(line: str) -> tuple[str, dict[str, Any]]:
    """The name of the command that a line calls, and its parameters.

    Raises:
        Exception: typer's, of an option or a command that does not exist.
    """
    words = [word for word in shlex.split(line, comments=True)[1:] if word != ">"]
    command: Any = typer.main.get_command(app)
    context = command.make_context("sr-real", words)
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        if command is None:
            raise ValueError(f"there is no command {name}")
        context = command.make_context(name, rest, parent=context)
    return command.name, context.params


def test_the_documents_show_commands() -> None:
    assert len(SHOWN) > 25
    assert {document for document, _ in SHOWN} >= {"README.md", "docs/data.md", "docs/config.md"}


def test_the_help_of_every_command_shows_an_example() -> None:
    assert [name for name, examples in commands_of_help().items() if not examples] == []


@pytest.mark.parametrize(("document", "line"), SHOWN)
def test_a_command_that_a_document_shows_can_be_given(document: str, line: str) -> None:
    if line == "sr-real --version":
        return
    is_mention = "--" not in line and "=" not in line and "#" not in line  # of a command by its name
    try:
        name, params = parse(line.replace("--config …", "--config demo"))
    except Exception as error:
        if is_mention and "Missing" in str(error):
            return
        raise
    settings = params.get("overrides") or params.get("settings")
    if name == "import" and not is_mention:
        assert params["config"] or load_import_config(None, settings)
    elif name == "build" and not is_mention:
        assert load_build_config(None, settings)
    elif settings:
        load_config(params.get("config") or "demo", with_run(settings, None))


@pytest.mark.parametrize("line", ["sr-real trein", "sr-real train --confg demo", "sr-real train lr=1e-5"])
def test_a_command_that_cannot_be_given_is_found(line: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        test_a_command_that_a_document_shows_can_be_given("made up", line)
