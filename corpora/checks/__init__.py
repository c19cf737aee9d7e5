"""What looks wrong in samples that can be read: frames, units, answers, marks, chains."""
