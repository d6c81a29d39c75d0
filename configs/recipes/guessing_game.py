"""A guessing game: the environment thinks of a number, and says after each guess whether it is higher or lower."""

import random
import re


class GuessingGame:
    """One game. `problem["meta"]` has the bounds; the number follows from the seed alone."""

    def __init__(self, problem, seed, guesses=6):
        low, high = problem["meta"]["low"], problem["meta"]["high"]
        self.number = random.Random(seed).randint(low, high)
        self.left = guesses

    def turn(self, said):
        """Answers the model's turn: the next turn's text, or how the game ended."""
        found = re.findall(r"\d+", said)
        self.left -= 1
        if found and int(found[-1]) == self.number:
            return {"reward": 1.0, "answer": found[-1]}
        if self.left == 0:
            return {"reward": 0.0, "answer": found[-1] if found else None, "number": self.number}
        if not found:
            return f"I saw no number. {self.left} guesses are left. Answer with one number."
        word = "higher" if int(found[-1]) < self.number else "lower"
        return f"It is {word} than {found[-1]}. {self.left} guesses are left. Answer with one number."
