"""Row layouts that several data sets share: marked questions, tables, boxes of regions, grounding."""
