"""Chains in other words, from a server with OpenAI's chat completions API.

Requests run concurrently, each with a deadline. Each reply is checked (`rewrite_check`); if it fails or is late, the
template's chain stays and the reason is counted. A server that cannot be reached, or refuses every request, stops
the build; started again, the build resumes from there.
"""

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from corpora.builder.config import OpenAIRewrite
from corpora.builder.errors import BuildError
from corpora.builder.rewrite_check import find_fault
from spatial.grammar import format_response, parse_response
from spatial.sample import ReasoningPath, SpatialSample

KEPT = "kept"

_SYSTEM = (
    "You put the reasoning of worked answers into other words. The pictures are not shown to you: trust the worked "
    "answer, and add nothing to what it says."
)
_TASK = """Question: {question}

Worked answer:
{chain}

Write the worked answer again. Change only what stands between <think> and </think>: reason step by step from the
measurements to the answer, in {min_words} to {max_words} words of plain English. Use no number that does not stand in
the worked answer, keep units and signs, and compute nothing new. Copy all other parts letter for letter, with their
tags. Reply with the whole response and nothing else."""


class Rewriter:
    """Rewrites the chains of samples. A context manager, since it holds connections.

    Raises:
        BuildError: the key's environment variable is not set.
    """

    def __init__(self, config: OpenAIRewrite, seed: int) -> None:
        from openai import AsyncOpenAI

        self._config, self._seed = config, seed
        self._runner = asyncio.Runner()
        self._client = AsyncOpenAI(
            base_url=config.base_url,
            api_key=_key(config),
            max_retries=config.attempts - 1,
            timeout=config.timeout_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._client.close())
        finally:
            self._runner.close()

    def rewrite(
        self, samples: Sequence[SpatialSample]
    ) -> tuple[list[SpatialSample], dict[ReasoningPath, dict[str, int]]]:
        """The samples with each chain rewritten whose rewrite passes the check, and counts by path: "kept", or why not.

        Raises:
            BuildError: the server cannot be reached, or refuses every request.
        """
        return self._runner.run(self._rewrite_all(samples))

    async def _rewrite_all(
        self, samples: Sequence[SpatialSample]
    ) -> tuple[list[SpatialSample], dict[ReasoningPath, dict[str, int]]]:
        room = asyncio.Semaphore(self._config.concurrency)
        asked = [(index, path) for index, sample in enumerate(samples) for path in sample.chains]
        tasks = [asyncio.create_task(self._rewrite(samples[index], path, room)) for index, path in asked]
        try:
            outcomes = await asyncio.gather(*tasks)
        except BuildError:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        chains = [dict(sample.chains) for sample in samples]
        counts: dict[ReasoningPath, Counter[str]] = {}
        for (index, path), (chain, outcome) in zip(asked, outcomes, strict=True):
            counts.setdefault(path, Counter())[outcome] += 1
            chains[index][path] = chain
        rewritten = [sample.replace(chains=mine) for sample, mine in zip(samples, chains, strict=True)]
        return rewritten, {path: dict(counted) for path, counted in counts.items()}

    async def _rewrite(self, sample: SpatialSample, path: ReasoningPath, room: asyncio.Semaphore) -> tuple[str, str]:
        """The final chain, and "kept", or the reason why it is the template's."""
        template, config = sample.chains[path], self._config
        async with room:
            text, reason = await self._ask(sample, path)
        if text is None:
            return template, reason
        fewest, most = config.min_words * (1 - config.words_slack), config.max_words * (1 + config.words_slack)
        fault = find_fault(text, path, sample, round(fewest), round(most))
        if fault is not None:
            return template, fault
        true, found = parse_response(path, template), parse_response(path, text)
        # Only the thought is taken from the server: everything around it stays as the template wrote it.
        return format_response(path, answer=true.answer or "", think=found.think, detect=true.detect), KEPT

    async def _ask(self, sample: SpatialSample, path: ReasoningPath) -> tuple[str | None, str]:
        """The text of the server's response, or None and the reason."""
        import openai

        config = self._config
        task = _TASK.format(
            question=sample.question,
            chain=sample.chains[path],
            min_words=config.min_words,
            max_words=config.max_words,
        )
        name = hashlib.sha256(f"{self._seed}/{sample.sample_id}/{path.value}".encode()).digest()
        try:
            # The client's own timeout limits each silence, so a server that sends a byte now and then could outlast it.
            async with asyncio.timeout(config.timeout_s * config.attempts):
                answer = await self._client.chat.completions.create(
                    model=config.model,
                    messages=[{"role": "system", "content": _SYSTEM}, {"role": "user", "content": task}],
                    temperature=config.temperature,
                    max_tokens=config.max_tokens,
                    seed=int.from_bytes(name[:4]) >> 1,
                )
        except (TimeoutError, openai.APITimeoutError):
            return None, "timeout"
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise BuildError(
                f"rewrite: {config.base_url} refuses model '{config.model}' with status {error.status_code}: correct "
                "rewrite.model, rewrite.base_url or the key, and start again; the build resumes from here"
            ) from error
        except openai.APIConnectionError as error:
            raise BuildError(
                f"rewrite: {config.base_url} cannot be reached ({error.__cause__ or error}): start the server or "
                "correct rewrite.base_url, and start again; the build resumes from here"
            ) from error
        except openai.APIStatusError as error:
            return None, f"status_{error.status_code}"
        except (openai.APIError, ValueError):  # not JSON, or JSON of another kind
            return None, "unreadable"
        return _text(answer)


def _text(answer: Any) -> tuple[str | None, str]:
    """The text of a completion. The client does not check the reply, which may have any form."""
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list) or not choices:
        return None, "unreadable"
    if getattr(choices[0], "finish_reason", None) == "length":
        return None, "cut_off"
    text = getattr(getattr(choices[0], "message", None), "content", None)
    return (text, "") if isinstance(text, str) and text.strip() else (None, "empty")


def _key(config: OpenAIRewrite) -> str:
    if config.api_key_env is None:
        return "none"
    if not (key := os.environ.get(config.api_key_env)):
        raise BuildError(f"rewrite.api_key_env={config.api_key_env}: this environment variable is not set")
    return key
