"""What questions and answers say: answers, sentences, placeholders of regions."""
