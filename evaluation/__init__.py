"""How good a model is: questions asked, answers scored, figures with their intervals, pages that show them.

::

    Exam (questions and their Rule)                                                    exam.py, benchmarks/
      │
      │  Question ──▶ Response or FailedResponse        asked of the engines           responses.py
      │  Response ──▶ ScoredAnswer                      what its answer is worth       Rule.score
      │  ScoredAnswer of every question ──▶ figures     "overall", "task/depth", …     Rule.summarise
      │  figures ──▶ Figure, Difference                 95 % intervals, two models     figures.py, statistics.py
      ▼
    Report (results.json) ──▶ page.html                                                report.py, page.py

A run's own held-out questions, after the cold start and after RL, also get what training rewards::

    Response ──▶ ScoredResponse (reward, right or wrong, centres) ──▶ HeldOutReport    held_out.py, held_out_report.py

A *response* is everything that a model wrote; an *answer* is the inside of its answer section; a *score* is what an
answer is worth; a *figure* is a number that is reported of many.
"""
