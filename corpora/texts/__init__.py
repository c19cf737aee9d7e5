"""Texts of questions and answers: options and answers, sentences, placeholders of regions."""
